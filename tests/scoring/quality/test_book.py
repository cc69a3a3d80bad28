"""The book counts each event once, as what is known of it at maturity says, whatever came first."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from scoring.quality import maturity_queue
from scoring.quality.book import KEPT_MS, Book
from scoring.quality.events import Event
from scoring.quality.histograms import DAY_MS, Histogram, Key
from scoring.quality.reading_clock import Reached
from tests.scoring.quality.quality_worlds import (
    BEGIN_MS,
    HORIZON_MS,
    book_of,
    counted,
    facts,
    key_of,
    label,
    scored,
    total,
)

# This label makes all events up to number 80 mature.
TICK = label(90, None, age_ms=0)


def test_an_event_counts_when_it_matures_and_not_when_its_label_comes() -> None:
    book = Book(facts())
    book.observe([scored(0)], [label(0, True)])
    assert (counted(book, key_of(0), "scored"), counted(book, key_of(0), "positive")) == (1, 0)
    book.advance(Reached(mature_ms=BEGIN_MS + HORIZON_MS - 1))
    assert counted(book, key_of(0), "positive") == 0
    (matured,) = book.advance(Reached(mature_ms=BEGIN_MS + HORIZON_MS))
    assert counted(book, key_of(0), "positive") == 1
    assert (matured.event_id, matured.outcome, matured.score) == ("event-0", "positive", 0.25)


@pytest.mark.parametrize(
    ("labels", "absent", "expected"),
    [
        ([(True, 2_000)], "negative", "positive"),
        ([(False, 2_000)], "excluded", "negative"),
        ([], "negative", "negative"),
        ([], "excluded", "unknown"),
        ([], None, "unknown"),
        ([(True, HORIZON_MS)], "negative", "positive"),
        ([(True, HORIZON_MS + 1)], "negative", "negative"),
        ([(True, 2_000), (False, 3_000)], "excluded", "negative"),
        ([(True, 3_000), (False, 2_000)], "excluded", "positive"),
        ([(True, 2_000), (None, 3_000)], "excluded", "unknown"),
        ([(True, 2_000), (None, 3_000)], "negative", "negative"),
        ([(None, 2_000), (True, 3_000)], "negative", "positive"),
        ([(False, 3_000), (True, 4_000, 1)], "excluded", "negative"),
        ([(True, 2_000, 1), (None, 5_000)], "excluded", "positive"),
    ],
)
def test_the_outcome_is_the_latest_label_within_the_horizon(labels, absent, expected) -> None:
    known = [
        label(0, value, age_ms=age, offset=place)._replace(source=sum(source))
        for place, (value, age, *source) in enumerate(labels)
    ]
    found = total(book_of([scored(0)], [*known, TICK], facts(absent=absent)))
    assert {name: found.count(name) for name in ("positive", "negative", "unknown")} == {
        **dict.fromkeys(("positive", "negative", "unknown"), 0),
        expected: 1,
    }


def test_a_withdrawal_by_the_first_source_after_maturity_lets_the_label_of_the_second_count() -> None:
    second = label(0, False)._replace(source=1)
    book = book_of([scored(0)], [label(0, True), second, TICK])
    assert (total(book).count("positive"), total(book).count("negative")) == (1, 0)
    book.observe([], [label(0, None, age_ms=3_000)])
    assert (total(book).count("positive"), total(book).count("negative")) == (0, 1)


def test_sources_in_another_order_are_counted_anew() -> None:
    assert len({facts(sources=of).fingerprint for of in [(), ("a", "b"), ("b", "a")]}) == 3


def test_of_labels_of_one_time_the_one_that_kafka_received_last_counts() -> None:
    known = [label(0, True, offset=2), label(0, False, offset=1)]
    assert total(book_of([scored(0)], [*known, TICK])).count("positive") == 1


def test_a_correction_after_maturity_takes_the_old_count_out_and_adds_the_new_one() -> None:
    book = book_of([scored(0)], [label(0, True), TICK])
    before = total(book).cells
    book.observe([], [label(0, None, age_ms=3_000)])
    assert (total(book).count("positive"), total(book).count("negative")) == (0, 1)
    book.observe([], [label(0, True, age_ms=4_000)])
    assert total(book).cells == before


def test_a_prediction_that_comes_after_its_maturity_counts_at_once() -> None:
    book = book_of([scored(89)], [label(0, True), TICK])
    (matured,) = book.observe([scored(75)], [])
    assert (matured.event_id, matured.outcome) == ("event-75", "negative")


@pytest.mark.parametrize(
    ("changes", "stratum", "outcome"),
    [
        ({"score": 0.9, "decision": "block"}, "hidden", "unknown"),
        ({"score": 0.2, "decision": "pass"}, "1", "negative"),
        ({"score": 0.9, "decision": "pass", "explored": True, "propensity": 0.05}, "0.05", "negative"),
        ({"score": 0.2, "decision": "pass", "explored": True, "propensity": 0.05}, "1", "negative"),
        ({"score": 0.9, "decision": "pass", "explored": True, "threshold_policy": "old"}, "other", "negative"),
        ({"score": 0.9, "decision": "pass", "explored": True, "propensity": float("nan")}, "other", "negative"),
    ],
)
def test_what_a_decision_hides_is_no_negative_and_what_explores_has_its_propensity(changes, stratum, outcome) -> None:
    book = book_of([scored(0, **changes)], [TICK], facts(hidden_by="block"))
    assert counted(book, key_of(0, stratum=stratum), outcome) == 1


def test_a_shadows_outcome_is_hidden_by_what_was_served_and_not_by_what_it_would_have_decided() -> None:
    live, shadow = scored(0, 0.9), scored(0, 0.1, version="2", arm="shadow", is_shadow=True)
    book = book_of([live, shadow], [TICK], facts(hidden_by="block"))
    key = key_of(0, version="2", arm="shadow", stratum="hidden")
    assert (counted(book, key, "unknown"), counted(book, key, "negative")) == (1, 0)


def test_groups_are_counted_by_day_beside_all_events() -> None:
    book = book_of([scored(n) for n in range(6)], [TICK])
    key = key_of(0, group="event.shop", value="2", begin_ms=BEGIN_MS // DAY_MS * DAY_MS)
    assert counted(book, key, "negative") == 2


def test_of_two_predictions_of_one_event_the_first_counts() -> None:
    first, again = scored(0, 0.9), scored(0, 0.1, rank=(BEGIN_MS + 5, 0, 9, 9))
    for order in ([first, again], [again, first]):
        found = total(book_of(order, [TICK]))
        assert found.cells == total(book_of([first], [TICK])).cells


def test_events_are_forgotten_two_horizons_later_and_stay_counted() -> None:
    book = book_of([scored(0), scored(99)], [label(0, True), label(99, None, age_ms=0)])
    assert "event-0" not in book.queue.events
    assert total(book).count("positive") == 1
    book.observe([scored(0)], [label(0, False)])
    assert (book.late, book.unmatched) == (1, 1)
    assert total(book).count("positive") == 1


def test_labels_of_events_that_are_never_scored_are_forgotten_and_told() -> None:
    book = book_of([scored(99)], [label(0, True), label(99, None, age_ms=0)])
    assert set(book.queue.events) == {"event-99"}
    assert book.unmatched == 1


def test_while_no_prediction_comes_labels_wait_for_theirs() -> None:
    book = book_of([scored(0)], [label(n, True) for n in range(500)])
    book.observe([scored(n) for n in range(1, 480)], [])
    assert total(book).count("positive") == 480


def test_matured_events_come_in_order_of_event_time() -> None:
    book = Book(facts())
    book.observe([scored(n) for n in (5, 3, 9, 1)], [])
    matured = book.advance(Reached(mature_ms=BEGIN_MS + 60_000))
    assert [one.event_id for one in matured] == ["event-1", "event-3", "event-5", "event-9"]


def test_many_events_mature_and_are_forgotten_some_at_a_time_in_order_and_none_before_it_is_counted(monkeypatch):
    monkeypatch.setattr(maturity_queue, "_MOST_AT_ONCE", 2)
    book = Book(facts())
    book.observe([scored(number) for number in (3, 0, 4, 1, 2)], [])
    reached = Reached(mature_ms=BEGIN_MS + 10 * HORIZON_MS, forget_ms=BEGIN_MS + 10 * HORIZON_MS)
    found, waiting, times = [], [], []
    for _ in range(5):
        found.append([one.event_id for one in book.advance(reached)])
        waiting.append(len(book.queue.events))
        times.append(book.reached(reached).mature_ms)
    assert found == [["event-0", "event-1"], ["event-2", "event-3"], ["event-4"], [], []]
    assert waiting == [5, 5, 3, 1, 0]
    # What is said to be counted is: whoever counts again up to there finds the same.
    assert times == [BEGIN_MS + HORIZON_MS + 1_000, BEGIN_MS + HORIZON_MS + 3_000, *[reached.mature_ms] * 3]
    assert total(book).count("negative") == 5


def test_days_of_long_ago_are_dropped_also_for_events_that_come_then() -> None:
    book = book_of([scored(0)], [TICK])
    book.saved()
    book.advance(Reached(mature_ms=BEGIN_MS + KEPT_MS + 2 * DAY_MS))
    assert book.histograms == {}
    assert book.records()[0] == dict.fromkeys((key_of(0).encode(), *_keys_of_groups()), None)
    book.observe([scored(1)], [])
    assert book.histograms == {}


def _keys_of_groups():
    return [key_of(0, group="event.shop", value="0", begin_ms=BEGIN_MS // DAY_MS * DAY_MS).encode()]


def test_a_group_of_very_many_values_is_refused() -> None:
    with pytest.raises(PenstockError, match="more than 1,000 values"):
        book_of([scored(n, groups=(str(n),)) for n in range(1_001)], [])


def test_what_comes_and_goes_between_two_saves_is_never_written() -> None:
    book = Book(facts())
    book.observe([scored(0)], [])
    book.saved()
    book.observe([scored(1)], [])
    book.advance(Reached(mature_ms=BEGIN_MS + 90_000, forget_ms=BEGIN_MS + 90_000))
    assert book.records()[1] == {b"event-0": None}


def test_an_id_that_comes_again_before_it_is_saved_that_it_was_forgotten_is_removed_in_the_end() -> None:
    book = Book(facts())
    book.observe([scored(0)], [])
    book.saved()
    book.advance(Reached(mature_ms=BEGIN_MS + 90_000, forget_ms=BEGIN_MS + 90_000))
    book.observe([scored(0, event_time_ms=BEGIN_MS + 200_000)], [])
    book.advance(Reached(mature_ms=BEGIN_MS + 900_000, forget_ms=BEGIN_MS + 900_000))
    assert book.records()[1] == {b"event-0": None}


# Properties: of any world, in any order, in any parts, with any restarts.

_EVENTS = st.lists(
    st.builds(
        lambda number, score, kind: (
            scored(
                number,
                score,
                decision="block" if score >= 0.5 and not kind["explored"] else "pass",
                **kind,
            )
            if not kind["is_shadow"]
            else scored(number, score, version="2", arm="shadow", is_shadow=True)
        ),
        st.integers(0, 15),
        st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
        st.fixed_dictionaries(
            {"explored": st.booleans(), "propensity": st.just(0.1), "is_shadow": st.booleans()},
        ),
    ),
    max_size=12,
    unique_by=lambda one: (one.event_id, one.name),
)
_LABELS = st.lists(
    st.builds(
        lambda number, value, age, offset: label(number, value, age_ms=age, offset=offset)._replace(source=offset % 2),
        st.integers(0, 15),
        st.sampled_from([True, False, None]),
        st.sampled_from([0, 1_000, 5_000, HORIZON_MS, HORIZON_MS + 1_000, 15_000]),
        st.integers(0, 10_000),
    ),
    max_size=15,
    unique_by=lambda one: one.rank,
)


def naive(predictions, labels, settings, mature_ms) -> dict[Key, Histogram]:
    """What is to be counted, by a second look at everything for each event."""
    found: dict[Key, Histogram] = {}
    for one in predictions:
        event = Event(one.event_id)
        for other in predictions:
            if other.event_id == one.event_id:
                event.add_prediction(other)
        for known in labels:
            if known.event_id == one.event_id:
                event.add_label(known)
        event.is_mature = mature_ms is not None and one.event_time_ms + HORIZON_MS <= mature_ms
        event_of_one = [(key, entry) for key, entry in event.counts(settings) if key.arm == one.arm]
        for key, entry in event_of_one:
            found.setdefault(key, Histogram()).add(entry)
    return found


@settings(max_examples=100, deadline=None)
@given(_EVENTS, _LABELS, st.sampled_from([None, "block"]), st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_parts_and_restarts_leave_no_trace(predictions, labels, hidden_by, random, parts) -> None:
    config = facts(hidden_by=hidden_by)
    records = [*predictions, *labels]
    random.shuffle(records)
    cuts = sorted(random.randint(0, len(records)) for _ in range(parts - 1))
    book, saved, waiting = Book(config), dict[bytes, bytes](), dict[bytes, bytes]()
    mature_ms = None
    for begin, end in pairwise([0, *cuts, len(records)]):
        some = records[begin:end]
        known = [one for one in some if not hasattr(one, "score")]
        book.observe([one for one in some if hasattr(one, "score")], known)
        mature_ms = max([*(one.known_at_ms for one in known), *filter(None, [mature_ms])], default=None)
        book.advance(Reached(mature_ms=mature_ms))
        for kept, changes in zip((saved, waiting), book.records(), strict=True):
            for key, value in changes.items():
                if value is None:
                    kept.pop(key, None)  # perhaps it was never saved
                else:
                    kept[key] = value
        book = Book(  # killed, and started again
            config,
            {Key.decode(key): Histogram.decode(value) for key, value in saved.items()},
            [Event.decode(key.decode(), value) for key, value in waiting.items()],
            Reached(mature_ms=mature_ms),
        )
    assert book.histograms == naive(predictions, labels, config, mature_ms)


@settings(max_examples=50, deadline=None)
@given(_EVENTS, _LABELS, st.integers(0, 15))
def test_what_a_retracted_label_had_changed_is_as_if_it_had_never_come(predictions, labels, number) -> None:
    labels = [one for one in labels if one.value is not None]
    book = book_of(predictions, [*labels, TICK], facts(absent="excluded"))
    before = dict(book.histograms)
    before = {key: Histogram.decode(histogram.encode()) for key, histogram in before.items()}
    extra = label(number, True, age_ms=HORIZON_MS, offset=20_000)
    book.observe([], [extra])
    book.observe([], [extra._replace(rank=(extra.rank[0], extra.rank[1], 0, 20_001), value=None)])
    known = [one for one in labels if one.event_id == extra.event_id and one.known_at_ms <= extra.known_at_ms]
    if not known:
        assert book.histograms == before
