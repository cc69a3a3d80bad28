"""What `penstock data-quality profile` and `show` say; on real Kafka: tests/integration/test_data_quality.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backfill import topic_reading
from penstock.commands import data_quality as command
from penstock.errors import PenstockError
from penstock.kafka import topics
from penstock.kafka.reading import Record
from streams.definitions.loading import load_pipeline
from streams.drift.data_quality.quality_store import NOTE, REFERENCE, Note, read_kept
from streams.drift.data_quality.quality_watch import QualityState
from streams.drift.data_quality.topic_watch import TopicState
from tests.streams.drift.data_quality.parcels import DEFINITION, parcel

BEGIN_MS, STEP_MS = 1_760_000_000_000, 30_000


class ParcelTopics:
    """The raw topic in memory."""

    def __init__(self, events: int) -> None:
        self._events = events

    def ranges(self, _topic: str) -> dict[int, tuple[int, int]]:
        return {0: (0, self._events)}

    def read(self, _topic: str, **_: object) -> Iterator[Record]:
        for number in range(self._events):
            at = BEGIN_MS + number * STEP_MS
            yield Record(0, number, at, None, parcel(number, at), (("version", b"4.1"),))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    """What the topic of data quality has."""
    kept: dict[bytes, bytes] = {}

    def write(_kafka: object, _pipeline: object, reference: Any, _now_ms: int) -> None:
        kept[REFERENCE] = reference.model_dump_json().encode()

    monkeypatch.setattr(command, "write_reference", write)
    monkeypatch.setattr(command, "require_topics", lambda *_, **__: None)
    monkeypatch.setattr(
        command,
        "read_topic",
        lambda *_: [Record(0, place, -1, key, value, ()) for place, (key, value) in enumerate(kept.items())],
    )
    return kept


def define(folder: Path, **changes: str) -> str:
    # A file is loaded once.
    path, text = folder / f"parcels_{len(changes)}.py", DEFINITION.format(suffix="x")
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return str(path)


def penstock(*arguments: str) -> str:
    done = CliRunner().invoke(command.data_quality, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_profile_is_told_in_words_with_what_is_refused_and_shown_with_what_is_unusual(tmp_path, monkeypatch, written):
    path = define(tmp_path)
    monkeypatch.setattr(topic_reading, "topics_of", lambda *_: ParcelTopics(4_000))
    told = penstock("profile", path)
    assert "events.parcels_x: 4,000 events, 2025-10-09 08:53 to 2025-10-10 18:12 UTC" in told
    assert "not watched: events.parcels_x by volume: 33 complete hours are too few, 48 are needed" in told
    reference = command.saved_watch(command.open_project(path), command.Settings()).reference
    state = QualityState(
        reference=reference.hash, topics={"events.parcels_x": TopicState(over={"4.2|weight:null": [0]}, observed=7)}
    )
    written[NOTE] = Note(state=state, positions={}).model_dump_json().encode()
    assert "events.parcels_x       7  -      weight by null (4.2)" in penstock("show", path)
    (topic,) = json.loads(penstock("show", path, "--json"))["topics"].values()
    assert (topic["events"], topic["unusual"]) == (7, ["weight by null (4.2)"])


def test_too_few_events_are_refused_and_nothing_is_written(tmp_path, monkeypatch, written):
    monkeypatch.setattr(topic_reading, "topics_of", lambda *_: ParcelTopics(500))
    with pytest.raises(PenstockError, match="500 events are too few to learn from"):
        penstock("profile", define(tmp_path))
    assert not written


def test_a_topic_that_an_earlier_release_did_not_make_is_named_before_anything_is_read(tmp_path, monkeypatch, written):
    monkeypatch.setattr(topic_reading, "topics_of", lambda *_: pytest.fail("events are read"))
    monkeypatch.setattr(topics, "admin_client", lambda _kafka: None)
    monkeypatch.setattr(topics, "partition_counts", lambda *_: {"events.parcels_x": 1})
    monkeypatch.setattr(command, "require_topics", topics.require_topics)
    path = define(tmp_path)
    with pytest.raises(PenstockError, match=r"topics that do not exist: data-quality\.parcels_x") as error:
        penstock("profile", path)
    assert error.value.next == f"penstock topics create {path}"
    assert not written


@pytest.mark.parametrize(
    ("changes", "why", "following"),
    [
        (
            {', data_quality=DataQuality(producer_header="version")': ""},
            "does not watch its raw events",
            "from penstock import ",
        ),
        ({"window=100": "window=200"}, "settings of the monitors have changed", "penstock data-quality "),
    ],
)
def test_another_definition_is_refused(tmp_path, monkeypatch, written, changes, why, following):
    monkeypatch.setattr(topic_reading, "topics_of", lambda *_: ParcelTopics(4_000))
    penstock("profile", define(tmp_path))
    with pytest.raises(PenstockError, match=why) as error:
        penstock("show", define(tmp_path, **changes))
    assert error.value.next.startswith(following)


def test_without_a_profile_the_next_command_is_named(tmp_path, written):
    with pytest.raises(PenstockError, match="nothing is known") as error:
        penstock("show", define(tmp_path))
    assert error.value.next.startswith("penstock data-quality profile ")


def test_what_another_release_has_counted_is_left_out(tmp_path, monkeypatch, written):
    path = define(tmp_path)
    monkeypatch.setattr(topic_reading, "topics_of", lambda *_: ParcelTopics(4_000))
    penstock("profile", path)
    written[NOTE] = b'{"format": 7}'
    kept = read_kept(command.read_topic, load_pipeline(path))
    assert kept.reference is not None
    assert (kept.note, kept.partitions) == (None, {})
