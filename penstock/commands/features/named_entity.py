"""Resolves the view and the entity given to a command, and reads the vector from the online store."""

from __future__ import annotations

import shlex
import sys
from typing import cast

import click
import redis

from penstock.errors import PenstockError
from penstock.redis_client import EvictionUnknown, connect_redis, eviction_of
from penstock.settings import Settings
from sinks.feature_reader import FeatureReader
from sinks.stores.redis import redis_key
from sinks.vector_format import FeatureVector
from streams.plan.entity_text import stored_entity_text
from streams.plan.model import PipelinePlan, ViewPlan
from streams.plan.project import Project

hash_option = click.option(
    "--hash", "hashed", is_flag=True, help="ENTITY is the personal value, not its hash (- reads it from stdin)."
)


def require_view(project: Project, name: str) -> ViewPlan:
    """The view of that name.

    Raises:
        PenstockError: if the pipeline has no such view.
    """
    try:
        return project.plan.view(name)
    except KeyError as error:
        raise PenstockError(error.args[0], next=f"penstock features describe {project.reference}") from error


def resolve_entity(plan: PipelinePlan, view: ViewPlan, text: str, settings: Settings, *, hashed: bool) -> str:
    """The entity given by ENTITY and --hash, as in feature records.

    Raises:
        PenstockError: if ``hashed`` is set and the entity has no personal part or cannot be parsed.
    """
    if not hashed:
        return text
    return _hashed(plan, view, sys.stdin.readline().rstrip("\n") if text == "-" else text, settings)


def read_vector(plan: PipelinePlan, view: ViewPlan, entity: str, now_ms: int, settings: Settings) -> FeatureVector:
    """The vector in Redis as it reads at ``now_ms``.

    Raises:
        PenstockError: if Redis does not answer.
    """
    try:
        return FeatureReader(plan, connect_redis(settings.redis)).get(view.name, entity, now_ms)
    except redis.RedisError as error:
        raise PenstockError(
            f"Redis does not answer: {error}", where=settings.redis.url, next="penstock status"
        ) from error


def is_stored(plan: PipelinePlan, view: ViewPlan, entity: str, settings: Settings) -> bool:
    """Whether Redis has anything under the entity's key, readable or not."""
    # As in the reader: its user may not GET.
    (found,) = cast("list[bytes | None]", connect_redis(settings.redis).mget([redis_key(plan, view, entity)]))
    return found is not None


def why_missing(view: ViewPlan, entity: str, reference: str) -> str:
    """What to say where nothing is stored for an entity: each reason that there may be."""
    return (
        f"nothing is stored for {view.entity} {entity}: it had no event yet, or none for a long time; or its events "
        f"are not processed yet: see penstock topics show {shlex.quote(reference)}"
    )


def print_hash_hint(plan: PipelinePlan, view: ViewPlan) -> None:
    """After an entity was not found: point to --hash if its key is personal data."""
    personal = [name for name, hashed in zip(plan.key_columns(view), plan.hashed_columns(view), strict=True) if hashed]
    if personal:
        click.echo(
            f"{', '.join(sorted(personal))} is personal data and stored as a hash: for the value itself, use --hash"
        )


def print_eviction_hint(settings: Settings) -> None:
    """After an entity was not found: say if Redis may have evicted it, or if that cannot be told."""
    try:
        policy = eviction_of(connect_redis(settings.redis))
    except (EvictionUnknown, redis.RedisError) as error:
        click.echo(f"not checked whether Redis evicts keys when it is full: {error}", err=True)
        return
    if policy is not None:
        click.echo(
            f"Redis evicts keys when it is full (maxmemory-policy {policy}), perhaps this one: it must be noeviction",
            err=True,
        )


def _hashed(plan: PipelinePlan, view: ViewPlan, value: str, settings: Settings) -> str:
    """The entity with its personal parts hashed, each on its own."""
    columns = plan.key_columns(view)
    personal = plan.hashed_columns(view)
    if not any(personal):
        raise PenstockError(
            f"the key of view {view.name} ({', '.join(columns)}) has no personal data and is stored without a hash",
            next="repeat the command without --hash",
        )
    key = settings.pii.require_key().get_secret_value().encode()
    try:
        return stored_entity_text(value, personal, key)
    except ValueError as error:
        raise PenstockError(
            f"view {view.name} is keyed by {len(columns)} columns, and ENTITY has another number of values",
            next=f"give {'|'.join(columns)}, with a \\ before each | or \\ within a value",
        ) from error
