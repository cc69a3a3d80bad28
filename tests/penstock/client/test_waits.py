"""Who waits for what: each event is sent once, the first answer stays, and nothing grows without bound."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.client.answers import Answer, Prediction, Refusal
from penstock.client.waits import Asked, Begun, Busy, Conflict, Place, Waits

FUTURE = Refusal("penstock.FutureEvent", "validate", "event_time: too far ahead")
FAILED = Refusal("penstock.ModelFailed", "score", "the model fails")
BLOCK = Prediction(1, "block", 0.9, "m", "3", 5)


def decode(value: bytes) -> Prediction | None:
    return None if value == b"junk" else Prediction(int(value), "block", 0.9, "m", "3", 5)


def waits(most_in_flight: int = 2, most_remembered: int = 3) -> Waits:
    return Waits(most_in_flight, most_remembered, decode)


def fallback(event_id: str, reason: str = "late") -> Answer:
    return Answer(event_id, "pass", None, None, None, "fallback", reason, 200.0)


def sent(table: Waits, event_id: str = "a", at: int = 0) -> Asked:
    """An event that was asked for and is acknowledged."""
    asked, begun = table.begin(event_id, 1, b"content", 10.0)
    assert begun is Begun.SEND
    table.acknowledged(asked, Place(0, at))
    return asked


def test_a_prediction_answers_all_who_wait_for_the_event_which_is_sent_once() -> None:
    table = waits()
    asked = sent(table)
    again, begun = table.begin("a", 1, b"content", 10.1)
    assert (again, begun) == (asked, Begun.JOIN)
    assert table.predicted("a", b"1", 10.25) is asked
    assert asked.known.done()
    assert asked.given == Answer("a", "block", 0.9, "m", "3", "model", None, 250.0)
    for _ in range(2):
        table.leave(asked)
    assert table.begin("a", 1, b"content", 11.0) == (asked, Begun.SETTLED)
    assert table.in_flight == 0


def test_a_fallback_stays_the_answer_and_the_late_prediction_can_be_looked_up() -> None:
    table = waits()
    asked = sent(table)
    joined, _ = table.begin("a", 1, b"content", 10.1)
    late = table.give(asked, fallback("a"))
    assert joined.known.done()
    assert table.predicted("a", b"1", 12.0) is asked
    assert table.give(joined, fallback("a", "another")) is late
    assert table.begin("a", 1, b"content", 13.0)[1] is Begun.SETTLED
    known = table.lookup("a")
    assert known is not None
    assert (known.answer, known.prediction) == (late, BLOCK)


@pytest.mark.parametrize(("event_time", "content"), [(1, b"other"), (2, b"content")])
def test_the_id_of_another_event_is_a_conflict_and_does_not_disturb_the_first(event_time: int, content: bytes) -> None:
    table = waits()
    asked = sent(table)
    with pytest.raises(Conflict):
        table.begin("a", event_time, content, 10.0)
    table.predicted("a", b"1", 10.1)
    assert asked.given is not None


def test_a_prediction_of_another_event_with_the_same_id_answers_nobody() -> None:
    table = waits()
    asked = sent(table)
    assert table.predicted("a", b"2", 10.1) is None
    assert not asked.known.done()


@pytest.mark.parametrize("letter_first", [False, True], ids=["after the acknowledgement", "before it"])
@pytest.mark.parametrize("refusal", [FUTURE, FAILED], ids=lambda refusal: refusal.stage)
def test_a_dead_letter_ends_the_wait(refusal: Refusal, letter_first: bool) -> None:
    table = waits()
    asked, _ = table.begin("a", 1, b"content", 10.0)
    if letter_first:
        table.refused(Place(0, 7), refusal)
    table.acknowledged(asked, Place(0, 7))
    if not letter_first:
        table.refused(Place(0, 7), refusal)
    assert asked.known.done()
    # What the job refuses is the sender's fault; where the model fails, the caller still needs a decision.
    assert asked.is_refused == (refusal is FUTURE)
    assert asked.no_prediction == refusal.reason
    assert (table.begin("a", 1, b"content", 10.0)[1] is Begun.SETTLED) == (refusal is FUTURE)


def test_a_refused_event_that_was_replayed_gets_its_prediction() -> None:
    table = waits()
    asked = sent(table, at=7)
    table.refused(Place(0, 7), FUTURE)
    table.predicted("a", b"1", 99.0)
    assert not asked.is_refused
    assert table.begin("a", 1, b"content", 100.0)[0].given is not None


def test_an_event_that_kafka_did_not_take_is_sent_again_when_it_is_asked_for_again() -> None:
    table = waits()
    asked, _ = table.begin("a", 1, b"content", 10.0)
    table.undelivered(asked)
    assert (asked.known.done(), asked.no_prediction) == (True, "not_sent")
    table.leave(asked)
    assert table.begin("a", 1, b"content", 10.0)[1] is Begun.SEND


def test_what_others_sent_is_answered_from_its_prediction_unless_the_id_is_of_another_event() -> None:
    table = waits()
    table.predicted("b", b"1", 9.0)
    table.predicted("c", b"junk", 9.0)
    with pytest.raises(Conflict):
        table.begin("b", 2, b"content", 10.0)
    asked, begun = table.begin("b", 1, b"content", 10.0)
    assert (begun, asked.given and asked.given.decision) == (Begun.SETTLED, "block")
    assert table.lookup("c") is None
    assert table.begin("c", 1, b"content", 10.0)[1] is Begun.SEND


def test_no_more_wait_and_no_more_are_sent_than_allowed_while_answers_are_still_given() -> None:
    table = waits(most_in_flight=2)
    table.predicted("known", b"1", 9.0)
    table.begin("a", 1, b"content", 10.0)
    table.begin("b", 1, b"content", 10.0)
    for event_id in ("a", "c"):
        with pytest.raises(Busy):
            table.begin(event_id, 1, b"content", 10.0)
    assert table.begin("known", 1, b"content", 10.0)[1] is Begun.SETTLED


def test_events_that_kafka_has_not_acknowledged_count_although_nobody_waits_any_more() -> None:
    table = waits(most_in_flight=1)
    asked, _ = table.begin("a", 1, b"content", 10.0)
    table.give(asked, fallback("a"))
    table.leave(asked)
    with pytest.raises(Busy):
        table.begin("b", 1, b"content", 10.0)
    table.acknowledged(asked, Place(0, 0))
    assert table.begin("b", 1, b"content", 10.0)[1] is Begun.SEND


def test_an_event_in_flight_is_not_forgotten_however_many_are_asked_for_after_it() -> None:
    table = waits(most_in_flight=2, most_remembered=1)
    asked, _ = table.begin("a", 1, b"content", 10.0)
    for number in range(10):
        later = sent(table, f"later-{number}", at=number)
        table.give(later, fallback(later.event_id))
        table.leave(later)
    assert table.predicted("a", b"1", 11.0) is asked
    assert table.lookup("later-0") is None


def test_what_is_in_flight_for_long_does_not_keep_what_was_asked_for_after_it() -> None:
    table = waits(most_in_flight=2, most_remembered=1)
    table.begin("slow", 1, b"content", 10.0)
    for number in range(3):
        later = sent(table, f"later-{number}", at=number)
        table.give(later, fallback(later.event_id))
        table.leave(later)
    assert table.lookup("slow") is not None
    assert [number for number in range(3) if table.lookup(f"later-{number}")] == [1, 2]


def test_events_at_one_place_of_a_topic_that_was_made_anew_are_both_answered_and_keep_no_slot() -> None:
    table = waits(most_in_flight=2)
    old, new = sent(table, "a", at=0), sent(table, "b", at=0)
    assert table.predicted("b", b"1", 11.0) is new
    assert table.predicted("a", b"1", 11.0) is old
    for asked in (old, new):
        table.leave(asked)
    assert table.in_flight == 0
    table.refused(Place(0, 0), FUTURE)
    assert (old.refusal, new.refusal) == (None, None)


class Clients(RuleBasedStateMachine):
    """Calls, acknowledgements, predictions, letters and deadlines in any order, beside a naive account."""

    def __init__(self) -> None:
        super().__init__()
        self.table = waits(most_in_flight=3, most_remembered=2)
        self.calls: list[Asked] = []
        self.sending: dict[str, Asked] = {}
        self.given: dict[int, Any] = {}
        self.kept: list[Asked] = []
        self.offset = 0

    ids = st.sampled_from("abcdef")

    @rule(event_id=ids)
    def ask(self, event_id: str) -> None:
        try:
            asked, begun = self.table.begin(event_id, 1, b"content", 0.0)
        except Busy:
            assert max(len(self.calls), len(self.sending)) >= 3
            return
        except Conflict:
            known = self.table.lookup(event_id)
            assert known is not None
            assert known.prediction is not None
            assert known.prediction.event_time == 2
            return
        self.kept.append(asked)
        if begun is Begun.SEND:
            assert event_id not in self.sending
            self.sending[event_id] = asked
        if begun is not Begun.SETTLED:
            self.calls.append(asked)
        else:
            assert asked.given is not None or asked.is_refused

    @precondition(lambda self: self.sending)
    @rule(data=st.data(), letter=st.booleans(), delivered=st.booleans())
    def report(self, data: st.DataObject, letter: bool, delivered: bool) -> None:
        asked = self.sending.pop(data.draw(st.sampled_from(sorted(self.sending))))
        self.offset = (self.offset + 1) % 4  # comes again where the topic is made anew
        if not delivered:
            self.table.undelivered(asked)
            return
        self.table.acknowledged(asked, Place(0, self.offset))
        if letter:
            self.table.refused(Place(0, self.offset), data.draw(st.sampled_from([FUTURE, FAILED])))

    @rule(event_id=ids, value=st.sampled_from([b"1", b"2", b"junk"]))
    def predict(self, event_id: str, value: bytes) -> None:
        self.table.predicted(event_id, value, 1.0)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), interrupted=st.booleans())
    def end_call(self, data: st.DataObject, interrupted: bool) -> None:
        asked = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        if not interrupted and not asked.is_refused:
            self.table.give(asked, fallback(asked.event_id))
        self.table.leave(asked)

    @invariant()
    def the_first_answer_stays_and_ends_the_wait(self) -> None:
        for asked in self.kept:
            if asked.given is not None:
                assert asked.known.done()
                assert self.given.setdefault(id(asked), asked.given) is asked.given

    @invariant()
    def the_bounds_hold(self) -> None:
        assert self.table.in_flight == max(len(self.calls), len(self.sending)) <= 3
        # Each of three calls may wait for an event, and three more events may still be on their way to Kafka.
        assert len(self.table._asked) <= max(2 + 3, 3 + 3)
        assert len(self.table._others) <= 2
        assert len(self.table._letters) <= 3
        assert len(self.table._at) <= len(self.table._asked)


Clients.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_any_order_of_calls_and_records = Clients.TestCase
