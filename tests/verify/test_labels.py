"""The verifier's rule for labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from penstock import EVENT_ID, EVENT_TIME, Contract, Labels, LabelSource
from penstock.kafka.reading import Record
from schemas.avro import contract_schema, parse_avro
from schemas.codec import Encoder
from scoring.label_values import LabelDecoder
from verify.labels import known_labels


class Verdict(Contract, name="verdict_for_verify", version=1):
    """Whether a tap was fraud; null withdraws the label."""

    tap: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME, Field(ge=-(2**63))]
    fraud: float | None


class Kind(Contract, name="kind_for_verify", version=1):
    """What a tap was."""

    tap: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME, Field(ge=-(2**63))]
    fraud: str | None


def label(value: Any, known_at: int, timestamp: int = 100) -> tuple[bytes, int]:
    return json.dumps({"tap": "t1", "known_at": known_at, "fraud": value}).encode(), timestamp


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([label(1, 2_000)], {"t1": 1}, id="one label"),
        pytest.param([label(1, 3_000), label(0, 2_000)], {"t1": 1}, id="the latest time counts"),
        pytest.param([label(1, 2_000, 200), label(0, 2_000, 100)], {"t1": 1}, id="of equal times, the last received"),
        pytest.param([label(1, 2_000), label(None, 3_000)], {}, id="a later null withdraws the label"),
        pytest.param([label(None, 2_000), label(0, 3_000)], {"t1": 0}, id="a label after a null counts"),
        pytest.param([label(1, 2_000), label(0.5, 3_000)], {"t1": 1}, id="neither 0 nor 1 does not count"),
        pytest.param([label(1, 2_000), (b"{", 100)], {"t1": 1}, id="a broken record does not count"),
    ],
)
def test_the_last_known_label_counts(values: list[tuple[bytes, int]], expected: dict[str, int]) -> None:
    records = [Record(0, offset, timestamp, None, value, ()) for offset, (value, timestamp) in enumerate(values)]
    labels = Labels(topic="labels.taps", contract=Verdict, value="fraud")
    assert known_labels(labels, [records], Path("nothing is committed")) == expected


@pytest.mark.parametrize(
    ("task", "values", "expected"),
    [
        ({"task": "regression"}, [label(0.5, 2_000)], {"t1": 0.5}),
        ({"task": "regression"}, [label(0.5, 2_000), label(None, 3_000)], {}),
        ({"task": "multiclass", "positive": "a"}, [label("b", 2_000), label("a", 1_000)], {"t1": "b"}),
    ],
)
def test_values_and_classes_are_read_by_the_task(
    task: dict[str, str], values: list[tuple[bytes, int]], expected: dict[str, Any]
) -> None:
    records = [Record(0, offset, timestamp, None, value, ()) for offset, (value, timestamp) in enumerate(values)]
    contract = Kind if task["task"] == "multiclass" else Verdict
    labels = Labels(topic="labels.taps", contract=contract, value="fraud", **task)
    assert known_labels(labels, [records], Path("nothing is committed")) == expected


def test_a_value_that_is_not_finite_is_no_label() -> None:
    infinite = Encoder(contract_schema(Verdict)).encode({"tap": "t1", "known_at": 2_000, "fraud": float("inf")})
    labels = Labels(topic="labels.taps", contract=Verdict, value="fraud", task="regression")
    assert known_labels(labels, [[Record(0, 0, 100, None, infinite, ())]], Path("nothing is committed")) == {}


def test_a_label_in_confluents_framing_is_read_with_the_registrys_schema() -> None:
    schema = contract_schema(Verdict)
    datum = Encoder(schema).encode({"tap": "t1", "known_at": 2_000, "fraud": 1.0})[10:]
    framed = Record(0, 0, 100, None, b"\x00\x00\x00\x00\x07" + datum, ())
    labels = Labels(topic="labels.taps", contract=Verdict, value="fraud")
    ids = {7: parse_avro(schema)}
    assert known_labels(labels, [[framed]], Path("nothing is committed"), ids.__getitem__) == {"t1": 1}


def test_a_label_of_an_older_version_in_the_pipelines_folder_is_read(tmp_path: Path) -> None:
    old = contract_schema(Verdict) | {"fields": [*contract_schema(Verdict)["fields"], {"name": "by", "type": "string"}]}
    folder = tmp_path / "avro" / Verdict.contract_name
    folder.mkdir(parents=True)
    (folder / "v0.avsc").write_text(json.dumps(old))
    value = Encoder(old).encode({"tap": "t1", "known_at": 2_000, "fraud": 1.0, "by": "someone"})
    labels = Labels(topic="labels.taps", contract=Verdict, value="fraud")
    assert known_labels(labels, [[Record(0, 0, 100, None, value, ())]], tmp_path) == {"t1": 1}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param([label(0, 2_000)], [label(1, 9_000)], {"t1": 0}, id="the first source counts, however old"),
        pytest.param([label(0, 2_000), label(None, 3_000)], [label(1, 1_000)], {"t1": 1}, id="unless it has withdrawn"),
        pytest.param([], [label(1, 1_000)], {"t1": 1}, id="or says nothing"),
        pytest.param([label(None, 1_000)], [label(None, 1_000)], {}, id="nobody says anything"),
    ],
)
def test_of_several_sources_the_first_that_says_something_counts(
    first: list[tuple[bytes, int]], second: list[tuple[bytes, int]], expected: dict[str, int]
) -> None:
    more = LabelSource(topic="labels.more", contract=Verdict, value="fraud")
    labels = Labels(topic="labels.taps", contract=Verdict, value="fraud", otherwise=(more,))
    records = [[Record(0, n, at, None, value, ()) for n, (value, at) in enumerate(of)] for of in (first, second)]
    assert known_labels(labels, records, Path("nothing is committed")) == expected


def test_labels_of_another_contract_name_events_by_its_name_and_their_id() -> None:
    labels = Labels(topic="labels.taps", contract=Verdict, value="fraud", of="swipe")
    (value, at) = label(1, 1_000)
    records = [[Record(0, 0, at, None, value, ())]]
    assert known_labels(labels, records, Path("nothing is committed")) == {"swipe:t1": 1}
    read = LabelDecoder(labels.sources[0], "binary", Path("nothing is committed")).read(value)
    assert (read.event_id, read.value) == ("swipe:t1", True)  # type: ignore[union-attr]
