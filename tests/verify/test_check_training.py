"""A training set that is built a second time has the hash that training recorded, and no other set has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from penstock.kafka.reading import Record
from scoring.label_maturity import ANY_AGE, Maturity
from scoring.training_set import FeatureRow, LabelRow, join, view_versions
from tests.plans import make_plan, view_of
from verify.check_training import TrainingFindings, check_training
from verify.labels import LabelHistory
from verify.run_data import BackfillData
from verify.training_sets import oldest

COUNT = {"name": "n", "operation": "count", "column": None, "column_type": None, "where": None}
PLAN = make_plan(fields=[], views=[view_of(COUNT | {"window_ms": 1_000, "hop_ms": 10, "type": "long"})])
INPUTS = ("event.x", "v.n")
UNTIL_MS = 25
# Event id, time and x; one id twice, one event after the limit, one without a label.
EVENTS = [("a", 10, 1.5), ("b", 20, None), ("b", 21, 9.0), ("c", 30, 2.0), ("d", 15, 3.0)]
LABELS = [("a", 12, True), ("a", 24, False), ("b", 22, True), ("c", 23, True)]


def labels() -> list[Record]:
    return [Record(0, n, n, None, json.dumps(label).encode(), ()) for n, label in enumerate(LABELS)]


OF_TASK: dict[str, Any] = {
    "binary": int,
    "regression": lambda value: value + 0.5,
    "multiclass": lambda value: ["no", "yes"][value],
}


def reader_of(task: str) -> Callable[[Sequence[Sequence[Record]]], LabelHistory]:
    def read(sources: Sequence[Sequence[Record]]) -> LabelHistory:
        found: dict[str, list[Any]] = {}
        for record in sources[0]:
            event_id, at, value = json.loads(record.value or b"")
            found.setdefault(event_id, []).append(((at, record.offset), OF_TASK[task](value)))
        return LabelHistory(found)

    return read


known = reader_of("binary")


def trained(folder: Path, task: Any = "binary", maturity: Maturity = ANY_AGE, **changes: Any) -> None:
    """Write the manifest of a model that was trained on these events and labels, with changes."""
    positive = "yes" if task == "multiclass" else None
    rows = [
        FeatureRow(event_id, time, time, 0, (0, n), np.array([np.nan if x is None else x, n + 1], np.float32))
        for n, (event_id, time, x) in enumerate(EVENTS)
    ]
    found = join(
        rows,
        [LabelRow(event_id, at, (n,), OF_TASK[task](value)) for n, (event_id, at, value) in enumerate(LABELS)],
        inputs=INPUTS,
        views=view_versions(PLAN, INPUTS),
        until_ms=UNTIL_MS,
        task=task,
        positive=positive,
        maturity=maturity,
    )
    read = {"features_read": len(EVENTS), "labels_read": len(LABELS), "labels_refused": 0}
    manifest = {
        "version": 1,
        "inputs": INPUTS,
        "views": view_versions(PLAN, INPUTS),
        "until_ms": found.until_ms,
        "read": read,
        "data_hash": found.data_hash,
        "task": task,
        "positive": positive,
        "horizon_ms": maturity.horizon_ms,
        "absent": maturity.absent,
    }
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "manifest.json").write_text(json.dumps(manifest | changes))


def backfill(x: float = 1.5) -> BackfillData:
    rows = pa.table(
        {
            "event_id": [event_id for event_id, _, _ in EVENTS],
            "event_time": pa.array([time for _, time, _ in EVENTS], pa.timestamp("ms")),
            "source.timestamp": pa.array([0] * len(EVENTS), pa.timestamp("ms")),
            "source.partition": [0] * len(EVENTS),
            "source.offset": list(range(len(EVENTS))),
            "event.x": [x, *(value for _, _, value in EVENTS[1:])],
            "v.as_of": pa.array([time for _, time, _ in EVENTS], pa.timestamp("ms")),
            "v.n": list(range(1, len(EVENTS) + 1)),
        }
    )
    return BackfillData(0, 100, ("v",), (), len(EVENTS), rows)


def check(*folders: Path, records: Sequence[Record], x: float = 1.5, task: str = "binary") -> TrainingFindings:
    return check_training(PLAN, folders, [backfill(x)], [records], reader_of(task))


def test_the_set_is_looked_for_in_each_backfill(tmp_path: Path) -> None:
    trained(tmp_path)
    backfills = [backfill(x) for x in (9.0, 1.5)]
    findings = check_training(PLAN, [tmp_path], backfills, [labels()], known)
    assert (findings.versions, findings.checked, findings.mismatches) == (1, 1, 0)
    assert check_training(PLAN, [tmp_path], backfills[:1], [labels()], known).mismatches == 1
    assert check_training(PLAN, [tmp_path], [], [labels()], known).checked == 0


def test_the_set_that_training_recorded_is_found_again(tmp_path: Path) -> None:
    trained(tmp_path)
    findings = check(tmp_path, records=labels())
    assert (findings.checked, findings.mismatches) == (1, 0)


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_a_set_of_values_or_classes_is_found_again_and_another_label_is_found(tmp_path: Path, task: str) -> None:
    trained(tmp_path, task)
    findings = check(tmp_path, records=labels(), task=task)
    assert (findings.checked, findings.mismatches) == (1, 0)
    changed = [*labels()[:2], Record(0, 2, 2, None, json.dumps(("b", 22, False)).encode(), ()), labels()[3]]
    assert check(tmp_path, records=changed, task=task).mismatches == 1


# Final after 5 ms: "a" by the label that came first, "d" without one; "b" and "c" are too young at 24, the last label.
FINAL = Maturity(5, "negative")


def test_a_set_of_mature_events_is_found_again_with_those_without_a_label(tmp_path: Path) -> None:
    trained(tmp_path, maturity=FINAL)
    assert check(tmp_path, records=labels()) == TrainingFindings(versions=1, checked=1)


@pytest.mark.parametrize("changes", [{"horizon_ms": 4}, {"horizon_ms": 14}, {"absent": None}, {"until_ms": 19}])
def test_a_set_by_another_rule_is_found(tmp_path: Path, changes: dict[str, Any]) -> None:
    trained(tmp_path, maturity=FINAL, **changes)
    assert check(tmp_path, records=labels()).mismatches == 1


def test_another_vector_or_a_label_that_was_known_later_is_found(tmp_path: Path) -> None:
    trained(tmp_path)
    assert check(tmp_path, records=labels(), x=1.25).mismatches == 1
    later = [*labels()[:2], Record(0, 2, 2, None, json.dumps(("b", UNTIL_MS + 1, True)).encode(), ()), labels()[3]]
    assert check(tmp_path, records=later).mismatches == 1


def test_labels_that_came_after_the_training_are_left_out(tmp_path: Path) -> None:
    trained(tmp_path)
    corrected = [*labels(), Record(0, 4, 4, None, json.dumps(("b", 23, False)).encode(), ())]
    findings = check(tmp_path, records=corrected)
    assert (findings.checked, findings.mismatches) == (1, 0)


def test_a_model_of_another_backfill_is_left_out(tmp_path: Path) -> None:
    assert check(tmp_path, records=labels()) == TrainingFindings()


def test_the_sets_of_both_models_of_a_cascade_are_found_again_and_a_wrong_one_of_the_strong_is_named(
    tmp_path: Path,
) -> None:
    fast, strong, wrong = tmp_path / "small", tmp_path / "big", tmp_path / "wrong" / "big"
    trained(fast)
    trained(strong)
    trained(wrong, data_hash="0" * 64)
    right = check(fast, strong, records=labels())
    assert (right.versions, right.checked, right.mismatches) == (2, 2, 0)
    found = check(fast, wrong, records=labels())
    assert (found.versions, found.checked, found.mismatches) == (2, 2, 1)
    assert found.examples[0].startswith("big version 1: its training set is not that of the backfill's events")


def test_what_was_read_first_of_several_sources_is_what_kafka_received_first() -> None:
    first, second = ([Record(0, n, at, None, b"", ()) for n, at in enumerate(of)] for of in ((1, 5, 9), (2, 7)))
    assert oldest([first, second], 3) == [first[:2], second[:1]]
    assert oldest([first, second], None) == [first, second]
