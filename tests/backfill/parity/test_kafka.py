"""Where topics are read from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from backfill.parity import kafka as module
from backfill.parity.sources import NOTHING_MISSING
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.settings import Settings
from streams.plan.project import Project
from tests.backfill.parity.worlds import APP, SCORED_REFUNDS
from tests.backfill.parity.worlds import pipeline as several
from tests.backfill.training_sets.worlds import pipeline

PROJECT = Project.of(pipeline(), Path("nothing is committed"))
SEVERAL = Project.of(several((SCORED_REFUNDS, APP)), Path("nothing is committed"))


@pytest.mark.parametrize(
    ("start_ms", "earliest", "end", "by_time", "start", "known_from"),
    [
        (0, 0, 9, None, 0, NOTHING_MISSING),
        (0, 4, 9, None, 4, None),  # the first record's own timestamp says it
        (0, 9, 9, None, 9, 0),  # all were deleted, nobody knows when they came
        (500, 0, 9, 0, 0, NOTHING_MISSING),
        (500, 0, 9, 6, 6, 500),
        (500, 4, 9, 4, 4, None),
        (500, 9, 9, 9, 9, 500),
    ],
)
def test_a_partition_is_read_from_where_it_can_matter_and_it_is_known_what_may_be_missing(
    start_ms: int,
    earliest: int,
    end: int,
    by_time: int | None,
    start: int,
    known_from: int | None,
) -> None:
    starts, known = module._starts({0: (earliest, end)}, None if by_time is None else {0: by_time}, start_ms)
    assert starts == {0: start}
    assert known == ({} if known_from is None else {0: known_from})


def test_what_kafka_has_deleted_is_read_from_an_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, read = SEVERAL.plan, list[tuple[str, Any]]()

    class Archived:
        def names(self) -> set[str]:
            return {*plan.triggering_topics, plan.features_topic}

        def runs(self, _topic: str) -> dict[int, list[tuple[int, int]]]:
            return {0: [(2, 9)]}

        def ranges(self, _topic: str) -> dict[int, tuple[int, int]]:
            return {0: (2, 9)}

        def starts(self, _topic: str, _time_ms: int) -> dict[int, int]:
            return {0: 5}

        def read(self, topic: str, *, start: Any = None, end: Any = None) -> Iterator[Record]:
            assert end is None, "up to its end, as it is then"
            read.append((topic, start))
            return iter(())

    lag = MagicMock()
    lag.return_value.__enter__.return_value.committed_offsets.return_value = {0: 7}
    monkeypatch.setattr(module, "Lag", lag)
    monkeypatch.setattr(module, "topics_of", lambda _, archive: {"folder": Archived()}[archive])
    found = module.kafka_sources(SEVERAL, Settings(), 2**41, "folder", 2**42)
    for topic in (*plan.triggering_topics, plan.features_topic, SEVERAL.pipeline.predictions_topic):
        assert list(found.read(topic)) == []
    assert read == [(topic, {0: 5}) for topic in (*plan.triggering_topics, plan.features_topic)]
    assert found.taken == {topic: {0: 7} for topic in plan.triggering_topics}


def test_a_range_before_a_gap_of_raw_events_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = SimpleNamespace(runs=lambda _: {0: [(2, 9), (11, 20)]}, read=lambda *_, **__: iter(()))
    monkeypatch.setattr(module, "topics_of", lambda *_: topics)
    monkeypatch.setattr(module, "event_times_of", lambda *_: lambda _records: [2**42])
    with pytest.raises(PenstockError, match="lie before a gap: offsets 9 to 11"):
        module.kafka_sources(PROJECT, Settings(), 2**41, "folder", 2**42)


def test_the_newest_event_is_that_of_any_topic_that_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = {"events.parity": 5, "events.parity.refunds": None, "events.parity.app": 9}
    of_topic = lambda _project, source, *_: SimpleNamespace(newest_ms=newest[source.topic])  # noqa: E731
    monkeypatch.setattr(module, "read_retained_topic", of_topic)
    assert module.newest_event_ms(SEVERAL, Settings()) == 9
