"""Recall on a model of the topics: what is read, and that no event is ever scored twice or left out."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from scoring.history import HistoryUnavailableError
from scoring.look_back import Ends
from scoring.memory import EventPosition, in_columns
from scoring.recall import OtherLogError, Recall

RAW = "events.taps"
YEAR = 365 * 86_400_000
NOW = 1_772_366_400_000


class Topics:
    """The answers of one partition, its committed offset's metadata, and the end of the raw topic."""

    def __init__(self) -> None:
        self.answers: tuple[list[tuple[int, EventPosition]], ...] = ([], [])  # predictions, dead letters: dated
        self.metadata: str | None = None
        self.raw = 0
        self.raw_denied = False
        self.reachable = True
        self.read = 0
        self._known: list[int | None] = [None, None]

    # The history.

    def ends(self, _: int) -> Ends:
        if not self.reachable:
            raise HistoryUnavailableError("no broker")
        return Ends(*map(len, self.answers))

    def raw_end(self, _: int) -> int:
        if self.raw_denied:
            raise HistoryUnavailableError("denied")
        return self.raw

    def starts_at(self, _: int, since: int) -> Ends:
        return Ends(*(next((i for i, (at, _) in enumerate(t) if at >= since), len(t)) for t in self.answers))

    def read_from(self, _: int, starts: Ends) -> Iterator[EventPosition]:
        for number, (topic, start) in enumerate(zip(self.answers, starts, strict=True)):
            known = self._known[number]
            end = len(topic) if known is None else known
            for _, event in topic[start:end]:
                self.read += 1
                yield event
            self._known[number] = min(start, end)

    def forget(self, _: int) -> None:
        self._known = [None, None]

    # The scorer.

    def answer(self, event: EventPosition, now: int, *, dead: bool = False) -> None:
        self.answers[dead].append((max(now, event.timestamp), event))


class Rig:
    """A scorer over the topics, that can be started again."""

    def __init__(self, max_chunks: int = 256) -> None:
        self.topics = Topics()
        self.now = NOW
        self._max_chunks = max_chunks
        self.restart()

    def restart(self) -> None:
        self.topics.forget(0)
        self.recall = Recall(
            RAW, self.topics, lambda _: self.topics.metadata, clock=lambda: self.now / 1000, max_chunks=self._max_chunks
        )

    def score(self, *events: EventPosition, dead: bool = False, abort: bool = False) -> list[EventPosition]:
        """Score and commit a batch; returns the events that were scored."""
        new = self.claim(*events)
        if abort:
            self.recall.forget_all()
            return []
        self.commit(new, dead=dead)
        return new

    def claim(self, *events: EventPosition) -> list[EventPosition]:
        """Score a batch without committing it; returns the events that were scored."""
        self.topics.raw = max(self.topics.raw, *(event.offset + 1 for event in events), 0)
        self.recall.prepare(0)
        blocks = list(in_columns(events))
        claimed = self.recall.claim(0, blocks)
        return [event for some, mask in zip(blocks, claimed, strict=True) for event in some.where(mask).positions()]

    def commit(self, events: list[EventPosition], *, dead: bool = False) -> None:
        """Commit the answers to what was claimed, and what is known by now."""
        for event in events:
            self.topics.answer(event, self.now, dead=dead)
        self.topics.metadata = self.recall.metadata(0)


def event(offset: int, timestamp: int = NOW) -> EventPosition:
    return EventPosition(RAW, 0, offset, timestamp)


def run_for_a_day(rig: Rig, minutes: int = 1_440) -> None:
    """One batch of ten events each minute, each dated when it is scored."""
    for minute in range(minutes):
        rig.now += 60_000
        rig.score(*(event(minute * 10 + n, rig.now) for n in range(10)))


def test_a_record_dated_years_ago_makes_a_new_scorer_read_nothing_because_it_is_above_all_that_was_answered():
    rig = Rig()
    run_for_a_day(rig)
    rig.restart()
    assert rig.score(event(14_400, NOW - 5 * YEAR)) == [event(14_400, NOW - 5 * YEAR)]
    assert rig.topics.read == 0


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("timestamp", [NOW - 5 * YEAR, -1, NOW + 5 * YEAR])
def test_a_record_of_any_date_that_is_emitted_again_is_not_scored_again(timestamp, dead):
    rig = Rig()
    run_for_a_day(rig)
    odd = event(14_400, timestamp)
    rig.score(odd, dead=dead)
    run_a_while_longer = [event(14_401 + n, rig.now) for n in range(100)]
    rig.score(*run_a_while_longer)
    rig.restart()
    assert rig.score(odd, *run_a_while_longer) == []


def test_for_a_record_dated_years_ago_only_what_was_answered_since_it_was_passed_is_read():
    rig = Rig()
    run_for_a_day(rig)
    odd = event(14_400, NOW - 5 * YEAR)
    rig.score(odd)
    rig.restart()
    assert rig.score(odd) == []
    assert rig.topics.read <= 20  # of 14,401
    assert rig.score(odd) == []
    assert rig.topics.read <= 20


def test_the_answers_are_read_by_time_where_that_is_less():
    rig = Rig()
    rig.score(*(event(n) for n in range(100)))
    rig.now += 60_000
    rig.score(*(event(100 + n, rig.now) for n in range(10)))
    rig.restart()
    assert rig.score(*(event(100 + n, rig.now) for n in range(10))) == []
    assert rig.topics.read == 10


def test_a_producer_that_dates_every_record_long_ago_costs_one_read():
    rig = Rig()
    run_for_a_day(rig)
    old = [event(14_400 + n, NOW - YEAR - n) for n in range(200)]
    rig.score(*old[:100])
    rig.restart()
    for one in old:
        assert rig.score(one) == ([one] if one.offset >= 14_500 else [])
    assert rig.topics.read <= 120


def test_where_no_commit_says_it_no_answer_is_to_an_event_that_did_not_exist():
    rig = Rig()
    run_for_a_day(rig)
    rig.topics.metadata = None
    rig.restart()
    old = [event(14_400 + n, NOW - YEAR) for n in range(3)]
    assert rig.score(old[0]) == [old[0]]
    assert rig.topics.read == 14_400  # it existed already when the first mark was made
    rig.restart()
    assert rig.score(old[1]) == [old[1]]
    rig.restart()
    assert rig.score(old[1], old[2]) == [old[2]]
    assert rig.topics.read <= 14_402


def test_while_the_raw_topic_cannot_be_asked_events_are_looked_for_by_their_timestamps(caplog):
    rig = Rig()
    rig.score(*(event(n) for n in range(10)))
    rig.topics.metadata, rig.topics.raw_denied = None, True
    rig.restart()
    assert rig.score(event(3), event(10)) == [event(10)]
    assert rig.topics.metadata == ""
    assert sum("until Kafka tells the end" in message for message in caplog.messages) == 1
    rig.topics.raw_denied = False
    rig.now += 60_000
    rig.score(event(11))
    assert '"highest":11' in rig.topics.metadata


def test_predictions_made_anew_are_not_looked_for_at_the_old_offsets():
    rig = Rig()
    run_for_a_day(rig)
    rig.topics.answers = ([], [])
    rig.restart()
    assert rig.score(event(14_399)) == [event(14_399)]
    rig.restart()
    assert rig.score(event(14_399)) == []


def test_a_topic_made_anew_is_recognised_by_the_other_timestamp():
    rig = Rig()
    run_for_a_day(rig, minutes=10)
    rig.restart()
    with pytest.raises(OtherLogError):
        rig.score(*(event(n, NOW - n * 10_000) for n in range(50)))


def test_nothing_is_scored_while_the_topics_cannot_be_asked():
    rig = Rig()
    rig.topics.reachable = False
    with pytest.raises(HistoryUnavailableError):
        rig.score(event(0))


def test_an_aborted_batch_leaves_no_trace():
    rig = Rig()
    rig.score(event(0))
    rig.score(event(5), abort=True)
    assert rig.score(event(1), event(5)) == [event(1), event(5)]


def test_an_event_whose_answer_is_being_committed_is_not_scored_again():
    rig = Rig()
    rig.score(event(0))
    assert rig.claim(event(1)) == [event(1)]
    assert rig.claim(event(1), event(2), event(2)) == [event(2)]


def test_before_anything_is_read_all_answers_must_be_committed():
    rig = Rig()
    rig.score(event(5))
    assert not rig.recall.reads(0, list(in_columns([event(6)])))
    assert rig.recall.reads(1, [])
    rig.restart()
    assert rig.recall.reads(0, [])
    rig.score(event(7))
    assert not rig.recall.reads(0, list(in_columns([event(9)])))
    assert rig.recall.reads(0, list(in_columns([event(4, NOW - YEAR)])))  # answered or not: only the topic tells


def test_a_policy_is_taken_up_by_the_first_newly_scored_event_and_not_again_until_there_is_another():
    rig = Rig()
    rig.score(event(0))
    assert [rig.recall.take_up(0, policy) for policy in ("a", "a", "b", "b", "a")] == [True, False, True, False, True]


def test_the_policy_is_committed_with_the_answers_and_the_next_scorer_knows_it():
    rig = Rig()
    rig.claim(event(0))
    rig.recall.take_up(0, "a")
    rig.commit([event(0)])
    rig.restart()
    assert rig.score(event(0), event(1)) == [event(1)]
    assert not rig.recall.take_up(0, "a")
    assert rig.recall.take_up(0, "b")


def test_after_an_abort_the_policy_is_taken_up_again():
    rig = Rig()
    rig.score(event(0))
    rig.claim(event(1))
    assert rig.recall.take_up(0, "a")
    rig.recall.forget_all()
    rig.claim(event(1))
    assert rig.recall.take_up(0, "a")


def test_a_scorer_that_commits_nothing_new_keeps_the_policy_that_is_noted():
    rig = Rig()
    rig.claim(event(0))
    rig.recall.take_up(0, "a")
    rig.commit([event(0)])
    rig.restart()
    assert rig.score(event(0)) == []
    assert '"policy":"a"' in rig.topics.metadata


def test_the_policy_is_noted_where_it_is_not_known_how_far_back_answers_lie():
    rig = Rig()
    rig.score(event(0))
    rig.topics.metadata, rig.topics.raw_denied = None, True
    rig.restart()
    rig.claim(event(1))
    assert rig.recall.take_up(0, "a")
    rig.commit([event(1)])
    assert rig.topics.metadata == '{"policy":"a"}'
    rig.restart()
    assert rig.score(event(0), event(1), event(2)) == [event(2)]
    assert not rig.recall.take_up(0, "a")


def test_where_another_tool_has_committed_the_offset_the_policy_is_taken_up_again():
    rig = Rig()
    rig.claim(event(0))
    rig.recall.take_up(0, "a")
    rig.commit([event(0)])
    rig.topics.metadata = ""
    rig.restart()
    rig.score(event(1))
    assert rig.recall.take_up(0, "a")


@seed(2)
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_with_answers_on_their_way_each_event_is_scored_exactly_once(number):
    """While one batch is being committed others are scored; if it fails they are thrown away with it."""
    rng = random.Random(number)
    rig = Rig(max_chunks=rng.choice([1, 256]))
    spread = rng.choice([1, 7_000, 70_000])
    dates: list[int] = []
    on_their_way: list[list[EventPosition]] = []
    ends: list[int] = []
    position = committed = 0

    def settle(batches: int) -> None:
        nonlocal position, committed
        for _ in range(batches):
            if rng.random() < 0.15:
                on_their_way.clear()
                ends.clear()
                rig.recall.forget_all()
                position = min(position, committed)
                return
            rig.commit(on_their_way.pop(0), dead=rng.random() < 0.2)
            committed = max(committed, ends.pop(0))

    for _ in range(150):
        rig.now += rng.choice([1, 1_000, 20_000])
        dates += [rig.now - rng.choice([0, 0, 5_000, YEAR, -YEAR]) for _ in range(rng.randrange(4))]
        rig.topics.raw = len(dates) * spread
        if rng.random() < 0.1:
            position = rng.randrange(len(dates) + 1)  # the job emits again from here
        batch = [event(n * spread, dates[n]) for n in range(position, min(len(dates), position + rng.randrange(5)))]
        if rig.recall.reads(0, list(in_columns(batch))):
            before = position
            settle(len(on_their_way))
            if position != before:
                continue
        position += len(batch)
        on_their_way.append(rig.claim(*batch))
        ends.append(position)
        if len(on_their_way) > 2:
            settle(rng.randrange(3))
    for answers in on_their_way:
        rig.commit(answers)
    rig.restart()
    everything = [event(n * spread, date) for n, date in enumerate(dates)]
    if everything:
        rig.score(*everything)
    assert sorted(answer for topic in rig.topics.answers for _, answer in topic) == sorted(everything)


@seed(1)
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_under_random_dates_rewinds_restarts_and_losses_each_event_is_scored_exactly_once(number):
    """The job goes back at random and emits out of order; raw records are dated at random; memory is tiny."""
    rng = random.Random(number)
    rig = Rig(max_chunks=1)
    spread = rng.choice([1, 7_000, 70_000])  # from all events in one chunk of memory to each in its own
    dates: list[int] = []
    scored: list[EventPosition] = []
    position = 0
    for _ in range(150):
        rig.now += rng.choice([1, 1_000, 20_000])
        dates += [rig.now - rng.choice([0, 0, 0, 5_000, YEAR, NOW + 1, -YEAR]) for _ in range(rng.randrange(4))]
        rig.topics.raw = len(dates) * spread
        if rng.random() < 0.05:
            position = rng.randrange(len(dates) + 1)  # the job starts again from here
        if rng.random() < 0.1:
            rig.restart()
        if rng.random() < 0.03:
            rig.topics.metadata = rng.choice([None, "", "{}"])
            rig.restart()
        rig.topics.raw_denied = rng.random() < 0.1
        batch = list(range(position, min(len(dates), position + rng.randrange(5))))
        position += len(batch)
        rng.shuffle(batch)
        if batch:
            events = [event(n * spread, dates[n]) for n in batch]
            scored += rig.score(*events, dead=rng.random() < 0.2, abort=rng.random() < 0.1)
            if len(scored) < len(set(scored)):
                break
        if rng.random() < 0.1:
            position = 0
    rig.restart()
    everything = [event(n * spread, date) for n, date in enumerate(dates)]
    if everything:
        scored += rig.score(*everything)
    assert sorted(scored) == sorted(everything)


def test_events_of_another_topic_with_equal_offsets_are_scored_once_also_after_restarts() -> None:
    rig = Rig()
    own = [event(offset, NOW + offset) for offset in range(6)]
    others = [one._replace(topic="events.app") for one in own]
    for some in ([own[0], others[0]], [others[1], own[1]], [own[2]], [others[3]]):
        assert sorted(rig.score(*some)) == sorted(some)
        rig.restart()
        assert rig.score(*own[:1], *some) == []
        assert rig.score(*some, *own[:1], *others[:1]) == []
    assert sorted(rig.score(*own, *others)) == sorted([own[3], own[4], own[5], others[2], others[4], others[5]])
