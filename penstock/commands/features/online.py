"""``penstock features describe | get``: shows feature definitions, and an entity's latest vector."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import click
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from penstock.commands.console import console_on, printable
from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.features.named_entity import (
    hash_option,
    is_stored,
    print_eviction_hint,
    print_hash_hint,
    read_vector,
    require_view,
    resolve_entity,
    why_missing,
)
from penstock.commands.options import EventTime
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import iso, readable
from schemas.feature_types import FeatureValue
from sinks.cassandra_tables import history_table
from sinks.stores.redis import redis_key
from sinks.vector_format import FeatureVector, VectorState
from streams.definitions.windows import duration_text
from streams.plan.model import PipelinePlan, ViewPlan
from streams.plan.project import Project, open_project

_COLOURS = {
    VectorState.PRESENT: "green",
    VectorState.STALE: "yellow",
    VectorState.EXPIRED: "red",
    VectorState.MISSING: "red",
}


@click.command()
@pipeline_argument
@click.argument("view")
@click.argument("entity")
@click.option(
    "--at",
    type=EventTime(),
    help="Read the latest vector as it reads at this event time, when more or fewer of its windows have passed "
    "(default: now). It is not the vector of that time: a time before its as_of is refused.",
)
@hash_option
def get(pipeline: str, view: str, entity: str, at: int | None, hashed: bool) -> None:
    r"""Show an entity's latest features in the online store, as they read now or at another event time.

    Redis has the latest vector only; earlier ones are in Cassandra: `penstock features describe` names the table.

    If the entity is personal data, give its hash as in records and predictions, or the value with --hash, which hashes
    it with the PII key. For an entity of several columns, join their values by |, with a \ before each | or \ within a
    value.
    """
    project, settings = open_project(pipeline), Settings()
    plan, view_plan = project.plan, require_view(project, view)
    entity = resolve_entity(plan, view_plan, entity, settings, hashed=hashed)
    now_ms = time.time_ns() // 1_000_000 if at is None else at
    vector = read_vector(plan, view_plan, entity, now_ms, settings)
    if vector.state is VectorState.MISSING and is_stored(plan, view_plan, entity, settings):
        raise _of_another_definition(project, view_plan, entity)
    if at is not None and vector.as_of is not None and at < vector.as_of:
        raise _of_a_past(project, view_plan, entity, at, vector.as_of)
    _print_vector(console_on(), view_plan, vector, now_ms, at is None)
    if vector.state is VectorState.MISSING:
        click.echo(why_missing(view_plan, printable(entity), project.reference))
        print_eviction_hint(settings)
        if not hashed:
            print_hash_hint(plan, view_plan)
    is_missing = vector.state is VectorState.MISSING
    click.get_current_context().exit(ExitCode.ERROR if is_missing else ExitCode.DONE)


def _of_another_definition(project: Project, view: ViewPlan, entity: str) -> PenstockError:
    """The error for a vector that is stored but that the view as it is defined now cannot read."""
    return PenstockError(
        f"a vector of {entity} is stored, but another definition of {view.id} wrote it: this one has hash {view.hash}",
        where=redis_key(project.plan, view, entity),
        safe="nothing was changed",
        next=f"penstock schemas check {project.reference} shows what changed since the last export. Undo that; or keep "
        f"it as a new version of the view: penstock schemas export {project.reference}, then "
        f"penstock job upgrade {project.reference}",
    )


def _of_a_past(project: Project, view: ViewPlan, entity: str, at: int, as_of: int) -> PenstockError:
    """The error for a time at which the stored vector did not exist yet."""
    history = history_table(project.plan, view, 0).name
    return PenstockError(
        f"the online store has the latest vector only, as of {iso(as_of)}: it cannot say how {view.entity} {entity} "
        f"read at {iso(at)}",
        where=redis_key(project.plan, view, entity),
        safe="nothing was changed",
        next=f"penstock features get {project.reference} {view.name} {entity} for the latest; earlier vectors are rows "
        f"of {history} in Cassandra, of the entity and the slots up to that time",
    )


@click.command()
@pipeline_argument
@click.argument("view", required=False)
def describe(pipeline: str, view: str | None) -> None:
    """Show the features of a pipeline, or of one view, and where they are stored."""
    project, console = open_project(pipeline), console_on()
    plan = project.plan
    for view_plan in (require_view(project, view),) if view else plan.views:
        _print_view(console, plan, view_plan)


def _print_vector(console: Console, view: ViewPlan, vector: FeatureVector, now_ms: int, at_now: bool) -> None:
    console.print(
        Text.assemble(
            (view.id, "bold"),
            f"  {view.entity} ",
            (printable(vector.entity), "bold"),
            "  ",
            (vector.state, _COLOURS[vector.state]),
        )
    )
    if vector.as_of is None:
        return
    console.print(
        f"[dim]as of[/] {readable(vector.as_of)} [dim](read at {readable(now_ms)}, {_age(now_ms - vector.as_of)})[/]  "
        f"[dim]epoch[/] {vector.epoch} [dim]seq[/] {vector.seq} [dim]attempt[/] {vector.attempt}"
    )
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("feature")
    table.add_column("value", justify="right")
    for name, value in vector.values.items():
        table.add_row(name, value_text(value))
    console.print(table)
    if at_now and vector.state in (VectorState.STALE, VectorState.EXPIRED):
        console.print(f"[dim]expired windows read as empty; for the values at that time: --at {iso(vector.as_of)}[/]")


def value_text(value: FeatureValue) -> Text:
    """A feature's value for a terminal, or a dimmed null."""
    return Text("null", "dim") if value is None else Text(_value_text(value))


def _value_text(value: FeatureValue) -> str:
    if isinstance(value, list):
        # No thousands separators: they look like the list's. Texts are quoted because they may be empty.
        items = (f"{v:.6g}" if isinstance(v, float) else json.dumps(v, ensure_ascii=False) for v in value)
        return f"[{printable(', '.join(items))}]"
    return f"{value:,.6g}" if isinstance(value, float) else printable(str(value))


def _print_view(console: Console, plan: PipelinePlan, view: ViewPlan) -> None:
    console.print(
        Text.assemble(
            (view.id, "bold"),
            f"  per {view.entity} ",
            ("keyed by ", "dim"),
            "|".join(plan.key_columns(view)),
            ("  hash ", "dim"),
            view.hash,
        )
    )
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("feature", "aggregate", "window", "hop", "where", "type"):
        table.add_column(title)
    for feature in view.features:
        table.add_row(
            feature.name,
            feature.call,
            duration_text(feature.window_ms),
            "" if feature.is_lifetime else duration_text(feature.hop_ms),
            Text(plan.conditions[feature.where]) if feature.where else "",
            feature.type,
        )
    for derived in view.derived:
        table.add_row(derived.name, Text(derived.sql), "", "", "", derived.type)
    console.print(table)
    console.print(f"[dim]Redis[/]     {redis_key(plan, view, view.entity.upper())}", highlight=False)
    console.print(f"[dim]Cassandra[/] {history_table(plan, view, 0).name}\n", highlight=False)


def _age(ms: int) -> str:
    return f"{timedelta(milliseconds=abs(ms))} {'later' if ms >= 0 else 'earlier'}"
