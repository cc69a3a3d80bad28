"""Which decisions a policy would have flipped, as JSON, and as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import click
from rich.table import Table

from backfill.scores.flips import Decided, FlipReport, Tally
from penstock.commands.console import console_on, printable
from penstock.counts import counted
from scoring.gates.gates import Limits
from scoring.gates.statistics import Interval


def as_json(report: FlipReport, decided: Decided, limits: Limits, *, has_amount: bool) -> dict[str, Any]:
    """The report as values of JSON; a number that is not known is null."""

    def tally(of: Tally) -> dict[str, Any]:
        found: dict[str, Any] = {
            "compared": of.compared,
            "flipped": of.flipped,
            "share": _interval(of.share(limits.alpha)),
            "to_positive": of.to_positive,
            "to_negative": of.to_negative,
            "labelled": of.labelled,
            "labelled_to_positive": of.labelled_to_positive,
            "labelled_to_negative": of.labelled_to_negative,
            "caught": of.caught,
            "blocked": of.blocked,
            "let_through": of.let_through,
            "freed": of.freed,
            "cost": of.cost,
            "cost_per_event": _interval(of.cost_per_event(limits.alpha)),
        }
        return found | ({"amounts": of.amounts} if has_amount else {})

    return {
        "positive": decided.positive,
        "negative": decided.negative,
        "alpha": limits.alpha,
        "false_positive_cost": limits.false_positive_cost,
        "false_negative_cost": limits.false_negative_cost,
        "events": report.events,
        "without_score": report.without_score,
        "not_served": report.not_served,
        "other_decisions": report.other_decisions,
        "forced": report.forced,
        "forced_changed": report.forced_changed,
        "defaulted": report.defaulted,
        "all": tally(report.all),
        "by": {name: {value: tally(one) for value, one in of.items()} for name, of in report.by.items()},
        "too_many_values": report.too_many,
    }


def print_flips(report: FlipReport, decided: Decided, limits: Limits, *, has_amount: bool) -> None:
    """Print the report as tables."""
    percent = 100 * (1 - limits.alpha)
    click.echo(f"{counted(report.all.flipped, 'decision')} of {counted(report.all.compared, 'event')} would be others")
    flipped = Table(box=None, pad_edge=False)
    flipped.add_column("")
    names = ("compared", "flipped", f"share ({percent:g} %)", f"to {decided.positive}", f"to {decided.negative}")
    for name in (*names, "labelled"):
        flipped.add_column(printable(name), justify="right")
    for name, tally in _lines(report):
        labelled = f"{tally.labelled_to_positive + tally.labelled_to_negative:,}"
        share = _share(tally.share(limits.alpha))
        counts = [
            f"{tally.compared:,}",
            f"{tally.flipped:,}",
            share,
            f"{tally.to_positive:,}",
            f"{tally.to_negative:,}",
        ]
        flipped.add_row(name, *counts, labelled)
    console = console_on(highlight=False)
    console.print(flipped)
    if report.all.labelled_to_positive + report.all.labelled_to_negative:
        console.print()
        console.print(_costs(report, decided, limits, has_amount=has_amount))
    for line in _notes(report, decided):
        click.echo(line)


def _costs(report: FlipReport, decided: Decided, limits: Limits, *, has_amount: bool) -> Table:
    """What the flips with a label would have done."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    positive, negative = printable(decided.positive), printable(decided.negative)
    kinds = {
        "caught": f"to {positive}, rightly",
        "blocked": f"to {positive}, wrongly",
        "freed": f"to {negative}, rightly",
        "let_through": f"to {negative}, wrongly",
    }
    for heading in (*kinds.values(), "cost", f"cost per event ({100 * (1 - limits.alpha):g} %)"):
        table.add_column(heading, justify="right")
    for name, tally in _lines(report):
        counts = [
            f"{getattr(tally, kind):,}" + (f" ({tally.amounts[kind]:,.2f})" if has_amount else "") for kind in kinds
        ]
        each = tally.cost_per_event(limits.alpha)
        per_event = f"{each.estimate:+.4g}"
        if not math.isnan(each.low):
            per_event += f" ({each.low:+.4g} to {each.high:+.4g})"
        table.add_row(name, *counts, f"{tally.cost:+,.2f}", "-" if math.isnan(each.estimate) else per_event)
    return table


def _lines(report: FlipReport) -> Iterator[tuple[str, Tally]]:
    yield "all events", report.all
    for name, tallies in report.by.items():
        for value, tally in sorted(tallies.items()):
            yield printable(f"{name} {value}" if name == "arm" else f"{name}={value}"), tally


def _notes(report: FlipReport, decided: Decided) -> Iterator[str]:
    """What the tables do not count, and how far they can be believed."""
    tally = report.all
    if report.forced:
        yield (
            f"{counted(report.forced, 'event')} not compared, as exploration forces the decision: of these, "
            f"{report.forced_changed:,} would be decided otherwise"
        )
    for number, why in (
        (report.without_score, "the model gives no score"),
        (report.not_served, "no prediction is known"),
        (report.other_decisions, "what was served is no decision of the pipeline now"),
    ):
        if number:
            yield f"{counted(number, 'event')} not compared, as {why}"
    if report.defaulted:
        yield f"{counted(report.defaulted, 'event')} with the defaults of inputs from other pipelines"
    unknown = tally.to_negative - tally.labelled_to_negative
    if unknown:
        yield (
            f"{unknown:,} of {counted(tally.to_negative, 'event')} that would become {printable(decided.negative)} "
            "have no label: what they would cost is not known, and the served decision may have kept labels from coming"
        )
    for name, number in report.too_many.items():
        yield f"{printable(name)} has {number:,} values or more, which are too many groups"


def _share(interval: Interval) -> str:
    if math.isnan(interval.estimate):
        return "-"
    estimate, low, high = (f"{100 * each:.3g}" for each in interval)
    return f"{estimate} % ({low} to {high})"


def _interval(interval: Interval) -> list[float | None]:
    return [None if math.isnan(each) else each for each in interval]
