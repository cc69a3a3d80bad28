"""The progress display of a backfill or a replay: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from penstock.counts import counted

_LINE_EVERY_S = 5.0


class ProgressBar:
    """Shows the records done and to do of the current step, the rate, and the remaining time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rich = (
            RichProgress(
                TextColumn("{task.description:<8}"),
                BarColumn(40),
                MofNCompleteColumn(),
                TextColumn("[dim]{task.fields[rate]}[/]"),
                TimeRemainingColumn(),
                console=console,
            )
            if console.is_terminal
            else None
        )
        self._task = None if self._rich is None else self._rich.add_task("", start=False, rate="")
        self._step, self._total, self._first, self._started, self._shown_at = "", 0, 0, 0.0, 0.0
        self._done = 0

    def __enter__(self) -> Self:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def start_step(self, name: str, total: int, done: int = 0, noun: str = "record") -> None:
        """Start a step of ``total`` records, or whatever the noun is, of which ``done`` are already done."""
        self._step, self._total, self._first, self._done = name, total, done, done
        self._started = self._shown_at = time.monotonic()
        if self._rich is not None and self._task is not None:
            self._rich.reset(self._task, description=name, total=total, completed=done, rate="")
        else:
            self._console.print(f"{name} {counted(total, noun)}", highlight=False)

    def advance(self, number: int) -> None:
        """Show that ``number`` more records of the step are done."""
        self.update(self._done + number)

    def update(self, count: int) -> None:
        """Show that ``count`` records of the step are done."""
        self._done = count
        now = time.monotonic()
        rate = (count - self._first) / max(now - self._started, 1e-3)
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=count, rate=f"{rate:,.0f}/s" if rate else "")
        elif now - self._shown_at >= _LINE_EVERY_S:
            self._shown_at = now
            left = f", {(self._total - count) / rate:,.0f} s left" if rate else ""
            self._console.print(f"{self._step} {count:,} of {self._total:,}, {rate:,.0f}/s{left}", highlight=False)

    def note(self, text: str) -> None:
        """Print a message."""
        self._console.print(text, highlight=False)
