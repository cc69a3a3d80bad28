"""Lanes: which letters go which way, and how they are counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backfill.dead_letters.lanes import MOST_REPLAYS, Lane, LaneSummary, Place, PlacedLetter, Way, letter_topics
from penstock.errors import PenstockError
from schemas.dead_letters import DeadLetter
from tests.streams.definitions.test_pipeline import pipeline

PIPELINE = pipeline()
RAW, FEATURES, PREDICTIONS = letter_topics(PIPELINE)
LETTER = DeadLetter("events.payments", 0, 1, "payments", "validate", "penstock.job", "penstock.InvalidField", "why")


def placed(offset: int, timestamp: int = 5, replays: int = 0) -> PlacedLetter:
    of = str(Place(RAW, 0, offset - 1)).encode()
    headers = (("penstock.replay.of", of), ("penstock.replay.count", b"%d" % replays))
    return PlacedLetter(Place(RAW, 0, offset), timestamp, replace(LETTER, original_headers=headers))


@pytest.mark.parametrize(
    ("topic", "component", "reason", "way"),
    [
        (RAW, "penstock.job", "penstock.InvalidField", Way.RAW),
        (FEATURES, "penstock.job", "penstock.FeaturesTooLarge", Way.EXCERPT),
        (PREDICTIONS, "penstock.scorer", "penstock.NotANumber", Way.SCORE),
        (FEATURES, "penstock.sink.redis", "penstock.Undecodable", Way.STORE),
        (PREDICTIONS, "penstock.sink.cassandra", "penstock.Undecodable", Way.STORE),
        (PREDICTIONS, "penstock.drift", "penstock.Undecodable", Way.NONE),
        (RAW, "penstock.job", "not a name", Way.NONE),
        (RAW, "", "penstock.InvalidField", Way.NONE),
    ],
)
def test_the_component_says_how_a_letter_is_replayed(topic: str, component: str, reason: str, way: Way) -> None:
    assert Lane(topic, component, reason).way(PIPELINE) is way


def test_a_lane_has_a_group_of_its_own() -> None:
    lane = Lane(PREDICTIONS, "penstock.scorer", "penstock.NotANumber")
    assert lane.group("payments") == "penstock-payments-dlq-scorer-NotANumber"
    assert lane.is_answer
    assert not Lane(PREDICTIONS, "penstock.scorer", "penstock.Undecodable").is_answer


def test_letters_are_counted_as_waiting_unless_they_are_replayed_or_quarantined() -> None:
    summary = LaneSummary()
    summary.add(placed(1, timestamp=7), replayed=True)
    summary.add(placed(2, timestamp=3), replayed=False)
    summary.add(placed(3, timestamp=9, replays=MOST_REPLAYS), replayed=False)
    assert (summary.letters, summary.waiting, summary.quarantined) == (3, 1, 1)
    assert summary.messages == {"why": 3}
    assert (summary.oldest_ms, summary.newest_ms, summary.latest) == (3, 9, Place(RAW, 0, 3))


@pytest.mark.parametrize(
    ("of", "count"),
    [
        (f"{RAW}[0]@4", 3),
        (f"{RAW}[0]@5", 0),
        (f"{RAW}[0]@6", 0),
        (f"{RAW}[1]@9", 3),
        ("other.dlq[0]@4", 0),
        ("nonsense", 0),
    ],
)
def test_a_count_that_a_producer_forged_on_a_raw_event_does_not_count(of: str, count: int) -> None:
    headers = (("penstock.replay.of", of.encode()), ("penstock.replay.count", b"3"))
    letter = PlacedLetter(Place(RAW, 0, 5), 5, replace(LETTER, original_headers=headers))
    assert (letter.replays, letter.is_quarantined) == (count, count == 3)
    replay = (("penstock.replay.of", str(letter.place).encode()), ("penstock.replay.count", b"%d" % (count + 1)))
    assert tuple(letter.replayed().original_headers) == replay


def test_a_place_is_read_as_it_is_written() -> None:
    assert Place.read(str(Place("a.b-c_d.dlq", 3, 42))) == Place("a.b-c_d.dlq", 3, 42)


@pytest.mark.parametrize("text", ["", "a.dlq", "a.dlq[x]@1", "a.dlq[0]", "a b[0]@1", "a[0]@1 "])
def test_a_text_that_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(PenstockError, match=r"TOPIC\[PARTITION\]@OFFSET"):
        Place.read(text)
