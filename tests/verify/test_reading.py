"""Topics that a pipeline need not have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.manifest import BackfillManifest
from backfill.parquet import Backfill
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record, RecordsGoneError
from tests.backfills import write_backfill
from tests.sinks.payments import features, payments, spending
from verify.reading import _records_if_any, read_backfill_data

KAFKA = KafkaAccess(bootstrap="127.0.0.1:1")


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster with two topics, of one of which Kafka deletes the records while they are read."""

    def read(_: object, topic: str) -> Iterator[Record]:
        if topic != "rollout.p":
            raise RecordsGoneError(f"{topic} is gone")
        yield Record(0, 1, 2, None, b"x", ())

    monkeypatch.setattr("verify.reading.read_topic", read)
    monkeypatch.setattr("verify.reading.partition_counts", lambda *_: {"rollout.p": 1, "rollout.p.log": 1})


def test_a_topic_is_read_if_there_is_one() -> None:
    assert len(_records_if_any(KAFKA, "rollout.p")) == 1


def test_a_pipeline_whose_topics_are_older_than_rollouts_has_no_records_of_them() -> None:
    assert _records_if_any(KAFKA, "rollout.old") == []


def test_records_that_are_deleted_while_they_are_read_are_an_error() -> None:
    with pytest.raises(RecordsGoneError):
        _records_if_any(KAFKA, "rollout.p.log")


@pytest.fixture
def backfill(tmp_path: Path) -> Backfill:
    return write_backfill(payments(), tmp_path, [features(0, spending=spending())])


def test_a_backfill_has_the_identity_and_the_epoch_that_its_writer_gives_it(backfill: Backfill) -> None:
    found = read_backfill_data(backfill.folder)
    assert (found.identity, found.epoch) == (backfill.manifest.identity, backfill.manifest.epoch)


@pytest.mark.parametrize(
    ("delivered", "keyspaces"),
    [({}, ()), ({"here:1 a": ["part-00000-00000.parquet"], "there:1 b": []}, ("a",))],
)
def test_a_backfill_is_in_the_keyspaces_to_which_all_of_its_parts_went(
    backfill: Backfill, delivered: dict[str, list[str]], keyspaces: tuple[str, ...]
) -> None:
    manifest: BackfillManifest = backfill.manifest.model_copy(update={"delivered": delivered})
    manifest.save(backfill.folder)
    assert read_backfill_data(backfill.folder).keyspaces == keyspaces
