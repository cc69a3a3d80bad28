"""What can be wrong with histograms of quality.

The recorded run of these mutants is small and made of records alone (:mod:`tests.verify.test_check_quality`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Encoder
from schemas.history import record_decoder
from schemas.records import DRIFT_SCHEMA
from streams.plan.project import Project
from tests.verify.sabotage.catalogue import Mutant, first, mutant
from verify.run_data import RunData

QUALITY_MUTANTS: list[Mutant] = []

Histogram = dict[str, list[list[int]]]
Change = Callable[[list[str], Histogram], bool]
"""Changes a key and a histogram; whether it could."""


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_label_that_counts_twice(_: Project, run: RunData) -> RunData:
    return _edit(run, lambda _key, of: _times(of, "positive", 2))


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_retraction_that_was_lost(_: Project, run: RunData) -> RunData:
    """What a withdrawn label had counted is still there, beside what it counts now."""

    def keeps(_key: list[str], of: Histogram) -> bool:
        (bin_, _, units, decided) = of["negative"][0]
        of.setdefault("positive", []).append([bin_, 1, units, decided])
        return True

    return _edit(run, keeps, outcome="negative")


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_label_that_counted_before_it_was_final(_: Project, run: RunData) -> RunData:
    def early(_key: list[str], of: Histogram) -> bool:
        if sum(n for _, n, *_ in of["scored"]) <= sum(n for name in of if name != "scored" for _, n, *_ in of[name]):
            return False  # everything in it has matured
        (bin_, _, units, decided) = of["scored"][0]
        of.setdefault("positive", []).append([bin_, 1, units, decided])
        return True

    return _edit(run, early)


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def events_that_matured_before_their_time(_: Project, run: RunData) -> RunData:
    return _edit_note(run, lambda note: note["reached"].update(mature_ms=note["reached"]["mature_ms"] + 1))


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def predictions_of_another_arm(_: Project, run: RunData) -> RunData:
    def moves(key: list[str], _of: Histogram) -> bool:
        key[2] = "next"
        return True

    return _edit(run, moves)


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_hidden_outcome_that_counts_as_negative(_: Project, run: RunData) -> RunData:
    def knows(key: list[str], of: Histogram) -> bool:
        of["negative"] = of.pop("unknown")
        return key[4] == "hidden"

    return _edit(run, knows, outcome="unknown")


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def an_explored_event_that_weighs_as_any_other(_: Project, run: RunData) -> RunData:
    def weighs(key: list[str], _of: Histogram) -> bool:
        was, key[4] = key[4], "1"
        return was == "0.2"

    return _edit(run, weighs)


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def an_event_of_another_hour(_: Project, run: RunData) -> RunData:
    def later(key: list[Any], _of: Histogram) -> bool:
        key[7] += 3_600_000
        return key[5] == ""

    return _edit(run, later)


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def an_event_of_another_group(_: Project, run: RunData) -> RunData:
    def moves(key: list[str], _of: Histogram) -> bool:
        key[6] = "9"
        return key[5] != ""

    return _edit(run, moves)


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_score_in_the_next_bin(_: Project, run: RunData) -> RunData:
    def moves(_key: list[str], of: Histogram) -> bool:
        of["scored"][0][0] += 1
        return True

    return _edit(run, moves)


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_score_that_is_off_by_a_billionth(_: Project, run: RunData) -> RunData:
    def adds(_key: list[str], of: Histogram) -> bool:
        of["scored"][0][2] += 1
        return True

    return _edit(run, adds)


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_decision_that_was_none(_: Project, run: RunData) -> RunData:
    def adds(_key: list[str], of: Histogram) -> bool:
        of["scored"][0][3] += 1
        return True

    return _edit(run, adds)


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_histogram_that_is_missing(_: Project, run: RunData) -> RunData:
    key = next(record.key for record in run.quality if (record.key or b"").startswith(b"["))
    return dataclasses.replace(run, quality=[record for record in run.quality if record.key != key])


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_record_that_is_no_histogram(_: Project, run: RunData) -> RunData:
    last = run.quality[-1]
    return dataclasses.replace(run, quality=[*run.quality, dataclasses.replace(last, key=b"hello", value=b"[]")])


@mutant("not_checked", into=QUALITY_MUTANTS)
def labels_that_were_not_counted_yet(_: Project, run: RunData) -> RunData:
    return _edit_note(run, lambda note: note["reached"].update(mature_ms=note["reached"]["mature_ms"] - 1))


@mutant("not_checked", into=QUALITY_MUTANTS)
def bins_of_another_threshold(_: Project, run: RunData) -> RunData:
    return _edit_note(run, lambda note: note["edges"].remove(0.5))


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def an_alarm_on_labels_that_was_lost(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, alerts=())


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def an_alarm_on_labels_that_is_there_twice(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, alerts=[*run.alerts, *run.alerts])


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def an_alarm_on_labels_of_another_event(_: Project, run: RunData) -> RunData:
    return _edit_alert(run, lambda alert: alert | {"alert_id": alert["alert_id"].replace("-", "-9", 1)})


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def an_alarm_on_labels_that_misstates_what_scores_say(_: Project, run: RunData) -> RunData:
    return _edit_alert(run, lambda alert: alert | {"reference": alert["reference"] * 1.001})


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_detector_on_labels_that_forgot_what_it_had_seen(_: Project, run: RunData) -> RunData:
    return _edit_note(run, lambda note: note["watch"]["versions"]["1"].update(taken=0, alarms=0))


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_detector_on_labels_whose_sums_were_lost(_: Project, run: RunData) -> RunData:
    return _edit_note(run, lambda note: note["watch"]["versions"]["1"]["detector"].update(sums=[1.0] * 6))


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_version_that_no_detector_watched(_: Project, run: RunData) -> RunData:
    return _edit_note(run, lambda note: note["watch"]["versions"].clear())


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def a_correction_that_the_detector_does_not_own_up_to(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, quality=[one for one in run.quality if not (one.key or b"").startswith(b"odd:")])


@mutant("quality_mismatches", into=QUALITY_MUTANTS)
def an_outcome_that_was_never_known_as_excuse(_: Project, run: RunData) -> RunData:
    """Event 102 never had a label that says negative, nor could it have none: what it decided hides the outcome."""
    excuse = Record(0, 10_000, 1, b"odd:event-102", _dumped(["1", 3, 0.74, False]), ())
    return dataclasses.replace(run, quality=[*run.quality, excuse])


@mutant("not_checked", into=QUALITY_MUTANTS)
def more_labels_out_of_order_than_are_kept(_: Project, run: RunData) -> RunData:
    return _edit_note(run, lambda note: note["watch"].update(odd_lost=1))


@mutant("not_checked", into=QUALITY_MUTANTS)
def an_alarm_of_another_definition(_: Project, run: RunData) -> RunData:
    other = _edit_alert(run, lambda alert: alert | {"alert_id": f"{alert['alert_id']}0"})
    return dataclasses.replace(run, alerts=[*run.alerts, *other.alerts])


def _edit_alert(run: RunData, change: Callable[[dict[str, Any]], dict[str, Any]]) -> RunData:
    record = next(iter(run.alerts))
    edited = Encoder(DRIFT_SCHEMA).encode(change(record_decoder("drift_alert").decode(record.value or b"")))
    return dataclasses.replace(run, alerts=[dataclasses.replace(record, value=edited)])


def _times(of: Histogram, outcome: str, times: int) -> bool:
    for cell in of.get(outcome, ()):
        cell[1:] = [times * number for number in cell[1:]]
    return outcome in of


def _edit(run: RunData, change: Change, outcome: str = "scored") -> RunData:
    """Change the first histogram with this outcome that can be changed."""

    def changed() -> Iterator[list[Record]]:
        for place, record in enumerate(run.quality):
            if record.key == b"note" or (record.key or b"").startswith(b"odd:") or record.value is None:
                continue
            key, of = json.loads(record.key or b""), json.loads(record.value)
            if outcome in of and change(key, of):
                gone = dataclasses.replace(record, value=None)
                edited = dataclasses.replace(record, key=_dumped(key), value=_dumped(of))
                yield [*run.quality[:place], *run.quality[place + 1 :], gone, edited]

    return dataclasses.replace(run, quality=first(changed(), f"histogram with an outcome {outcome}"))


def _edit_note(run: RunData, change: Callable[[dict[str, Any]], object]) -> RunData:
    note = next(record for record in run.quality if record.key == b"note")
    content = json.loads(note.value or b"")
    change(content)
    others = [record for record in run.quality if record is not note]
    return dataclasses.replace(run, quality=[*others, dataclasses.replace(note, value=_dumped(content))])


def _dumped(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
