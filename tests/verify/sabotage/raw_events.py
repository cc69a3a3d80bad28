"""What can be wrong with the raw events behind the features, and with dead letters."""

from __future__ import annotations

import dataclasses
import json

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import first, mutant
from tests.verify.sabotage.editing import (
    event_records,
)
from verify.run_data import RunData


@mutant("feature_mismatches", "prediction_mismatches")
def a_raw_event_that_is_not_there(_: Project, run: RunData) -> RunData:
    raw = list(run.sources[0])
    del raw[40]
    return dataclasses.replace(run, sources=(raw, *run.sources[1:]))


@mutant("feature_mismatches", "feature_gaps")
def a_duplicate_that_was_counted(_: Project, run: RunData) -> RunData:
    """The raw topic without the second of two equal events, as if the job had counted one event too many."""
    raw = list(run.sources[0])
    again = first((n for n in range(1, len(raw)) if raw[n].value == raw[n - 1].value), "tap that was sent twice")
    changed = json.loads(raw[again].value or b"")
    raw[again] = dataclasses.replace(raw[again], value=json.dumps(changed | {"id": "another"}).encode())
    return dataclasses.replace(run, sources=(raw, *run.sources[1:]))


@mutant("dead_letter_mismatches")
def a_dead_letter_lost(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, dead_letters=(run.dead_letters[0][1:], *run.dead_letters[1:]))


@mutant("dead_letter_mismatches")
def a_dead_letter_with_another_reason(_: Project, run: RunData) -> RunData:
    letters = list(run.dead_letters[0])
    headers = tuple(
        (name, b"penstock.Undecodable" if name.endswith("exception.class.name") else value)
        for name, value in letters[0].headers
    )
    letters[0] = dataclasses.replace(letters[0], headers=headers)
    return dataclasses.replace(run, dead_letters=(letters, *run.dead_letters[1:]))


@mutant("dead_letter_mismatches")
def a_dead_letter_of_a_valid_event(_: Project, run: RunData) -> RunData:
    letters = list(run.dead_letters[0])
    offset = str(run.features[event_records(run)[0]].value["source"]["offset"]).encode()
    headers = tuple((name, offset if name.endswith("errors.offset") else value) for name, value in letters[0].headers)
    letters.append(dataclasses.replace(letters[0], headers=headers))
    return dataclasses.replace(run, dead_letters=(letters, *run.dead_letters[1:]))


@mutant("dead_letter_mismatches")
def a_dead_letter_that_is_not_verbatim(_: Project, run: RunData) -> RunData:
    first, *others = run.dead_letters[0]
    letters = [dataclasses.replace(first, value=b"another"), *others]
    return dataclasses.replace(run, dead_letters=(letters, *run.dead_letters[1:]))


@mutant("dead_letter_mismatches")
def a_dead_letter_of_another_pipeline(_: Project, run: RunData) -> RunData:
    first, *others = run.dead_letters[0]
    headers = tuple((name, b"another" if name.endswith("connector.name") else value) for name, value in first.headers)
    return dataclasses.replace(
        run, dead_letters=([dataclasses.replace(first, headers=headers), *others], *run.dead_letters[1:])
    )


@mutant("dead_letter_mismatches")
def a_foreign_record_among_the_dead_letters(_: Project, run: RunData) -> RunData:
    foreign = dataclasses.replace(run.dead_letters[0][0], headers=())
    return dataclasses.replace(run, dead_letters=([*run.dead_letters[0], foreign], *run.dead_letters[1:]))
