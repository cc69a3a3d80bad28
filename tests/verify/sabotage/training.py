"""What can be wrong with the set that a model was trained on."""

from __future__ import annotations

import dataclasses
import json

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import mutant
from verify.run_data import RunData


def _relabelled(run: RunData, **changes: object) -> RunData:
    """The run with another first label than the model was trained on."""
    first, *others = run.labels
    changed = json.loads(first.value or b"") | changes
    return dataclasses.replace(run, labels=[dataclasses.replace(first, value=json.dumps(changed).encode()), *others])


@mutant("training_mismatches")
def a_label_leaked_that_was_known_later(_: Project, run: RunData) -> RunData:
    return _relabelled(run, known_at=2**60)


@mutant("training_mismatches")
def a_model_trained_on_another_label(_: Project, run: RunData) -> RunData:
    return _relabelled(run, fraud=not json.loads(run.labels[0].value or b"")["fraud"])


@mutant("training_mismatches", "backfill_mismatches")
def a_model_trained_on_another_vector(_: Project, run: RunData) -> RunData:
    (backfill,) = run.backfills
    rows = backfill.rows
    place = rows.column_names.index("event.amount")
    values = rows.column(place).to_pylist()
    values[0] += 1.0
    changed = rows.set_column(place, rows.schema.field(place), [values])
    return dataclasses.replace(run, backfills=[dataclasses.replace(backfill, rows=changed)])
