"""The section of the report page on incidents: what each was, and the way from the first alert to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from matplotlib.axes import Axes

from examples.demo import scales
from examples.demo.figures import Figure, LegendEntry
from examples.demo.formats import clock
from examples.demo.loop_record import Loop, ShownIncident, Stretch
from examples.demo.markup import Child, Element, el
from examples.demo.plots import dot, line, vertical_line, whisker
from verify.report import PipelineReport

_COLOURS = ("c3", "c1", "c2", "c4", "c5", "c6")
_MARGIN_S = 2.0
# Moments closer than this share of the plot's width are marked by one line.
_CLOSE = 0.08
_STAGES = {"before": "before the drift", "in": "in the drift", "after": "of the version trained anew"}


def loop_section(
    loop: Loop,
    report: PipelineReport,
    figure: Callable[[Figure], Element],
    number: Callable[[str, str, str], Element],
) -> list[Child]:
    """The elements of the section.

    Args:
        loop: What happened.
        report: What the verifier found.
        figure: Draws a figure.
        number: A number with its label and a note.
    """
    numbers = [
        number(f"AUC {_STAGES[stage]}", f"{area.auc:.3f}", f"{area.low:.3f} to {area.high:.3f}, by final labels")
        for stage, area in (report.quality or {}).items()
    ]
    if report.loop_seconds is not None:
        numbers.append(
            number(
                "from the first alert to recovery",
                f"{report.loop_seconds:.0f} s",
                f"version {report.retrained_version}",
            )
        )
    told_of = next(one for one in loop.incidents if one.id == loop.told_of)
    parts: list[Child] = [
        el("h3", {"class": "part"}, "Incidents"),
        el("p", {}, _lead(told_of)),
        el("div", {"class": "scroll"}, _incidents(loop)),
    ]
    if numbers:
        parts.append(el("dl", {"class": "numbers"}, *numbers))
    if loop.stretches and told_of.proposal is not None:
        parts.append(el("div", {"class": "figures"}, figure(quality(loop))))
    parts += [
        el("h3", {"class": "part"}, "From the first alert to the end"),
        el("p", {}, "What ", el("code", {}, f"penstock audit PIPELINE {loop.told_of}"), " tells."),
        el("div", {"class": "scroll"}, _story(loop)),
    ]
    return parts


def marks(loop: Loop) -> Iterator[tuple[float, str]]:
    """The moments that the plot numbers, in their order, and what each is."""
    found = [] if loop.drift_s is None else [(loop.drift_s, "the first drifted event was scored")]
    if loop.alert_s is not None:
        found.append((loop.alert_s, "the first alert"))
    proposed = min((told.at_s for told in loop.story if told.what == "proposed"), default=math.inf)
    causes = [told.at_s for told in loop.story if told.what == "cause" and told.at_s <= proposed]
    found += [(causes[-1], "the cause was known")] if causes else []
    versions = [told.at_s for told in loop.story if told.what == "version"]
    found += [(versions[-1], "a version was trained")] if versions else []
    tried = [told.at_s for told in loop.story if told.what == "rollout" and told.text.partition(",")[0] == "running"]
    ended = [told.at_s for told in loop.story if told.what == "rollout" and told.text.partition(",")[0] == "ended"]
    found += [(tried[0], "it began in shadow")] if tried else []
    found += [(ended[-1], "its rollout ended")] if ended else []
    yield from sorted(found)


def quality(loop: Loop) -> Figure:
    """The area under the curve over time, by version."""
    versions = sorted({one.version for one in loop.stretches})
    colours = {version: _COLOURS[place % len(_COLOURS)] for place, version in enumerate(versions)}
    moments = list(marks(loop))
    times = [one.to_s for one in loop.stretches] + [at for at, _ in moments]
    begin = max(0.0, min([one.from_s for one in loop.stretches] + [at for at, _ in moments]) - _MARGIN_S)

    def paint(ax: Axes) -> None:
        scales.linear(ax.yaxis, "area under the ROC curve", 1)
        scales.seconds(ax.xaxis, "time since the pipeline's start", max(times) + _MARGIN_S, begin)
        for at, numbers in _apart(moments, max(times) + _MARGIN_S - begin):
            vertical_line(ax, at, numbers, side="right")
        for version, colour in colours.items():
            own = sorted((one for one in loop.stretches if one.version == version), key=_middle)
            line(ax, [(_middle(one), one.area.auc) for one in own], colour)
            for one in own:
                whisker(ax, _middle(one), (one.area.low, one.area.high), colour)
                dot(ax, _middle(one), one.area.auc, colour, _tip(one))

    named = "; ".join(f"{number}: {text}" for number, (_, text) in enumerate(moments, 1))
    return Figure(
        "Quality over time",
        "The area under the ROC curve of what was served, by labels that became final later, for some two thousand "
        f"predictions a point, with 95 % intervals. {named}.",
        paint,
        tuple(LegendEntry(f"version {version}", colour, "o") for version, colour in colours.items()),
        wide=True,
    )


def _apart(moments: Sequence[tuple[float, str]], span: float) -> Iterator[tuple[float, str]]:
    """The number of each moment; those too close to tell apart share a line, as ``2-3``."""
    groups: list[list[int]] = []
    for number, (at, _) in enumerate(moments):
        if groups and at - moments[groups[-1][0]][0] < _CLOSE * span:
            groups[-1].append(number)
        else:
            groups.append([number])
    for group in groups:
        numbers = str(group[0] + 1) if len(group) == 1 else f"{group[0] + 1}-{group[-1] + 1}"
        yield moments[group[0]][0], numbers


def _middle(one: Stretch) -> float:
    return (one.from_s + one.to_s) / 2


def _tip(one: Stretch) -> str:
    area = one.area
    return (
        f"version {one.version}, {clock(one.from_s)} to {clock(one.to_s)} after the start\n"
        f"area {area.auc:.3f}, {area.low:.3f} to {area.high:.3f}\n"
        f"{area.events:,} labelled events, {area.positives:,} of them positive"
    )


def _lead(told_of: ShownIncident) -> str:
    column = "" if told_of.column is None else f" of the column {told_of.column}"
    if told_of.proposal is None:
        return (
            f"Alerts that belong together are an incident. The demo has broken a column in the live traffic. The cause "
            f"that was found is {told_of.cause}{column}: a model must not learn that, so nothing was trained."
        )
    return (
        f"Alerts that belong together are an incident. The cause of {told_of.id} is {told_of.cause}{column}, for which "
        f"a training was proposed. The version went through gates, shadow and canary, without anybody's help."
    )


def _incidents(loop: Loop) -> Element:
    head = el("tr", {}, *(el("th", {"scope": "col"}, one) for one in ("incident", "alerts", "cause", "why", "end")))
    rows = []
    for one in loop.incidents:
        column = "" if one.column is None else f" of {one.column}"
        first = "" if one.first is None else f"; first at {one.first}"
        end = one.ended or ("open" if one.is_open else "closed")
        cells = (one.id, f"{one.alerts:,}", f"{one.cause}{column}", "; ".join(one.why) + first, end)
        rows.append(el("tr", {}, *(el("td", {}, cell) for cell in cells)))
    return el("table", {"class": "incidents"}, el("thead", {}, head), el("tbody", {}, *rows))


def _story(loop: Loop) -> Element:
    head = el("tr", {}, *(el("th", {"scope": "col"}, one) for one in ("at", "what", "")))
    rows = [
        el("tr", {}, el("td", {}, clock(one.at_s)), el("td", {}, one.what), el("td", {}, one.text))
        for one in loop.story
    ]
    return el("table", {"class": "story"}, el("thead", {}, head), el("tbody", {}, *rows))
