"""Final labels are watched by version: each once, over restarts, with what cannot be taken back kept as odd."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.quality import label_watch
from scoring.quality.book import Book
from scoring.quality.histograms import DAY_MS
from scoring.quality.label_watch import LabelWatch, Matured, Taken, WatchState
from tests.scoring.quality.quality_worlds import BEGIN_MS, HORIZON_MS, book_of, facts, label, reached_by, scored

EVERY = 10_000


def final(number: int, *, positive: bool = True, score: float = 0.1, **changes: object) -> Matured:
    """The final label of a numbered event, of which there is one each minute."""
    outcome = "positive" if positive else "negative"
    at = BEGIN_MS + 60_000 * number
    one = Matured(f"event-{number:05}", at, "1", "present", score, outcome, (number % 2, number))
    return one._replace(**changes)  # type: ignore[arg-type]


def test_labels_that_do_not_agree_with_scores_are_one_alarm_a_day_that_says_what_was_expected() -> None:
    watch = LabelWatch(EVERY)
    for number in range(2 * 1_440):
        watch.take(final(number, positive=number % 2 == 0))
    first, second = watch.alarms[:2]
    assert len(watch.alarms) == 2
    assert first.observed > 0.4
    assert round(first.expected, 6) == 0.1
    assert first.found.statistic >= first.found.threshold == 2 * EVERY
    assert second.at.event_time_ms - first.at.event_time_ms >= DAY_MS


def test_labels_that_agree_with_scores_or_nearly_so_are_none() -> None:
    watch = LabelWatch(EVERY)
    for number in range(3_000):
        watch.take(final(number, positive=number % 10 == 0, score=0.12))
    assert watch.alarms == []


def test_what_is_not_known_another_model_and_a_pipeline_without_monitors_are_not_watched() -> None:
    watch = LabelWatch(EVERY)
    assert watch.take(final(0, outcome="unknown")) is None
    assert watch.take(final(0, version="small:1")) is None
    assert watch.state() == WatchState()
    assert LabelWatch(None).take(final(0)) is None


def test_each_version_has_a_detector_of_its_own() -> None:
    watch = LabelWatch(EVERY)
    for number in range(400):
        watch.take(final(number, positive=number % 2 == 0, version=str(1 + number % 2)))
    assert {one.at.version for one in watch.alarms} == {"1", "2"}  # too many of one, too few of the other


@settings(max_examples=20, derandomize=True, deadline=None)
@given(
    labels=st.lists(st.tuples(st.booleans(), st.sampled_from([0.05, 0.3, 0.9])), min_size=1, max_size=120),
    cuts=st.sets(st.integers(0, 120), max_size=3),
)
def test_restored_it_goes_on_as_if_it_had_never_stopped(labels, cuts) -> None:
    whole, parts = LabelWatch(EVERY), LabelWatch(EVERY)
    alarms = []
    for number, (positive, score) in enumerate(labels):
        if number in cuts:
            alarms += parts.alarms
            parts = LabelWatch(EVERY, WatchState.model_validate_json(parts.state().model_dump_json()), parts.odd)
        one = final(37 * number % 100, positive=positive, score=score)
        assert whole.take(one) == parts.take(one)
    assert (alarms + parts.alarms, parts.odd, parts.state()) == (whole.alarms, whole.odd, whole.state())


def test_a_label_out_of_order_is_taken_and_kept_as_odd() -> None:
    watch = LabelWatch(EVERY)
    watch.take(final(5))
    assert watch.take(final(3)) == Taken("1", 1, 0.1, True)
    assert watch.odd == {"event-00003": Taken("1", 1, 0.1, True)}


def test_more_odd_labels_than_can_be_kept_are_counted(monkeypatch) -> None:
    monkeypatch.setattr(label_watch, "MOST_ODD", 2)
    watch = LabelWatch(EVERY)
    for number in reversed(range(6)):
        watch.take(final(number))
    assert (len(watch.odd), watch.state().odd_lost) == (2, 3)


# Of the book, what it gives to the detectors.

WATCHED = facts(false_alarm_every=EVERY, absent="excluded")


def test_a_label_that_is_withdrawn_in_time_is_never_taken() -> None:
    scores = [scored(number) for number in range(3)]
    labels = [label(number, True) for number in range(3)] + [
        label(1, None, age_ms=3_000),
        label(2, True, age_ms=20_000),
    ]
    book = book_of(scores, labels, WATCHED)
    assert book.watch.state().versions["1"].taken == 2
    assert book.watch.odd == {}


def test_a_label_that_is_corrected_or_withdrawn_after_it_was_taken_stays_and_is_odd() -> None:
    scores = [scored(number) for number in range(3)]
    labels = [label(number, True) for number in range(3)] + [label(20, True)]
    book = book_of(scores, labels, WATCHED)
    book.observe([], [label(0, False, age_ms=4_000), label(1, None, age_ms=4_000)])
    assert book.watch.state().versions["1"].taken == 3
    assert book.watch.odd == {"event-0": Taken("1", 0, 0.25, True), "event-1": Taken("1", 1, 0.25, True)}
    book.observe([], [label(0, False, age_ms=5_000)])  # once is enough
    assert len(book.watch.odd) == 2


def test_what_becomes_known_after_it_was_final_is_taken_then_and_once() -> None:
    scores = [scored(number) for number in range(4)]
    labels = [label(number, True) for number in (1, 2)] + [label(20, True)]
    book = book_of(scores, labels, WATCHED)
    for _ in range(2):
        book.observe([], [label(0, True), label(3, False)])
    assert book.watch.state().versions["1"].taken == 4
    assert book.watch.odd == {"event-0": Taken("1", 2, 0.25, True)}  # event 3 comes in its order


def test_a_saved_event_knows_what_was_taken_of_it() -> None:
    book = book_of([scored(0)], [label(0, True), label(20, True)], WATCHED)
    _, waiting = book.records()
    event = type(book.queue.events["event-0"]).decode("event-0", waiting[b"event-0"] or b"")
    assert event.taken == Taken("1", 0, 0.25, True)
    again = Book(WATCHED, events=[event], reached=reached_by([label(20, True)], [scored(0)]), watch=book.watch)
    again.observe([], [label(0, False, age_ms=HORIZON_MS)])
    assert again.watch.odd == {"event-0": Taken("1", 0, 0.25, True)}


def test_what_is_saved_is_not_written_again() -> None:
    book = Book(WATCHED)
    for number in range(300):
        book.watch.take(final(number))
    book.watch.take(final(5, event_id="late"))
    assert (len(book.watch.alarms), book.watch.changed_odd) == (1, {"late"})
    book.saved()
    assert (book.watch.alarms, book.watch.changed_odd) == ([], set())
    assert "late" in book.watch.odd
