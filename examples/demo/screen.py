"""Shows the demo's progress: a live panel on a terminal, elsewhere one line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.output_readers import HighScore, ShownAlert
from penstock.running.figures import Meter

_LINE_EVERY_S = 5.0
_REFRESH_S = 0.25
RATE_WINDOW_S = 3.0
"""Over which time the screen shows rates, in seconds."""
_MAX_ENTITY_CHARS = 24
_VERDICT_STYLES = {"equivalent": "green", "worse": "red"}
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass(frozen=True)
class ShownRollout:
    """A rollout, for the screen: its status, the weight of each arm, why, and the verdict of each guardrail."""

    status: str
    weights: Mapping[str, float]
    reason: str
    verdicts: Mapping[str, str]


@dataclass
class ScreenState:
    """The content of the screen, set by the demo."""

    pipeline: str = ""
    step: str = ""
    done: list[str] = field(default_factory=list)
    meters: dict[str, Meter] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)
    latencies_ms: Sequence[float] = ()
    high_scores: Sequence[HighScore] = ()
    alerts: Sequence[ShownAlert] = ()
    rollout: ShownRollout | None = None


class Screen:
    """Shows a :class:`ScreenState`; :meth:`refresh` limits its own rate."""

    def __init__(self, console: Console) -> None:
        self.state = ScreenState()
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
        """Begin a step; finishes the one before."""
        self._finish()
        self.state.step = text
        self._step_started = time.monotonic()
        self._shown_at = 0.0
        self.refresh()

    def clear(self) -> None:
        """Finish the step and reset the state, so that the screen shows only steps."""
        self.finish()
        self.state = ScreenState()

    def finish(self) -> None:
        """Finish the current step."""
        self._finish()
        self.refresh()

    def refresh(self) -> None:
        """Show the state; does nothing if it was shown a moment ago."""
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
        meters = "  ".join(f"{name} {meter.latest:,}" for name, meter in self.state.meters.items())
        return f"  {now - self._started:5.0f} s  {self.state.step}  {meters}"

    def _panel(self, now: float) -> RenderableType:
        state = self.state
        spinner = _SPINNER[int(now * 10) % len(_SPINNER)]
        head = Text.assemble((f"{spinner} ", "cyan"), (state.step, "bold"))
        parts: list[RenderableType] = [head]
        if state.meters:
            side_by_side = Table.grid(padding=(0, 6, 0, 0))
            side_by_side.add_row(self._rates(), self._lags())
            parts += [Text(), side_by_side]
        if state.latencies_ms:
            parts += [Text(), self._latency()]
        if state.high_scores:
            parts += [Text(), self._scores()]
        if state.alerts:
            parts += [Text(), self._alerts()]
        if state.rollout is not None:
            parts += [Text(), *self._rollout(state.rollout)]
        title = f"penstock demo · {state.pipeline}" if state.pipeline else "penstock demo"
        return Panel(Group(*parts), title=title, subtitle=f"{now - self._started:.0f} s", padding=(1, 2), width=84)

    def _rates(self) -> Table:
        table = _table("", "total", "per second")
        for name, meter in self.state.meters.items():
            table.add_row(name, f"{meter.latest:,}", f"{meter.per_second:,.0f}" if meter.per_second else "")
        return table

    def _lags(self) -> Table:
        table = _table("consumer", "behind")
        for name, lag in self.state.lags.items():
            table.add_row(name, Text(f"{lag:,}", style="yellow" if lag else "green"))
        return table

    def _latency(self) -> Text:
        ordered = sorted(self.state.latencies_ms)
        p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.99))
        return Text.assemble(
            ("raw event → committed prediction  ", "dim"), f"p50 {_milliseconds(p50)}   p99 {_milliseconds(p99)}"
        )

    def _scores(self) -> Table:
        table = _table("latest high scores", "score")
        for high in reversed(self.state.high_scores):
            entity = high.entity if len(high.entity) <= _MAX_ENTITY_CHARS else f"{high.entity[:_MAX_ENTITY_CHARS]}…"
            table.add_row(entity, Text(f"{high.score:.3f}", style="red"))
        return table

    def _alerts(self) -> Table:
        table = _table("latest drift alerts", "expected", "now", "detector")
        for alert in reversed(self.state.alerts):
            current = Text(f"{alert.current:.3g}", style="yellow")
            table.add_row(alert.monitor, f"{alert.expected:.3g}", current, alert.detector)
        return table

    def _rollout(self, shown: ShownRollout) -> Iterator[RenderableType]:
        table = _table(f"rollout: {shown.status}", "share of entities")
        for arm, weight in shown.weights.items():
            table.add_row(arm, f"{weight * 100:.3g} %")
        yield table
        yield Text(shown.reason, style="dim", no_wrap=True, overflow="ellipsis")
        for verdict in dict.fromkeys(shown.verdicts.values()):
            names = (name for name, of in shown.verdicts.items() if of == verdict)
            yield Text.assemble((f"{verdict}: ", _VERDICT_STYLES.get(verdict, "")), ", ".join(names))


def _table(*titles: str) -> Table:
    """A table without lines; the first column holds names, the others numbers."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for number, title in enumerate(titles):
        table.add_column(title, justify="right" if number else "left")
    return table


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.0f} s"
