"""Scores on a topic: each once, however transactions end, and however often the command runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.resumable import StoppedError
from backfill.scores import topic as module
from backfill.scores.manifest import ScoresManifest
from backfill.scores.topic import prepare_topic, publish
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record
from penstock.kafka.records import Produced
from penstock.kafka.transactions import OutcomeUnknownError, TransactionAbortedError
from schemas.history import record_decoder
from tests.backfill.scores.world import PARTITIONS, World

ENDS = ("committed", "committed silently", "aborted", "lost")
TOPIC = "scores.taps"


@dataclass
class Kafka:
    """The topic; ``ends`` says how the next transactions end."""

    written: list[Produced] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def read(self, partition: int) -> Iterator[Record]:
        for offset, one in enumerate(self.written):
            if one.partition == partition:
                yield Record(partition, offset, 0, one.key, one.value, tuple(one.headers))

    def writer(self, partition: int) -> Any:
        def write(records: list[Produced], offsets: list[object], *_: object) -> None:
            assert not offsets
            assert {one.partition for one in records} == {partition}
            end = self.ends.pop(0) if self.ends else "committed"
            if end.startswith("committed"):
                self.written += records
            if end == "aborted":
                raise TransactionAbortedError(end)
            if end != "committed":
                raise OutcomeUnknownError(end)

        return SimpleNamespace(start=lambda: True, write=write)

    def publish(self, folder: Path, manifest: ScoresManifest) -> int:
        return publish(folder, manifest, TOPIC, self.read, self.writer, lambda: 5, lambda: False)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScoresManifest, World]:
    folder = tmp_path_factory.mktemp("scores")
    world = World(folder)
    return folder / "out", world.run(folder / "out").manifest, world


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 7)


Scored = tuple[Path, ScoresManifest, World]


def test_every_row_is_a_score_with_the_key_of_event_version_and_policy(scored: Scored, small: None) -> None:
    folder, manifest, world = scored
    kafka, decoder = Kafka(), record_decoder("score")
    assert kafka.publish(folder, manifest) == len(kafka.written) == len(world.in_range())
    served = {one["event_id"]: one for one in world.in_range()}
    for record in kafka.written:
        says = decoder.decode(record.value or b"")
        one = served.pop(says["event_id"])
        key = f"{one['event_id']}|taps@{one['model_version']}|{world.policy.version}"
        assert (record.topic, record.partition) == (TOPIC, one["source"]["partition"])
        assert (record.key or b"").decode() == key
        for name in ("score", "decision", "model", "model_version", "entity", "event_time"):
            assert says[name] == one[name]
        assert (says["source_offset"], says["policy"]) == (one["source"]["offset"], world.policy.version)


@settings(derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(st.lists(st.sampled_from(ENDS), max_size=8), max_size=3))
def test_however_transactions_end_each_score_is_published_once(
    scored: Scored, small: None, runs: list[list[str]]
) -> None:
    folder, manifest, _ = scored
    kafka = Kafka()
    for ends in runs:
        kafka.ends = list(ends)
        with suppress(PenstockError):
            kafka.publish(folder, manifest)
    kafka.ends = []
    kafka.publish(folder, manifest)
    assert set(Counter(one.key for one in kafka.written).values()) == {1}
    assert len(kafka.written) == manifest.rows
    assert kafka.publish(folder, manifest) == 0


def test_scores_of_another_run_do_not_count(scored: Scored, small: None, tmp_path: Path) -> None:
    folder, manifest, world = scored
    kafka = Kafka()
    other = world.run(tmp_path / "other", version=2).manifest
    kafka.publish(tmp_path / "other", other)
    assert kafka.publish(folder, manifest) == manifest.rows
    assert len(kafka.written) == manifest.rows + other.rows


def test_a_topic_with_other_records_is_refused(scored: Scored) -> None:
    kafka = Kafka([Produced(TOPIC, 0, b"k", b"v", [], 0, None)])
    with pytest.raises(PenstockError, match="the topic has records that are no scores"):
        kafka.publish(scored[0], scored[1])
    assert len(kafka.written) == 1


def test_transactions_that_fail_again_and_again_end_the_command(scored: Scored) -> None:
    with pytest.raises(PenstockError, match="3 transactions failed"):
        Kafka(ends=["aborted"] * 3).publish(scored[0], scored[1])


def test_it_stops_between_transactions(scored: Scored, small: None) -> None:
    kafka = Kafka()
    with pytest.raises(StoppedError):
        publish(*scored[:2], TOPIC, kafka.read, kafka.writer, lambda: 5, lambda: len(kafka.written) > 8)
    assert len(kafka.written) == 14


def test_a_topic_of_the_pipeline_is_refused_and_another_is_made(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(module, "create_topics", lambda topics, _: made.extend(topics))
    pipeline, kafka = scored[2].project.pipeline, KafkaAccess(bootstrap="nowhere:1")
    with pytest.raises(PenstockError, match=r"predictions.taps is a topic of the pipeline"):
        prepare_topic(pipeline, "predictions.taps", kafka)
    prepare_topic(pipeline, TOPIC, kafka)
    assert [(topic.name, topic.partitions, topic.config) for topic in made] == [
        (TOPIC, PARTITIONS, {"cleanup.policy": "compact"})
    ]
