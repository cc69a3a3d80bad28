"""What can be wrong with the set that a model was trained on."""

from __future__ import annotations

import dataclasses
import json

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import first, mutant
from verify.run_data import RunData


def _relabelled(run: RunData, **changes: object) -> RunData:
    """The run with another label than the model was trained on: of an event of class 1 that was labelled at once."""
    times = {event["id"]: event["time"] for record in run.sources[0] if (event := json.loads(record.value or b"{}"))}
    labels = [json.loads(record.value or b"") for record in run.labels[0]]
    place = first(
        (n for n, one in enumerate(labels) if one["fraud"] and one["known_at"] == times.get(one["id"], 0) + 1),
        "label of class 1 that came at once",
    )
    changed = list(run.labels[0])
    changed[place] = dataclasses.replace(changed[place], value=json.dumps(labels[place] | changes).encode())
    return dataclasses.replace(run, labels=[changed, *run.labels[1:]])


@mutant("training_mismatches")
def a_label_leaked_that_was_known_later(_: Project, run: RunData) -> RunData:
    return _relabelled(run, known_at=2**60)


@mutant("training_mismatches")
def a_model_trained_on_another_label(_: Project, run: RunData) -> RunData:
    return _relabelled(run, fraud=False)


@mutant("training_mismatches", "backfill_mismatches")
def a_model_trained_on_another_vector(_: Project, run: RunData) -> RunData:
    (backfill,) = run.backfills
    rows = backfill.rows
    place = rows.column_names.index("event.amount")
    values = rows.column(place).to_pylist()
    values[0] += 1.0
    changed = rows.set_column(place, rows.schema.field(place), [values])
    return dataclasses.replace(run, backfills=[dataclasses.replace(backfill, rows=changed)])
