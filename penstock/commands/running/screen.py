"""The screen of a running pipeline: its parts, how far each is, latency, drift, rollout, newest dead letters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from penstock.commands.console import printable
from penstock.running.figures import Backlog, Figures, RolloutState
from penstock.running.parts import FEATURES
from penstock.running.record import PartRecord
from penstock.time import readable

_STYLES = {"running": "green", "waiting": "dim", "pausing": "yellow", "given up": "red", "stopping": "yellow"}
_SAID = {
    "running": "started again after: ",
    "waiting": "waiting, ",
    "given up": "given up, ",
    "pausing": "",
    "stopped": "stopped, ",
}
_WIDTH = 110
# With less, tables have shorter titles, and what is not needed to see how a pipeline is doing is left out.
_WIDE = 104
# What waits for less is on its way.
_OLD_S = 2.0
# Older predictions say nothing about now.
_RECENT_MS = 60_000


@dataclass(frozen=True)
class View:
    """What the screen shows.

    Args:
        title: Its title.
        footer: What the user can do.
        parts: The parts, as their supervisor knows them; empty if another machine's does.
        names: The names of all parts, in their order.
        figures: What was measured; None before.
        reference: The pipeline, as it was typed.
    """

    title: str
    footer: str
    names: Sequence[str]
    parts: Sequence[PartRecord] = ()
    figures: Figures | None = None
    reference: str = ""


def panel(view: View, now_ms: int, width: int = _WIDTH) -> RenderableType:
    """The screen at a time (epoch ms), on a terminal of so many columns."""
    figures = view.figures or Figures(at_ms=now_ms)
    is_wide = width >= _WIDE
    blocks: list[RenderableType] = [_flow(figures, now_ms), Text(), _parts(view, figures, is_wide=is_wide)]
    if reasons := [*_reasons(view.parts), *_stuck(figures)]:
        blocks += [Text(), *reasons]
    if _is_idle(view):
        blocks += [Text(), *_idle(view.reference)]
    if figures.rollout is not None:
        blocks += [Text(), *_rollout(figures.rollout)]
    if figures.alerts:
        blocks += [Text(), _alerts(figures, is_wide=is_wide)]
    if figures.letters:
        blocks += [Text(), *_letters(figures)]
    if view.figures is None:
        blocks += [Text("measuring for the first time", style="dim")]
    blocks += [Text(f"not measured: {printable(problem)}", style="yellow") for problem in figures.problems]
    title, subtitle = Text(view.title), Text(view.footer)
    return Panel(Group(*blocks), title=title, subtitle=subtitle, padding=(1, 2), width=min(_WIDTH, width))


def seconds(value: float | None) -> str:
    """A time as a person reads it; nothing if it is not known.

    >>> [seconds(value) for value in (None, 0.0, 0.25, 12.4, 90.0, 7_300.0, 200_000.0)]
    ['', '0 s', '0.2 s', '12 s', '1m30s', '2h01m', '2d07h']
    """
    if value is None:
        return ""
    if value < 10:
        return "0 s" if value == 0 else f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3_600}h{whole % 3_600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600:02d}h"


def _flow(figures: Figures, now_ms: int) -> Text:
    rates = [("events in", figures.arriving)]
    rates += [(label, of.per_second) for label, of in _flowing(figures)]
    text = Text("   ").join(
        Text.assemble((f"{label} ", "dim"), "…" if rate is None else f"{rate:,.0f}/s") for label, rate in rates
    )
    latency = figures.latency
    if latency is not None:
        age_ms = now_ms - latency.newest_ms
        old = f", the newest of {seconds(age_ms / 1000)} ago" if age_ms > _RECENT_MS else ""
        text.append("\nraw event → prediction  ", style="dim")
        text.append(f"p50 {_milliseconds(latency.p50_ms)}   p99 {_milliseconds(latency.p99_ms)}")
        text.append(f"   of {latency.predictions} predictions{old}", style="dim")
    return text


def _flowing(figures: Figures) -> Iterator[tuple[str, Backlog]]:
    for label, part in (("computed", FEATURES), ("scored", "scorer"), ("to Redis", "sink-redis")):
        if part in figures.backlogs:
            yield label, figures.backlogs[part]


def _parts(view: View, figures: Figures, *, is_wide: bool) -> Table:
    waits, rate, *rest = ("oldest waits", "per second", "metrics") if is_wide else ("waits", "per s")
    table = _table("part", "state", "restarts", "behind", waits, "clears in", rate, *rest, is_wide=is_wide)
    table.columns[1].justify = "left"
    known = {part.name: part for part in view.parts}
    for name in view.names:
        part, backlog = known.get(name), figures.backlogs.get(name)
        row: list[str | Text] = [name, _state(name, part, figures)]
        row.append("" if part is None or not part.restarts else str(part.restarts))
        row += ["", "", "", ""] if backlog is None else _backlog(backlog)
        row.append("" if part is None or part.port is None else f":{part.port}")
        table.add_row(*row[: len(table.columns)])
    return table


def _backlog(backlog: Backlog) -> list[str | Text]:
    style = "yellow" if backlog.records else "green"
    clears = seconds(backlog.clears_s)
    if (backlog.changing or 0) >= 0 and (backlog.seconds or 0) > _OLD_S:
        clears = "grows" if backlog.changing else "stands"
    done = backlog.per_second
    return [
        Text(f"{backlog.records:,}", style=style),
        seconds(backlog.seconds),
        clears if backlog.records else "",
        "" if done is None else f"{done:,.0f}",
    ]


def _state(name: str, part: PartRecord | None, figures: Figures) -> Text:
    health = figures.health.get(name)
    job = figures.job if name == FEATURES and (part is None or part.state == "running") else None
    if job is not None:
        return Text(f"job {job.lower()}", style="green" if job == "RUNNING" else "yellow")
    if health is not None and (part is None or part.state == "running"):
        if not health.ok:
            return Text("stuck", style="red")
        return Text("running", style="green") if health.has_started else Text("starting", style="yellow")
    if part is None:
        return Text("?", style="dim")
    return Text(part.state, style=_STYLES.get(part.state, "dim"))


def _reasons(parts: Sequence[PartRecord]) -> Iterator[Text]:
    """A line for each reason why parts wait, pause, were given up or were started again, with what to do."""
    alike: dict[tuple[str, str, str | None], list[str]] = {}
    for part in parts:
        if part.reason is not None:
            alike.setdefault((part.state, part.reason, part.next), []).append(part.name)
    for (state, reason, next_step), names in alike.items():
        text = Text(f"{', '.join(names)}: {_SAID.get(state, state)}{printable(reason)}", style=_STYLES.get(state, ""))
        if next_step is not None and state != "running":
            text.append(f"\n  next: {next_step}", style="bold")
        yield text


def _is_idle(view: View) -> bool:
    """Whether nothing of the pipeline is seen to run: no part here, no page of metrics, and no job."""
    figures = view.figures
    has_job = figures is not None and figures.job not in (None, "FINISHED", "CANCELED", "FAILED")
    return not (view.parts or figures is None or figures.health or has_job)


def _idle(reference: str) -> Iterator[Text]:
    yield Text("nothing of it is seen to run", style="yellow")
    yield Text(f"  next: penstock run {reference}", style="bold")
    yield Text("  if it runs elsewhere: name its services with --metrics HOST:PORT")


def _stuck(figures: Figures) -> Iterator[Text]:
    for name, health in figures.health.items():
        if not health.ok:
            yield Text(f"{name}: {printable(health.reason)}", style="red")


def _rollout(shown: RolloutState) -> Iterator[RenderableType]:
    table = _table(f"rollout: {escape(printable(shown.state))}", "share of entities")
    for arm, weight in shown.weights.items():
        table.add_row(Text(printable(arm)), f"{weight * 100:.3g} %")
    yield table
    yield Text(printable(shown.reason), style="dim", no_wrap=True, overflow="ellipsis")


def _alerts(figures: Figures, *, is_wide: bool) -> Table:
    table = _table("newest drift alerts", "expected", "now", "detector", "event time", is_wide=is_wide)
    # Of a long name, the end is on a line of its own.
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    for alert in figures.alerts:
        current = Text(f"{alert.current:.3g}", style="yellow")
        when = readable(alert.time_ms, "seconds" if is_wide else "minutes", zone="")
        names = [Text(printable(name)) for name in (alert.monitor, alert.detector)]
        table.add_row(names[0], f"{alert.expected:.3g}", current, names[1], when)
    return table


def _letters(figures: Figures) -> Iterator[Text]:
    """Each on two lines: what ``penstock dlq`` calls it, and why it is one."""
    yield Text("newest dead letters", style="dim")
    for letter in figures.letters:
        reason = f"{letter.component}: {letter.reason}".replace("penstock.", "")
        place = Text(printable(letter.place), no_wrap=True, overflow="ellipsis")
        yield place.append(f"   {printable(reason)}", style="yellow")
        yield Text(f"  {printable(letter.message)}", style="dim", no_wrap=True, overflow="ellipsis")


def _table(*titles: str, is_wide: bool = True) -> Table:
    """A table without lines; the first column holds names, the others numbers."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3 if is_wide else 2, 0, 0))
    for number, title in enumerate(titles):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    return table


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.0f} s"
