"""``penstock features explain``, ``plan`` and ``test``: the commands that ask the kernel, in this process."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.console import Console

from penstock.commands.features.entity_events import entity_events
from penstock.commands.features.explanation import explain as explanation_of
from penstock.commands.features.explanation_view import as_data, show_explanation
from penstock.commands.features.named_entity import entity_of, hash_option, hint_at_hash, stored, view_of
from penstock.commands.features.overview import overview, state_table, tree
from penstock.commands.features.sizes import bytes_per_id, state_sizes
from penstock.settings import Settings
from sinks.vector_format import VectorState
from streams.inprocess.cases import read_cases
from streams.inprocess.kernel import Kernel
from streams.inprocess.report import print_total, print_verdict
from streams.inprocess.verdicts import run_case
from streams.plan.project import open_project


@click.command("plan")
@click.argument("pipeline")
@click.option("--json", "as_json", is_flag=True, help="As data, for programs.")
@click.option(
    "--entities", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Of each kind, to reckon with."
)
@click.option(
    "--events-per-tile",
    type=click.IntRange(1, 1_000),
    default=10,
    show_default=True,
    help="Of a hot entity: what sketches and lists take grows with it.",
)
def plan(pipeline: str, as_json: bool, entities: int, events_per_tile: int) -> None:
    """Show the way of an event through a pipeline, its windows and tiles, and what their state takes.

    Sizes are measured: the kernel takes synthetic events and writes its state.
    """
    plan = open_project(pipeline).plan
    with Kernel() as kernel:
        sizes = state_sizes(plan, kernel, events_per_tile)
        id_bytes = bytes_per_id(plan, kernel)
    found = overview(plan, sizes, id_bytes=id_bytes, events_per_tile=events_per_tile, entities=entities)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = Console()
    console.print(tree(found))
    console.print()
    console.print(state_table(found))


@click.command("explain")
@click.argument("pipeline")
@click.argument("view")
@click.argument("entity")
@hash_option
@click.option("--tiles", type=click.IntRange(min=1), default=10, show_default=True, help="Of each window, the newest.")
@click.option("--json", "as_json", is_flag=True, help="As data, for programs, with all tiles.")
def explain(pipeline: str, view: str, entity: str, hashed: bool, tiles: int, as_json: bool) -> None:
    """Show an entity's vector, the tiles behind each of its values, and when each of them leaves its window.

    The vector is the online store's. The tiles are computed again from the raw topic, by the kernel that the job runs:
    all of the topic is read that the view's longest window can hold.
    """
    project, settings = open_project(pipeline), Settings()
    plan = project.plan
    view_plan = view_of(project, view)
    entity = entity_of(plan, view_plan, entity, settings, hashed=hashed)
    # Read at the earliest time: no window has expired, so the vector is as it was emitted.
    vector = stored(plan, view_plan, entity, -(2**62), settings)
    if vector.state is VectorState.MISSING or vector.as_of is None:
        click.echo(f"nothing is stored for {view_plan.entity} {entity}: it has had no event, or none for long")
        if not hashed:
            hint_at_hash(plan, view_plan)
        click.get_current_context().exit(1)
    rows = entity_events(project, view_plan, entity, vector.as_of, settings)
    with Kernel() as kernel:
        explanation = explanation_of(plan, view_plan, rows, vector, kernel, pipeline)
    if as_json:
        click.echo(json.dumps(as_data(view_plan, vector, explanation), indent=2))
        return
    topics = ", ".join(source.topic for source in plan.sources)
    show_explanation(Console(), view_plan, vector, explanation, topic=topics, tiles=tiles)


@click.command("test")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-k", "part", default="", help="Only cases whose name contains this.")
def test(files: tuple[Path, ...], part: str) -> None:
    """Run the cases of FILES: events, and the features, refusals and duplicates that they must become.

    The features are computed in this process and one kernel process: no cluster, no store.
    docs/guides/testing-features.md describes the files.
    """
    console, began, verdicts = Console(), time.monotonic(), []
    for file in files:
        cases = [case for case in read_cases(file) if part in case.name]
        if cases:
            console.print(f"[bold]{cases[0].pipeline.name}[/]  [dim]{file}[/]", highlight=False, soft_wrap=True)
        for case in cases:
            verdicts.append(run_case(case))
            print_verdict(console, verdicts[-1])
    print_total(console, verdicts, time.monotonic() - began)
    # A run without any case fails.
    click.get_current_context().exit(0 if verdicts and all(verdict.passed for verdict in verdicts) else 1)
