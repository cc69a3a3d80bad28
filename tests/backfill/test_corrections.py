"""Publishing corrections: each prediction gets one, whatever fails, and however often the command runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill import corrections as module
from backfill.corrections import Outcome, corrected_offsets, rescore, told_since
from penstock.errors import PenstockError
from penstock.kafka.reading import Record, Start
from penstock.kafka.records import Produced
from penstock.kafka.transactions import OutcomeUnknownError, RecordRefusedError, TransactionAbortedError
from schemas.codec import Encoder
from schemas.records import PREDICTION_SCHEMA
from scoring.rollout.policy import Arm, RolloutPolicy, publish
from scoring.rollout.touched import Choice, Window
from scoring.rollout.transitions import By
from scoring.touched_predictions import Period, Place, TouchedPrediction
from tests.scoring.test_touched_predictions import prediction

CHOICE = Choice("version 4", frozenset({4}), {"b" * 64: frozenset({"next"})})
PIPELINE = SimpleNamespace(
    name="taps",
    predictions_topic="predictions.taps",
    corrections_topic="predictions.taps.corrections",
    source=SimpleNamespace(partitions=2),
)
BY = By("ada", "it was biased", 5)
ENCODER = Encoder(PREDICTION_SCHEMA)
NOW = 10_000_000
# How a transaction ends: committed and told so, or not; not committed and told so, or not.
ENDS = ("committed", "committed silently", "aborted", "lost")


def policy(version: int) -> Any:
    arms = (Arm(name="present", version=version, role="champion"),)
    return publish(RolloutPolicy(pipeline="taps", mode="shadow", salt="taps/1", arms=arms))


@dataclass
class Kafka:
    """Predictions and corrections of two partitions; ``ends`` says how the next transactions end."""

    predictions: dict[int, list[TouchedPrediction]] = field(default_factory=dict)
    corrections: list[Produced] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    lost_before: dict[int, int] = field(default_factory=dict)
    unscorable: frozenset[int] = frozenset()
    started: list[int] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)
    transactions: int = 0

    def correct(self, some: Sequence[TouchedPrediction]) -> list[Produced]:
        self.scored += [each.offset for each in some]
        return [self.correction(each) for each in some if each.offset not in self.unscorable]

    def correction(self, of: TouchedPrediction) -> Produced:
        decision = "pass" if of.offset % 2 else "block"
        says = {"topic": PIPELINE.predictions_topic, "partition": str(of.partition), "offset": str(of.offset)}
        headers = [("other", None), *((f"penstock.corrects.{name}", value.encode()) for name, value in says.items())]
        value = ENCODER.encode(of.says | {"decision": decision})
        return Produced(PIPELINE.corrections_topic, of.partition, of.key, value, headers, NOW, of)

    def read_touched(self, *arguments: Any) -> Iterator[TouchedPrediction]:
        yield from self.predictions[arguments[3][0].window.partition]

    def read_topic(self, _kafka: object, topic: str, *, start: Mapping[int, int]) -> Iterator[Record]:
        assert topic == PIPELINE.corrections_topic
        for offset, one in enumerate(self.corrections):
            if one.partition in start:
                yield Record(one.partition, offset, NOW, one.key, one.value, tuple(one.headers))

    def starts_at(self, _kafka: object, _topic: str, times: Sequence[tuple[int, int]]) -> list[Start]:
        return [Start(9, is_cut=partition in self.lost_before) for partition, _ in times]

    def producer(self, _kafka: object, _pipeline: object, partition: int) -> Any:
        def write(records: Sequence[Produced], offsets: list[object], *_: object) -> None:
            assert not offsets
            self.transactions += 1
            end = self.ends.pop(0) if self.ends else "committed"
            if end == "refused":
                raise RecordRefusedError("Kafka refuses the record")
            if end.startswith("committed"):
                self.corrections += records
            if end == "aborted":
                raise TransactionAbortedError(end)
            if end != "committed":
                raise OutcomeUnknownError(end)

        return SimpleNamespace(start=lambda: self.started.append(partition), write=write)

    def run(self, *, dry_run: bool = False, version: int = 3) -> dict[int, Outcome]:
        project: Any = SimpleNamespace(pipeline=PIPELINE)
        places = [Place(Window(partition, 0, 0), 0, is_cut=False) for partition in sorted(self.predictions)]
        told: Any = SimpleNamespace(kafka=SimpleNamespace(access="nowhere"))
        return dict(rescore(project, told, policy(version), CHOICE, places, Period(), None if dry_run else BY))

    def number_of_corrections(self) -> Counter[tuple[int, int]]:
        origins = [one.origin for one in self.corrections if isinstance(one.origin, TouchedPrediction)]
        return Counter((origin.partition, origin.offset) for origin in origins)


def touched(partition: int, offset: int, timestamp: int = NOW) -> TouchedPrediction:
    return TouchedPrediction(partition, offset, timestamp, b"k", [], 100, prediction(offset, partition=partition))


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    limits = {
        PIPELINE.corrections_topic: {"max.message.bytes": "1000", "retention.ms": "1000", "retention.bytes": "-1"}
    }
    monkeypatch.setattr(module, "require_topics", lambda *_, **__: None)
    monkeypatch.setattr(module, "topic_settings", lambda *_: limits)
    monkeypatch.setattr(module.time, "time_ns", lambda: NOW * 1_000_000)
    monkeypatch.setattr(module, "_BATCH", 2)
    return monkeypatch


def connect(patched: pytest.MonkeyPatch, kafka: Kafka) -> Kafka:
    @contextmanager
    def open_corrector(*_: object) -> Iterator[Kafka]:
        yield kafka

    patched.setattr(module, "open_corrector", open_corrector)
    patched.setattr(module, "_producer", kafka.producer)
    for name in ("read_touched", "read_topic", "starts_at"):
        patched.setattr(module, name, getattr(kafka, name))
    return kafka


@pytest.fixture
def kafka(patched: pytest.MonkeyPatch) -> Kafka:
    return connect(patched, Kafka({0: [touched(0, offset) for offset in range(5)], 1: [touched(1, 8)]}))


EVERY = {(0, offset): 1 for offset in range(5)} | {(1, 8): 1}


def test_each_prediction_is_corrected_and_the_decisions_are_counted(kafka: Kafka) -> None:
    found = kafka.run()
    assert kafka.number_of_corrections() == EVERY
    assert found == {
        0: Outcome(Counter({("block", "block"): 3, ("block", "pass"): 2})),
        1: Outcome(Counter({("block", "block"): 1})),
    }
    assert [(outcome.corrected, outcome.changed) for outcome in found.values()] == [(5, 2), (1, 0)]


def test_a_second_command_corrects_nothing_and_asks_no_model(kafka: Kafka) -> None:
    kafka.run()
    kafka.scored.clear()
    kafka.transactions = 0
    assert kafka.run() == {0: Outcome(corrected_before=5), 1: Outcome(corrected_before=1)}
    assert kafka.number_of_corrections() == EVERY
    assert (kafka.scored, kafka.transactions) == ([], 0)


def test_a_dry_run_counts_the_same_and_writes_nothing(kafka: Kafka) -> None:
    found = kafka.run(dry_run=True)
    assert (kafka.corrections, kafka.started) == ([], [])
    assert kafka.run() == found


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(st.lists(st.sampled_from(ENDS), max_size=5), min_size=1, max_size=3),
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 4)),
)
def test_however_transactions_end_each_prediction_gets_one_correction(
    patched: pytest.MonkeyPatch, runs: list[list[str]], sizes: tuple[int, int]
) -> None:
    predictions = {number: [touched(number, offset) for offset in range(size)] for number, size in enumerate(sizes)}
    kafka = connect(patched, Kafka(predictions))
    for ends in runs:
        kafka.ends = list(ends)
        with suppress(PenstockError):
            kafka.run()
    kafka.ends = []
    kafka.run()
    every = Counter((number, offset) for number, size in enumerate(sizes) for offset in range(size))
    assert kafka.number_of_corrections() == every


def test_after_a_failure_it_goes_on_and_counts_each_prediction_once(kafka: Kafka) -> None:
    kafka.ends = ["committed", "aborted"]
    (outcome, _) = kafka.run().values()
    assert kafka.started == [0, 0, 1]
    assert (outcome.corrected, outcome.corrected_before) == (5, 0)


def test_a_transaction_that_fails_again_and_again_ends_the_command(kafka: Kafka) -> None:
    kafka.ends = ["lost"] * 3
    with pytest.raises(PenstockError, match="3 transactions failed; another `penstock rollout rescore` may be running"):
        kafka.run()


def test_a_record_that_kafka_refuses_ends_the_command(kafka: Kafka) -> None:
    kafka.ends = ["refused"]
    with pytest.raises(RecordRefusedError):
        kafka.run()
    assert kafka.started == [0]


def test_what_has_no_score_is_counted_and_tried_again_by_the_next_command(kafka: Kafka) -> None:
    kafka.unscorable = frozenset({1, 8})
    assert [outcome.without_score for outcome in kafka.run().values()] == [1, 1]
    kafka.unscorable = frozenset()
    assert [outcome.corrected for outcome in kafka.run().values()] == [1, 1]
    assert kafka.number_of_corrections() == EVERY


def test_where_kafka_may_have_deleted_the_correction_none_is_written(kafka: Kafka) -> None:
    kafka.predictions = {0: [touched(0, 1, NOW - 1_001), touched(0, 2, NOW - 1_000)], 1: [touched(1, 3, 0)]}
    kafka.lost_before = {0: 1}
    first, second = kafka.run().values()
    assert (first.too_old, first.corrected) == (1, 1)
    assert (second.too_old, second.corrected) == (0, 1)


def test_a_champion_does_not_correct_itself(kafka: Kafka) -> None:
    with pytest.raises(PenstockError, match="version 4 is the champion now"):
        kafka.run(version=4)


def test_only_corrections_of_the_topic_and_partition_count() -> None:
    def correction(topic: str, partition: str, offset: str) -> Record:
        said = {"topic": topic, "partition": partition, "offset": offset}
        return Record(3, 0, 0, None, None, tuple((f"penstock.corrects.{k}", v.encode()) for k, v in said.items()))

    records = [
        correction("predictions.taps", "3", "12"),
        correction("predictions.taps", "3", "7"),
        correction("predictions.taps", "2", "1"),
        correction("predictions.other", "3", "2"),
        correction("predictions.taps", "3", "x"),
        Record(3, 0, 0, None, b"of somebody else", (("a", None),)),
        correction("predictions.taps", "3", "9" * 24),
    ]
    assert corrected_offsets(records, "predictions.taps", 3).tolist() == [7, 12]


@pytest.mark.parametrize(
    ("retention_ms", "retention_bytes", "since"), [("60", "-1", 940), ("60", "5", 1_000), ("-1", "-1", 1_000)]
)
def test_by_time_alone_the_topic_tells_what_it_has_lost(retention_ms: str, retention_bytes: str, since: int) -> None:
    assert told_since({"retention.ms": retention_ms, "retention.bytes": retention_bytes}, 1_000) == since


def test_outcomes_add_up() -> None:
    total = Outcome(Counter({("a", "b"): 1}), 1, 2, 3)
    total.add(Outcome(Counter({("a", "b"): 1, ("b", "b"): 1}), 10, 20, 30))
    assert total == Outcome(Counter({("a", "b"): 2, ("b", "b"): 1}), 11, 22, 33)
