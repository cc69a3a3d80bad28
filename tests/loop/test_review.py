"""Which events people are asked to label, and how far they agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from loop.review import Asked, Candidate, agreement, choose, decode, encode, headers
from scoring.training_set import LabelRow

THRESHOLD = 0.5


def event(number: int, score: float = 0.1, **changes: object) -> Candidate:
    one = Candidate(f"e{number}", number, f"events[0]@{number}", score, "pass", "1")
    return replace(one, **changes)  # type: ignore[arg-type]


MANY = [event(number, score=number / 1_000) for number in range(1_000)]


def ask(events, number=100, taken=(), seed=1):
    return choose(events, taken, number, threshold=THRESHOLD, seed=seed)


def test_each_reason_gets_its_share_and_ordinary_events_get_the_rest():
    events = [
        *MANY,
        *(event(2_000 + n, others=(0.9,)) for n in range(100)),
        *(event(3_000 + n, explored=True) for n in range(100)),
        *(event(4_000 + n, is_labelled=True) for n in range(100)),
    ]
    assert Counter(one.why for one in ask(events)) == {
        "uncertain": 40,
        "disputed": 25,
        "explored": 10,
        "again": 5,
        "ordinary": 20,
    }
    assert Counter(one.why for one in ask(MANY)) == {"uncertain": 40, "ordinary": 60}


def test_uncertain_events_are_those_next_to_the_threshold():
    scores = [one.candidate.score for one in ask(MANY) if one.why == "uncertain"]
    assert max(abs(score - THRESHOLD) for score in scores) <= 0.0201


def test_disputed_events_are_those_with_the_greatest_difference():
    events = [event(n, others=(0.1 + n / 100,)) for n in range(50)]
    assert {one.candidate.event_id for one in ask(events, 8) if one.why == "disputed"} == {"e48", "e49"}


def test_ordinary_events_are_drawn_alike_of_all():
    drawn = [one.candidate.score for seed in range(20) for one in ask(MANY, seed=seed) if one.why == "ordinary"]
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.03)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.floats(allow_nan=True), st.booleans(), st.booleans()), max_size=40),
    st.integers(1, 30),
    st.randoms(use_true_random=False),
)
def test_nobody_is_asked_twice_and_the_order_of_events_does_not_matter(rows, number, random):
    events = [event(n, score, explored=a, is_labelled=b) for n, (score, a, b) in enumerate(rows)]
    first = ask(events, number)
    random.shuffle(events)
    assert {*map(repr, ask(events, number))} == {*map(repr, first)}
    taken = {one.candidate.event_id for one in first}
    assert len(taken) == len(first) <= number
    assert not taken & {one.candidate.event_id for one in ask(events, number, taken)}


def test_who_is_asked_again_is_not_told_so():
    (again,) = (one for one in ask([event(n, is_labelled=True) for n in range(3)], 20) if one.why == "again")
    ordinary = again._replace(why="ordinary")
    assert encode(again, 5) == encode(ordinary, 5)
    assert decode(encode(again, 5), headers(again)) == Asked(again.candidate.event_id, 5, again=True)
    assert decode(encode(again, 5), headers(ordinary)) == Asked(again.candidate.event_id, 5, again=False)


@pytest.mark.parametrize("garbage", [None, b"", b"{", b"[]", b'{"event_id": "a"}', b'"x"', b"\xff"])
def test_what_is_no_record_of_the_queue_is_passed_over(garbage):
    assert decode(garbage) is None


def said(*labels: tuple[int, int | None], source: int = 0) -> list[LabelRow]:
    return [LabelRow("", at, (place,), value, source=source) for place, (at, value) in enumerate(labels)]


def test_agreement_is_that_of_the_oracle_and_counts_only_what_was_asked_again():
    first, second = [1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 1, 1]
    labels = {f"e{n}": said((1, a), (9, b)) for n, (a, b) in enumerate(zip(first, second, strict=True))}
    labels |= {"late": said((1, 1)), "new": said((9, 1)), "taken back": said((1, 1), (9, None))}
    questions = [Asked(name, 5, again=True) for name in labels] + [Asked("e0", 5, again=False)]
    found = agreement(questions, labels)
    assert (found.asked, found.answered, found.agree) == (9, 6, 4)
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second))


def test_without_answers_or_with_one_value_alone_nothing_is_said_beyond_chance():
    assert agreement([Asked("a", 5, again=True)], {}).kappa is None
    assert agreement([Asked("a", 5, again=True)], {"a": said((1, 1), (9, 1))}).kappa is None


def test_an_answer_of_one_source_is_compared_with_the_label_that_counted_before():
    before = [*said((1, 0), (2, None)), *said((1, 1), (3, 0), source=1)]
    found = agreement([Asked("a", 5, again=True)], {"a": [*said((9, 0), source=1), *before]})
    assert (found.answered, found.agree) == (1, 1)
    # The label of the first source was withdrawn before the question; if it was not, it is the one that counted.
    assert agreement([Asked("a", 5, again=True)], {"a": [*said((1, 1)), *said((3, 0), (9, 0), source=1)]}).agree == 0
