"""What can be wrong with replayed dead letters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from penstock.kafka.reading import Record
from schemas.dead_letters import REPLAY_COUNT, REPLAY_OF
from streams.plan.project import Project
from tests.verify.sabotage.catalogue import first, mutant
from verify.published import Published
from verify.replays import Replayed
from verify.run_data import RunData


def _edit_predictions(run: RunData, change: Callable[[list[int], list[Published]], None]) -> RunData:
    """Change the list of predictions in place, given the places of those that answer letters."""
    predictions = list(run.predictions)
    change([at for at, one in enumerate(predictions) if one.replayed is not None], predictions)
    return dataclasses.replace(run, predictions=predictions)


def _edit_put_back(run: RunData, change: Callable[[Record], Record]) -> RunData:
    """Change the first event that was put back."""
    raw = list(run.sources[0])
    put_back = (at for at, record in enumerate(raw) if REPLAY_OF in dict(record.headers))
    at = first(put_back, "event that was put back")
    raw[at] = change(raw[at])
    return dataclasses.replace(run, sources=(raw, *run.sources[1:]))


def _with_header(record: Record, name: str, value: bytes) -> Record:
    return dataclasses.replace(record, headers=tuple((n, value if n == name else v) for n, v in record.headers))


@mutant("prediction_mismatches")
def an_event_with_a_letter_predicted_all_the_same(_: Project, run: RunData) -> RunData:
    def change(replayed: list[int], predictions: list[Published]) -> None:
        predictions[replayed[0]] = dataclasses.replace(predictions[replayed[0]], replayed=None)

    return _edit_predictions(run, change)


@mutant("dead_letter_mismatches")
def a_prediction_that_names_the_letter_of_another_event(_: Project, run: RunData) -> RunData:
    def change(replayed: list[int], predictions: list[Published]) -> None:
        one, other = replayed[:2]
        of_one, of_other = predictions[one].replayed, predictions[other].replayed
        predictions[one] = dataclasses.replace(predictions[one], replayed=of_other)
        predictions[other] = dataclasses.replace(predictions[other], replayed=of_one)

    return _edit_predictions(run, change)


@mutant("dead_letter_mismatches")
def a_letter_replayed_by_two_predictions(_: Project, run: RunData) -> RunData:
    def change(replayed: list[int], predictions: list[Published]) -> None:
        predictions.append(predictions[replayed[0]])

    return _edit_predictions(run, change)


@mutant("dead_letter_mismatches")
def a_replay_of_a_letter_that_does_not_exist(_: Project, run: RunData) -> RunData:
    def change(replayed: list[int], predictions: list[Published]) -> None:
        found = predictions[replayed[0]].replayed
        assert found is not None
        nothing = Replayed(found.of.rpartition("@")[0] + "@999999", 1)
        predictions[replayed[0]] = dataclasses.replace(predictions[replayed[0]], replayed=nothing)

    return _edit_predictions(run, change)


@mutant("dead_letter_mismatches")
def a_count_of_replays_that_is_forged(_: Project, run: RunData) -> RunData:
    return _edit_put_back(run, lambda record: _with_header(record, REPLAY_COUNT, b"3"))


@mutant("dead_letter_mismatches")
def an_event_put_back_that_is_not_the_one_refused(_: Project, run: RunData) -> RunData:
    return _edit_put_back(run, lambda record: dataclasses.replace(record, value=(record.value or b"") + b" "))


@mutant("dead_letter_mismatches")
def an_event_put_back_twice(_: Project, run: RunData) -> RunData:
    raw = list(run.sources[0])
    back = first((record for record in raw if REPLAY_OF in dict(record.headers)), "event that was put back")
    last = max(record.offset for record in raw if record.partition == back.partition)
    raw.append(dataclasses.replace(back, offset=last + 1))
    return dataclasses.replace(run, sources=(raw, *run.sources[1:]))


@mutant("prediction_mismatches")
def a_false_letter_that_was_replayed(_: Project, run: RunData) -> RunData:
    replayed = {one.replayed.of for one in run.predictions if one.replayed is not None}
    letters = list(run.unscored)
    of_replays = (
        at
        for at, record in enumerate(letters)
        if any(place.endswith(f".dlq[{record.partition}]@{record.offset}") for place in replayed)
    )
    at = first(of_replays, "letter of the scorer that was replayed")
    letters[at] = _with_header(letters[at], "__connect.errors.exception.class.name", b"penstock.ModelFailed")
    return dataclasses.replace(run, unscored=letters)
