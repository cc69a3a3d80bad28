"""Which predictions came too late, as ranges of offsets."""

from __future__ import annotations

import pytest

from scoring.quality import late_places as module
from scoring.quality.book import Book
from scoring.quality.late_places import LatePlaces
from scoring.quality.reading_clock import Reached
from tests.scoring.quality.quality_worlds import BEGIN_MS, facts, scored

FIRST, SECOND = ("predictions.taps", 0), ("predictions.taps", 1)


def test_neighbours_are_one_range_also_after_a_restart() -> None:
    places = LatePlaces({})
    for partition, offset in ((FIRST, 3), (SECOND, 4), (FIRST, 4), (FIRST, 7)):
        places.add(partition, offset)
    assert places.content() == {"predictions.taps": {0: ((3, 5), (7, 8)), 1: ((4, 5),)}}
    again = LatePlaces(places.content())
    again.add(FIRST, 8)
    assert again.content() == {"predictions.taps": {0: ((3, 5), (7, 9)), 1: ((4, 5),)}}


def test_more_than_a_note_can_hold_are_not_written_down_nor_are_those_of_an_earlier_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST_RANGES", 2)
    places = LatePlaces({})
    for offset in (0, 1, 3, 5):
        assert places.content() is not None
        places.add(FIRST, offset)
    assert places.content() is None
    unknown = LatePlaces(None)
    unknown.add(FIRST, 1)
    assert unknown.content() is None


def test_a_book_names_the_predictions_that_came_too_late_and_no_other() -> None:
    book = Book(facts())
    book.advance(Reached(mature_ms=BEGIN_MS + 21_000, forget_ms=BEGIN_MS + 21_000))
    book.observe([scored(number, place=(FIRST, 10 + number)) for number in range(4)], [])
    assert book.late == 2
    assert book.late_places.content() == {"predictions.taps": {0: ((10, 12),)}}
    assert all(one.place is None for event in book.queue.events.values() for one in event.predictions.values())
