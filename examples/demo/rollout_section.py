"""The section of the report page on a pipeline's rollouts: how they ended, plots, and a table of the changes."""

from __future__ import annotations

from collections.abc import Callable

from examples.demo.figures import Figure
from examples.demo.formats import clock
from examples.demo.markup import Child, Element, el
from examples.demo.rollout_figures import guardrails, numbered, weights
from examples.demo.rollout_record import Rollouts, Trial
from penstock.counts import counted

_COLUMNS = ("", "at", "by", "what", "why")


def rollout_section(
    rollouts: Rollouts, figure: Callable[[Figure], Element], number: Callable[[str, str, str], Element]
) -> list[Child]:
    """The elements of the section.

    Args:
        rollouts: What happened.
        figure: Draws a figure.
        number: A number with its label and a note.
    """
    results = [number(f"version {one.version}, {one.about}", one.outcome, _note(one)) for one in rollouts.trials]
    panels = guardrails(rollouts)
    parts: list[Child] = [
        el("h3", {"class": "part"}, "Rollouts"),
        el(
            "p",
            {},
            "After the live traffic, and while traffic went on, two more versions of the model were tried: the one "
            "trained anew, and one with a mistake. The controller decided on them by itself, by tests that hold "
            "however often one looks.",
        ),
        el("dl", {"class": "numbers"}, *results),
        el("div", {"class": "figures"}, figure(weights(rollouts))),
        el("div", {"class": "scroll"}, _changes(rollouts)),
    ]
    if panels:
        parts += [
            el("h3", {"class": "part"}, "Guardrails"),
            el(
                "p",
                {},
                "What the controller knew: the interval in which each value surely was, in the colour of the version "
                "that was tried. A version passes when the interval lies within the dashed red bounds (full mark), and "
                "fails when it lies outside (red cross); else it is not sure (hollow mark). What is far outside is "
                "drawn at the edge. With each policy, what was seen begins anew.",
            ),
            el("div", {"class": "figures"}, *map(figure, panels)),
        ]
    return parts


def _note(trial: Trial) -> str:
    followed = ""
    if trial.followed_s is not None:
        followed = f"; followed by all partitions {max(0.0, trial.followed_s - trial.to_s):.1f} s later"
    return (
        f"after {trial.events:,} events and {trial.to_s - trial.from_s:.1f} s{followed}. It decided {trial.served:,} "
        f"events, of {counted(trial.entities, 'card')}"
    )


def _changes(rollouts: Rollouts) -> Element:
    head = el("tr", {}, *(el("th", {"scope": "col"}, one) for one in _COLUMNS))
    rows = [
        el(
            "tr",
            {},
            *(el("td", {}, text) for text in (str(number), clock(change.at_s), change.author, word, change.reason)),
        )
        for number, word, change in numbered(rollouts.changes)
    ]
    return el("table", {"class": "changes"}, el("thead", {}, head), el("tbody", {}, *rows))
