"""``penstock features test``: feature tests in data files."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from backfill.inprocess.cases import read_cases
from backfill.inprocess.report import show, show_total
from backfill.inprocess.verdicts import run_case


@click.command("test")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-k", "part", default="", help="Only cases whose name contains this.")
def test(files: tuple[Path, ...], part: str) -> None:
    """Run the cases of FILES: events, and the features, refusals and duplicates that they must become.

    Everything happens in this process and a kernel of its own: no cluster, no store. docs/testing-features.md describes
    the files.
    """
    console, began, verdicts = Console(), time.monotonic(), []
    for file in files:
        cases = [case for case in read_cases(file) if part in case.name]
        if cases:
            console.print(f"[bold]{cases[0].pipeline.name}[/]  [dim]{file}[/]", highlight=False, soft_wrap=True)
        for case in cases:
            verdicts.append(run_case(case))
            show(console, verdicts[-1])
    show_total(console, verdicts, time.monotonic() - began)
    # Nothing that ran is nothing that passed.
    click.get_current_context().exit(0 if verdicts and all(verdict.passed for verdict in verdicts) else 1)
