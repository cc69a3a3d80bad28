"""``penstock features explain``, ``plan`` and ``test``: the commands that run the kernel as a child process."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from penstock.commands.console import console_on, printable
from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.features.entity_events import entity_events
from penstock.commands.features.explanation import explain as explain_vector
from penstock.commands.features.explanation_view import as_data, print_explanation
from penstock.commands.features.named_entity import (
    hash_option,
    print_hash_hint,
    read_vector,
    require_view,
    resolve_entity,
    why_missing,
)
from penstock.commands.features.overview import overview, state_table, tree
from penstock.commands.features.sizes import bytes_per_id, state_sizes
from penstock.commands.options import json_option
from penstock.settings import Settings
from sinks.vector_format import VectorState
from streams.inprocess.cases import read_cases
from streams.inprocess.kernel import Kernel
from streams.inprocess.report import print_total, print_verdict
from streams.inprocess.verdicts import run_case
from streams.plan.project import open_project


@click.command("plan")
@pipeline_argument
@json_option
@click.option(
    "--entities",
    type=click.IntRange(min=1),
    default=1_000_000,
    show_default=True,
    help="Entities per stage in the estimate.",
)
@click.option(
    "--events-per-tile",
    type=click.IntRange(1, 1_000),
    default=10,
    show_default=True,
    help="Events per tile of a hot entity; the size of sketches and lists grows with it.",
)
def plan(pipeline: str, as_json: bool, entities: int, events_per_tile: int) -> None:
    """Show the path of an event through a pipeline, its windows and tiles, and the size of their state.

    Sizes are measured: the kernel processes synthetic events and writes its state.
    """
    plan = open_project(pipeline).plan
    with Kernel() as kernel:
        sizes = state_sizes(plan, kernel, events_per_tile)
        id_bytes = bytes_per_id(plan, kernel)
    data = overview(plan, sizes, id_bytes=id_bytes, events_per_tile=events_per_tile, entities=entities)
    if as_json:
        click.echo(json.dumps(data, indent=2))
        return
    console = console_on()
    console.print(tree(data))
    console.print()
    console.print(state_table(data))


@click.command("explain")
@pipeline_argument
@click.argument("view")
@click.argument("entity")
@hash_option
@click.option(
    "--tiles",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Number of tiles per window, the newest first.",
)
@json_option
def explain(pipeline: str, view: str, entity: str, hashed: bool, tiles: int, as_json: bool) -> None:
    """Show an entity's vector, the tiles behind each value, and when each tile leaves its window.

    The vector is from the online store. The job's kernel recomputes the tiles from the raw topic, which is read as far
    back as the view's longest window reaches.
    """
    project, settings = open_project(pipeline), Settings()
    plan = project.plan
    view_plan = require_view(project, view)
    entity = resolve_entity(plan, view_plan, entity, settings, hashed=hashed)
    # Read at the earliest time: then no window has expired, and the vector is as it was emitted.
    vector = read_vector(plan, view_plan, entity, -(2**62), settings)
    if vector.state is VectorState.MISSING or vector.as_of is None:
        click.echo(why_missing(view_plan, printable(entity), project.reference))
        if not hashed:
            print_hash_hint(plan, view_plan)
        click.get_current_context().exit(ExitCode.ERROR)
    rows = entity_events(project, view_plan, entity, vector.as_of, settings)
    with Kernel() as kernel:
        explanation = explain_vector(plan, view_plan, rows, vector, kernel, pipeline)
    if as_json:
        click.echo(json.dumps(as_data(plan, view_plan, vector, explanation), indent=2))
        return
    print_explanation(console_on(), plan, view_plan, vector, explanation, tiles=tiles)


@click.command("test")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-k", "name_part", default="", help="Only cases whose name contains this.")
def test(files: tuple[Path, ...], name_part: str) -> None:
    """Run the cases of FILES: events and their expected features, refusals and duplicates.

    This process and one kernel process compute the features, without a cluster or a store.
    docs/guides/testing-features.md describes the files.
    """
    console, began, verdicts = console_on(), time.monotonic(), []
    for file in files:
        cases = [case for case in read_cases(file) if name_part in case.name]
        if cases:
            console.print(f"[bold]{cases[0].pipeline.name}[/]  [dim]{file}[/]", highlight=False, soft_wrap=True)
        for case in cases:
            verdicts.append(run_case(case))
            print_verdict(console, verdicts[-1])
    print_total(console, verdicts, time.monotonic() - began)
    # A run without any case fails.
    passed = bool(verdicts) and all(verdict.passed for verdict in verdicts)
    click.get_current_context().exit(ExitCode.DONE if passed else ExitCode.CHECK_FAILED)
