"""What the demo shows while it runs: a live panel on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.watching import HighScore

_LINE_EVERY_S = 5.0
_REFRESH_S = 0.25
_RATE_WINDOW_S = 3.0
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Meter:
    """A counter with its rate over the last few seconds."""

    def __init__(self) -> None:
        self.total = 0
        self._samples: list[tuple[float, int]] = []

    def set(self, total: int, now: float) -> None:
        """Take a reading at ``now`` (seconds, monotonic)."""
        self.total = total
        self._samples.append((now, total))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_WINDOW_S:
            self._samples.pop(0)

    @property
    def per_second(self) -> float:
        """The rate between the oldest and the newest reading of the window."""
        if len(self._samples) < 2:
            return 0.0
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - start) if end > start else 0.0


@dataclass
class State:
    """All that the screen shows; the demo writes it, the screen reads it."""

    pipeline: str = ""
    step: str = ""
    done: list[str] = field(default_factory=list)
    meters: dict[str, Meter] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)
    latencies_ms: Sequence[float] = ()
    high_scores: Sequence[HighScore] = ()


class Screen:
    """Shows a :class:`State`; call :meth:`refresh` as often as you like."""

    def __init__(self, console: Console) -> None:
        self.state = State()
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._started = time.monotonic()
        self._shown_at = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def step(self, text: str) -> None:
        """Begin a step; the one before is done."""
        self._finish()
        self.state.step = text
        self._step_started = time.monotonic()
        self._shown_at = 0.0
        self.refresh()

    def clear(self) -> None:
        """Show nothing but steps from here on."""
        self.finish()
        self.state = State()

    def finish(self) -> None:
        """The last step is done."""
        self._finish()
        self.refresh()

    def refresh(self) -> None:
        """Show the state if the last showing was a while ago."""
        now = time.monotonic()
        if now - self._shown_at < (_REFRESH_S if self._live is not None else _LINE_EVERY_S):
            return
        self._shown_at = now
        if self._live is not None:
            self._live.update(self._panel(now), refresh=True)
        elif self.state.step:
            self._console.print(self._line(now), highlight=False)

    def _finish(self) -> None:
        if self.state.step:
            took = time.monotonic() - self._step_started
            line = Text.assemble(("✓ ", "green"), self.state.step, (f"  {took:.1f} s", "dim"))
            self._console.print(line)
            self.state.step = ""

    def _line(self, now: float) -> str:
        meters = "  ".join(f"{name} {meter.total:,}" for name, meter in self.state.meters.items())
        return f"  {now - self._started:5.0f} s  {self.state.step}  {meters}"

    def _panel(self, now: float) -> RenderableType:
        state = self.state
        spinner = _SPINNER[int(now * 10) % len(_SPINNER)]
        head = Text.assemble((f"{spinner} ", "cyan"), (state.step, "bold"))
        parts: list[RenderableType] = [head]
        if state.meters:
            parts += [Text(), self._rates()]
        if state.lags:
            parts += [Text(), self._lags()]
        if state.latencies_ms:
            parts += [Text(), self._latency()]
        if state.high_scores:
            parts += [Text(), self._scores()]
        title = f"penstock demo · {state.pipeline}" if state.pipeline else "penstock demo"
        return Panel(Group(*parts), title=title, subtitle=f"{now - self._started:.0f} s", padding=(1, 2), width=84)

    def _rates(self) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("")
        for title in ("total", "per second"):
            table.add_column(title, justify="right", min_width=10)
        for name, meter in self.state.meters.items():
            table.add_row(name, f"{meter.total:,}", f"{meter.per_second:,.0f}")
        return table

    def _lags(self) -> Text:
        parts: list[str | tuple[str, str]] = [("records behind  ", "dim")]
        for name, lag in self.state.lags.items():
            parts += [f"{name} ", (f"{lag:,}", "yellow" if lag else "green"), "   "]
        return Text.assemble(*parts)

    def _latency(self) -> Text:
        ordered = sorted(self.state.latencies_ms)
        p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.99))
        return Text.assemble(
            ("raw event → committed prediction  ", "dim"), f"p50 {_milliseconds(p50)}   p99 {_milliseconds(p99)}"
        )

    def _scores(self) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
        for title in ("latest high scores", "decision", "score"):
            table.add_column(title)
        for high in reversed(list(self.state.high_scores)):
            table.add_row(high.entity, high.decision, Text(f"{high.score:.3f}", style="red"))
        return table


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.0f} s"
