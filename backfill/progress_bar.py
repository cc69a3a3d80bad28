"""What a backfill shows while it runs: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_LINE_EVERY_S = 5.0


class ProgressBar:
    """Shows one step after the other: how much is done of how much, at which rate, and how long the rest will take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = (
            Bars(
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
        self._bar = None if self._bars is None else self._bars.add_task("", start=False, rate="")
        self._step, self._total, self._first, self._started, self._shown_at = "", 0, 0, 0.0, 0.0

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def step(self, name: str, total: int, done: int = 0) -> None:
        """Begin a step of ``total`` records, of which ``done`` are done already."""
        self._step, self._total, self._first = name, total, done
        self._started = self._shown_at = time.monotonic()
        if self._bars is not None and self._bar is not None:
            self._bars.reset(self._bar, description=name, total=total, completed=done, rate="")
        else:
            self._console.print(f"{name} {total:,} records", highlight=False)

    def done(self, count: int) -> None:
        """So many records of the step are done."""
        now = time.monotonic()
        rate = (count - self._first) / max(now - self._started, 1e-3)
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, completed=count, rate=f"{rate:,.0f}/s" if rate else "")
        elif now - self._shown_at >= _LINE_EVERY_S:
            self._shown_at = now
            left = f", {(self._total - count) / rate:,.0f} s left" if rate else ""
            self._console.print(f"{self._step} {count:,} of {self._total:,}, {rate:,.0f}/s{left}", highlight=False)

    def note(self, text: str) -> None:
        """Say something that happened."""
        self._console.print(text, highlight=False)
