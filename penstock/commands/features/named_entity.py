"""The view and the entity that a command names, and its vector in the online store."""

from __future__ import annotations

import sys

import click
import redis

from penstock.errors import PenstockError
from penstock.settings import Settings
from sinks.feature_reader import FeatureReader
from sinks.stores.redis import connect
from sinks.vector_format import FeatureVector
from streams.plan.entity_text import stored_entity_text
from streams.plan.model import PipelinePlan, ViewPlan
from streams.plan.project import Project

hash_option = click.option(
    "--hash", "hashed", is_flag=True, help="ENTITY is the personal value itself: hash it first (- reads it from stdin)."
)


def view_of(project: Project, name: str) -> ViewPlan:
    """The view of that name; a PenstockError with the next command if there is none."""
    try:
        return project.plan.view(name)
    except KeyError as error:
        raise PenstockError(error.args[0], next=f"penstock features describe {project.reference}") from error


def entity_of(plan: PipelinePlan, view: ViewPlan, text: str, settings: Settings, *, hashed: bool) -> str:
    """The entity that the arguments ENTITY and --hash name, as records have it."""
    if not hashed:
        return text
    return _hashed(plan, view, sys.stdin.readline().rstrip("\n") if text == "-" else text, settings)


def stored(plan: PipelinePlan, view: ViewPlan, entity: str, now_ms: int, settings: Settings) -> FeatureVector:
    """The vector in Redis as it reads at ``now_ms``; a PenstockError if Redis does not answer."""
    try:
        return FeatureReader(plan, connect(settings.redis)).get(view.name, entity, now_ms)
    except redis.RedisError as error:
        raise PenstockError(
            f"Redis does not answer: {error}", where=settings.redis.url, next="penstock status"
        ) from error


def hint_at_hash(plan: PipelinePlan, view: ViewPlan) -> None:
    """Of an entity that is not there: perhaps it was given as the personal value itself."""
    personal = [name for name, hashed in zip(plan.key_columns(view), plan.hashed_columns(view), strict=True) if hashed]
    if personal:
        click.echo(
            f"{', '.join(sorted(personal))} is personal, known by its hash alone: for the value itself, use --hash"
        )


def _hashed(plan: PipelinePlan, view: ViewPlan, value: str, settings: Settings) -> str:
    """The entity with its personal parts hashed; of several parts each is hashed by itself."""
    columns = plan.key_columns(view)
    personal = plan.hashed_columns(view)
    if not any(personal):
        raise PenstockError(
            f"{', '.join(columns)}, the key of view {view.name}, is no personal data and is stored as it is",
            next="leave out --hash",
        )
    key = settings.pii.require_key().get_secret_value().encode()
    try:
        return stored_entity_text(value, personal, key)
    except ValueError as error:
        raise PenstockError(
            f"view {view.name} is keyed by {len(columns)} columns",
            next=f"give {'|'.join(columns)}, with a \\ before each | or \\ within a value",
        ) from error
