"""The report's plots of rollouts: who scored how much, and what each guardrail measured beside its bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from examples.demo import scales
from examples.demo.figures import Figure, LegendEntry
from examples.demo.formats import clock, compact, percent
from examples.demo.plots import band, dashed_line, dot, hover_column, line, vertical_line
from examples.demo.rollout_record import Change, Look, Rollouts, word_for

_COLOURS = ("c3", "c1", "c2", "c4", "c5", "c6")
_BEFORE_S = 2.0
_AFTER_S = 2.0
# A panel ends a little beyond the bounds: what is far outside is drawn at its edge.
_BEYOND = 1.6
_MAX_COLUMNS = 60

# Title, and what is measured.
_GUARDRAILS = {
    "errors": ("Errors", "share of moments without a score in time"),
    "latency": ("Latency", "p99 of a call, to the champion's"),
    "decision_rate": ("Decisions", "rate of positive decisions, to the champion's"),
    "quality": ("Quality", "mean loss, to the champion's"),
    "calibration": ("Calibration", "mean score, to the share of positives"),
    "fairness": ("Fairness", "as decisions, in the worst group"),
    "scores": ("Equal scores", "share of entities with the score of another"),
    "split": ("Split", "the candidate's share of entities"),
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
    title, quantity = _GUARDRAILS[name]
    begin, end = _span(rollouts)
    colours = version_colours(rollouts)
    looks = [look for look in rollouts.looks if look.guardrail == name]
    stretches = list(_stretches(looks, rollouts.changes, end))
    top = _top(looks)

    def paint(ax: Axes) -> None:
        scales.linear(ax.yaxis, quantity, top)
        scales.seconds(ax.xaxis, "time since the pipeline's start", end, begin)
        for stretch in stretches:
            points = [(look.at_s, look.low, math.inf if look.high is None else look.high) for look in stretch]
            band(ax, points, colours[stretch[0].version])
            dashed_line(ax, [(look.at_s, look.least) for look in stretch], "bad")
            dashed_line(ax, [(look.at_s, look.most) for look in stretch if look.most is not None], "bad")
        for change in rollouts.changes:
            vertical_line(ax, change.at_s, "")
        shown = looks[:: math.ceil(len(looks) / _MAX_COLUMNS) or 1]
        for look, after in pairwise([*shown, None]):
            assert look is not None
            until = end if after is None or after.version != look.version else after.at_s
            hover_column(ax, look.at_s, min(until, look.at_s + 2), _tip(look))

    return Figure(title, _caption(looks), paint, height=190, narrow_height=200)


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


def _stretches(looks: Sequence[Look], changes: Sequence[Change], end: float) -> Iterator[list[Look]]:
    """The looks under each policy, the last of them until the next one: then, what was seen begins anew."""
    for change, after in pairwise([*changes, None]):
        assert change is not None
        until = end if after is None else after.at_s
        inside = [look for look in looks if change.at_s <= look.at_s < until and look.version == change.candidate]
        if inside:
            yield [*inside, inside[-1].model_copy(update={"at_s": until})]


def _top(looks: Sequence[Look]) -> float:
    bounds = [look.most for look in looks if look.most is not None]
    if bounds:
        return max(bounds) * _BEYOND
    return max((look.high for look in looks if look.high is not None), default=1.0)


def _tip(look: Look) -> str:
    high, most = ("∞" if end is None else compact(round(end, 4)) for end in (look.high, look.most))
    least = compact(round(look.least, 4))
    return (
        f"{clock(look.at_s)} after the start\nversion {look.version}: {compact(round(look.low, 4))} to {high}\n"
        f"allowed: {least} to {most}\n{look.verdict}"
    )


def _caption(looks: Sequence[Look]) -> str:
    found = []
    for version in sorted({look.version for look in looks}):
        last = [look for look in looks if look.version == version][-1]
        high = "∞" if last.high is None else f"{last.high:.3g}"
        said = _VERDICTS.get(last.verdict, "not sure to be within or outside of its bounds")
        found.append(f"Version {version}: at last {last.low:.3g} to {high}, {said}.")
    return " ".join(found)
