"""The list of touched predictions as a table, CSV or JSON; only a table's rows are held in memory."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import click
from rich.table import Table

from penstock.commands.console import console_on, printable
from penstock.commands.rollout.wording import print_line
from penstock.counts import counted
from penstock.time import iso
from scoring.rollout.touched import Choice, Summary
from scoring.touched_predictions import Place, TouchedPrediction

_POLICIES = 5


class Row(NamedTuple):
    """A touched prediction, as it is listed.

    Args:
        event_id: The event's id.
        entity: The entity of the pipeline's first view.
        position: PARTITION@OFFSET of the feature record.
        score: The score.
        decision: The decision.
        explored: Whether this is the permissive one of an exploration slice.
        model_version: The version that scored: the champion's, if the arm had no number.
        arm: The arm.
        policy: The version of the rollout policy.
        scored_at: When it was scored.
        prediction: PARTITION@OFFSET of the prediction.
    """

    event_id: str
    entity: str | None
    position: str
    score: float
    decision: str
    explored: bool
    model_version: str
    arm: str
    policy: str
    scored_at: str
    prediction: str

    @classmethod
    def of(cls, one: TouchedPrediction) -> Row:
        """The row of a prediction."""
        says, rollout = one.says, one.says["rollout"]
        return cls(
            says["event_id"],
            says["entity"],
            f"{says['features_partition']}@{says['features_offset']}",
            says["score"],
            says["decision"],
            rollout["explored"],
            says["model_version"],
            rollout["arm"],
            rollout["policy"],
            iso(says["scored_at"]),
            f"{one.partition}@{one.offset}",
        )


def write_csv(found: Iterable[TouchedPrediction], limit: int | None) -> None:
    """Write the list to standard output, and the counts to standard error."""
    summary, out = Summary(), csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(Row._fields)
    out.writerows(_listed(found, summary, limit))
    click.echo(_entities(summary), err=True)


def write_json(found: Iterable[TouchedPrediction], limit: int | None, choice: Choice, places: Sequence[Place]) -> None:
    """Write one JSON object: what was chosen, the list, and the counts behind it."""
    summary, separator = Summary(), ""
    policies = {policy: sorted(names) for policy, names in choice.arms.items()}
    chosen = {"chosen": choice.title, "versions": sorted(choice.versions), "policies": policies}
    click.echo(f'{json.dumps(chosen)[:-1]}, "predictions": [', nl=False)
    for row in _listed(found, summary, limit):
        click.echo(f"{separator}\n{json.dumps(row._asdict())}", nl=False)
        separator = ","
    counts = {
        "touched": summary.total,
        "entities": summary.entities,
        "entities_are_all": summary.entities_are_all,
        "without_entity": summary.without_entity,
        "explored": summary.explored,
        "decisions": _most_first(summary.decisions),
        "model_versions": _most_first(summary.versions),
        "partitions": {str(partition): number for partition, number in sorted(summary.predictions.items())},
        "incomplete_partitions": cut_partitions(places),
    }
    click.echo(f"\n], {json.dumps(counts)[1:]}")


def print_table(found: Iterable[TouchedPrediction], limit: int, choice: Choice) -> None:
    """Print the counts, and a table of the first predictions."""
    summary = Summary()
    table = Table("event", "entity", "position", "score", "decision", "version", "scored", box=None, pad_edge=False)
    for row in _listed(found, summary, limit):
        decision = f"{row.decision} (explored)" if row.explored else row.decision
        entity = "" if row.entity is None else row.entity
        shown = row.event_id, entity, row.position, f"{row.score:.6g}", decision, row.model_version, row.scored_at
        table.add_row(*map(printable, shown))
    print_line("chosen", printable(choice.title))
    if not choice.arms:
        print_line("touched", "nothing: no entity was given to it")
        return
    arms = [f"{', '.join(sorted(names))} of {policy}" for policy, names in choice.by_version.items()]
    print_line("arms", "; ".join(arms[:_POLICIES]) + (" ..." if len(arms) > _POLICIES else ""))
    print_line("touched", _entities(summary))
    for partition, number in sorted(summary.predictions.items()):
        print_line("", f"partition {partition}: {number:,}")
    for label, counts in (("decisions", summary.decisions), ("by version", summary.versions)):
        if counts:
            print_line(label, ", ".join(f"{printable(name)} {number:,}" for name, number in counts.most_common()))
    if summary.explored:
        print_line("explored", f"{summary.explored:,}, whose decision is the permissive one")
    if table.row_count:
        console_on(highlight=False).print(table)
    if summary.total > table.row_count:
        click.echo(f"{summary.total - table.row_count:,} more: --csv lists all")


def cut_partitions(places: Sequence[Place]) -> list[int]:
    """The partitions of which Kafka may have deleted predictions that were touched."""
    return sorted({place.window.partition for place in places if place.is_cut})


def _listed(found: Iterable[TouchedPrediction], summary: Summary, limit: int | None) -> Iterator[Row]:
    """The rows of the first predictions; all are counted."""
    for one in found:
        summary.add(one.says)
        if limit is None or summary.total <= limit:
            yield Row.of(one)


def _entities(summary: Summary) -> str:
    number = counted(summary.entities, "entity", "entities")
    of = number if summary.entities_are_all else f"more than {number}"
    without = f", {summary.without_entity:,} without an entity" if summary.without_entity else ""
    return f"{counted(summary.total, 'prediction')} of {of}{without}"


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common())
