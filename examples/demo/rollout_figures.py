"""The report's plots of rollouts: who scored how much, and what each guardrail measured beside its bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from examples.demo import scales
from examples.demo.figures import Figure, LegendEntry
from examples.demo.formats import clock, percent
from examples.demo.plots import band, dashed_line, dot, hover_column, line, vertical_line
from examples.demo.rollout_record import Change, Look, Rollouts, word_for

_COLOURS = ("c3", "c1", "c2", "c4", "c5", "c6")
_BEFORE_S = 2.0
_AFTER_S = 2.0
# A panel ends a little beyond the bounds: what is far outside is drawn at its edge.
_BEYOND = 1.6
_MAX_COLUMNS = 20

_GUARDRAILS = {
    "errors": "Errors",
    "latency": "Latency of calls",
    "decision_rate": "Decisions",
    "quality": "Quality",
    "calibration": "Calibration of the candidate",
    "fairness": "Fairness",
    "scores": "Equal scores",
    "split": "Split",
}
_VERDICTS = {"equivalent": "surely within its bounds", "worse": "surely outside of its bounds"}


def numbered(changes: Sequence[Change]) -> Iterator[tuple[int, str, Change]]:
    """Each change with its number, from 1, and what it has done in a word."""
    for number, (before, change) in enumerate(pairwise((None, *changes)), 1):
        assert change is not None
        yield number, word_for(before, change), change


def weights(rollouts: Rollouts) -> Figure:
    """Which share of the entities each version scored, and every change of the policy."""
    changes = rollouts.changes
    begin, end = _span(rollouts)
    colours = version_colours(rollouts)
    curves = {version: _steps(changes, version, begin, end) for version in colours}
    lasting = [*changes[1:], None]

    def paint(ax: Axes) -> None:
        scales.linear(ax.yaxis, "share of entities", 1, percent)
        scales.seconds(ax.xaxis, "time since the pipeline's start", end, begin)
        for version, points in curves.items():
            line(ax, points, colours[version], drawstyle="steps-post")
        for (number, _, change), after in zip(numbered(changes), lasting, strict=True):
            vertical_line(ax, change.at_s, str(number), side="right")
            shares = (f"version {version}: {percent(weight)}" for version, weight in change.weights.items())
            until = end if after is None else after.at_s
            hover_column(ax, change.at_s, until, "\n".join([f"from {clock(change.at_s)} on", *shares]))
        for number, word, change in numbered(changes):
            version = change.candidate or change.champion
            tip = f"{number}: {word}, {clock(change.at_s)} after the start\nby {change.author}\n{change.reason}"
            dot(ax, change.at_s, change.weights[version], colours[version], tip)

    return Figure(
        "Who scored whom",
        "The share of cards that each version scored. Each numbered line is a change of the policy, which the table "
        "below explains. While a version is in shadow, it scores every event, and nobody is served its score.",
        paint,
        tuple(LegendEntry(f"version {version}", colour) for version, colour in colours.items()),
        height=230,
        wide=True,
    )


def guardrails(rollouts: Rollouts) -> list[Figure]:
    """A small plot for each guardrail, of those that measured something."""
    measured = {look.guardrail for look in rollouts.looks}
    return [_guardrail(name, rollouts) for name in _GUARDRAILS if name in measured]


def version_colours(rollouts: Rollouts) -> Mapping[int, str]:
    """A colour for each version, in ascending order."""
    versions = sorted({version for change in rollouts.changes for version in change.weights})
    return {version: _COLOURS[place % len(_COLOURS)] for place, version in enumerate(versions)}


def _guardrail(name: str, rollouts: Rollouts) -> Figure:
    begin, end = _span(rollouts)
    colours = version_colours(rollouts)
    looks = [look for look in rollouts.looks if look.guardrail == name]
    quantity = next((look.what for look in reversed(looks) if look.what), name)
    stretches = list(_stretches(looks, rollouts.changes))
    top = _top(looks)

    def paint(ax: Axes) -> None:
        scales.linear(ax.yaxis, quantity, top)
        scales.seconds(ax.xaxis, "time since the pipeline's start", end, begin)
        for change in rollouts.changes:
            vertical_line(ax, change.at_s, "")
        for since, under in stretches:
            last = under[-1]
            band(ax, list(_held(under)), colours[last.version])
            bounds = [(since, under[0]), *((look.at_s, look) for look in under)]
            dashed_line(ax, [(at, look.least) for at, look in bounds], "bad")
            dashed_line(ax, [(at, look.most) for at, look in bounds if look.most is not None], "bad")
            for look, until in _columns(under):
                hover_column(ax, look.at_s, until, _tip(look))
            _mark(ax, last, colours[last.version])

    return Figure(_GUARDRAILS[name], _caption(looks), paint, height=190, narrow_height=200)


def _mark(ax: Axes, last: Look, colour: str) -> None:
    """What a guardrail said at last, in the middle of its interval: a point, hollow if unsure, or a red cross."""
    has_failed = last.verdict == "worse"
    middle = (last.low + min(_high(last), max(ax.get_ylim()))) / 2
    marker, shown = ("x", "bad") if has_failed else ("o", colour)
    dot(ax, last.at_s, middle, shown, _tip(last), marker, hollow=last.verdict not in _VERDICTS)


def _columns(looks: Sequence[Look]) -> Iterator[tuple[Look, float]]:
    """Looks with a tooltip, each with the time of the next one."""
    shown = looks[:: math.ceil(len(looks) / _MAX_COLUMNS)]
    return ((look, after.at_s) for look, after in pairwise([*shown, looks[-1]]))


def _span(rollouts: Rollouts) -> tuple[float, float]:
    changes = rollouts.changes
    last = max(change.followed_s or change.at_s for change in changes)
    return max(0.0, changes[0].at_s - _BEFORE_S), last + _AFTER_S


def _steps(changes: Sequence[Change], version: int, begin: float, end: float) -> list[tuple[float, float]]:
    """The weight of a version over time, while policies name it; then it drops to 0."""
    points = [(begin, 1.0)] if version == changes[0].champion else []
    for change in changes:
        if version in change.weights:
            points.append((change.at_s, change.weights[version]))
        elif points and not math.isnan(points[-1][1]):
            points += [(change.at_s, 0.0), (change.at_s, math.nan)]
    return [*points, (end, points[-1][1])]


def _stretches(looks: Sequence[Look], changes: Sequence[Change]) -> Iterator[tuple[float, list[Look]]]:
    """The looks under each policy, and since when it was there: with another one, what was seen begins anew."""
    for change, after in pairwise([*changes, None]):
        assert change is not None
        until = math.inf if after is None else after.at_s
        inside = [look for look in looks if change.at_s <= look.at_s < until]
        if inside:
            yield change.at_s, inside


def _held(looks: Sequence[Look]) -> Iterator[tuple[float, float, float]]:
    """The interval over time: what was known at a look holds until the next one."""
    for look, after in pairwise([*looks, looks[-1]]):
        yield look.at_s, look.low, _high(look)
        yield after.at_s, look.low, _high(look)


def _high(look: Look) -> float:
    return math.inf if look.high is None else look.high


def _top(looks: Sequence[Look]) -> float:
    bounds = [look.most for look in looks if look.most is not None]
    if bounds:
        return max(bounds) * _BEYOND
    return max((look.high for look in looks if look.high is not None), default=1.0)


def _tip(look: Look) -> str:
    most = "any" if look.most is None else f"{look.most:.3g}"
    return (
        f"{clock(look.at_s)} after the start\nversion {look.version}: {_between(look)}\n"
        f"allowed: {look.least:.3g} to {most}\n{look.verdict}"
    )


def _is_known(look: Look) -> bool:
    return look.low > 0 or look.high is not None


def _between(look: Look) -> str:
    return f"above {look.low:.3g}" if look.high is None else f"{look.low:.3g} to {look.high:.3g}"


def _caption(looks: Sequence[Look]) -> str:
    found = []
    for version in sorted({look.version for look in looks}):
        last = [look for look in looks if look.version == version][-1]
        said = _VERDICTS.get(last.verdict, "neither surely within its bounds nor surely outside")
        found.append(
            f"Version {version}: {_between(last)}, {said}." if _is_known(last) else f"Version {version}: not known."
        )
    return " ".join(found)
