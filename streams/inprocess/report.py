"""Prints the verdicts of feature tests on a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.counts import counted
from streams.inprocess.features_of import Event
from streams.inprocess.references import Reference
from streams.inprocess.verdicts import CaseVerdict, FailedEvent

_MAX_EVENT = 400


def print_verdict(console: Console, verdict: CaseVerdict) -> None:
    """Print one line for a case; for a failed case also the values that differ, by event."""
    mark = Text("✓ ", "green") if verdict.passed else Text("✗ ", "bold red")
    counts = f"  {counted(len(verdict.outcomes), 'event')}, {verdict.compared} compared"
    console.print(Text.assemble("  ", mark, verdict.case.name, (counts, "dim")), highlight=False, soft_wrap=True)
    for failed_event in verdict.failed_events:
        _print_failed_event(console, failed_event, verdict.case.events[failed_event.number - 1])


def print_total(console: Console, verdicts: Sequence[CaseVerdict], seconds: float) -> None:
    """Print how many cases passed and failed."""
    failed = sum(not verdict.passed for verdict in verdicts)
    head = Text(f"{failed} failed, ", "bold red") if failed else Text()
    passed = Text(f"{len(verdicts) - failed} passed", "red" if failed else "bold green")
    console.print(Text.assemble(head, passed, (f" in {seconds:.1f} s", "dim")), highlight=False)


def failure_text(verdict: CaseVerdict) -> str:
    """The report of a case as plain text."""
    text = io.StringIO()
    print_verdict(Console(file=text, no_color=True, width=120), verdict)
    return text.getvalue()


def _print_failed_event(console: Console, failed_event: FailedEvent, event: Event | Reference) -> None:
    value = event.value
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= _MAX_EVENT else shown[:_MAX_EVENT] + " ..."
    console.print(Text.assemble(f"    event {failed_event.number}  ", (shown, "dim")), highlight=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("", "", "expected", "actual"):
        table.add_column(title, overflow="fold")
    for difference in failed_event.differences:
        table.add_row("     ", difference.name, Text(difference.expected, "green"), Text(difference.actual, "red"))
    console.print(table)
