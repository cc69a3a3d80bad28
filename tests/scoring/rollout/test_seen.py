"""Which events are judged by which label: the one that was known when they were old enough, whenever it was read."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from scoring.label_maturity import ANY_AGE, Maturity
from scoring.rollout import judge_state
from scoring.rollout.collecting import event_hashes
from scoring.rollout.evidence import Verdict
from scoring.rollout.judge import Judge
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.observations import Label
from scoring.rollout.seen import Seen
from streams.definitions.rollout import Guardrail, Rollout
from tests.scoring.rollout.observed import SECOND, change, complete, experiment, facts, judge, live, shadow, tried

SHADOW = change(0, 0.5)
HORIZON = 10
SOURCES = "labels.chargebacks", "labels.analysts"


class Event(NamedTuple):
    time: int
    is_hidden: bool
    labels: list[tuple[int, float | None, int]]


events = st.lists(
    st.builds(
        Event,
        st.integers(0, 30),
        st.booleans(),
        st.lists(st.tuples(st.integers(0, 45), st.sampled_from([0.0, 1.0, None]), st.integers(0, 1)), max_size=6),
    ),
    max_size=12,
)


def naive(of: list[Event], clock: int, absent: str | None) -> dict[int, float]:
    """Event by event, as docs/guides/labels.md says."""
    found = {}
    for number, event in enumerate(of):
        final = event.time + HORIZON
        if final > clock:
            continue
        value = None
        for source in (1, 0):
            said = [
                (at, place, one) for place, (at, one, by) in enumerate(event.labels) if at <= final and by == source
            ]
            if said and max(said)[2] is not None:
                value = max(said)[2]
        if value is None and absent == "negative" and not event.is_hidden:
            value = 0.0
        if value is not None:
            found[number] = value
    return found


def judged(state: JudgeState, maturity: Maturity) -> dict[int, float]:
    """The labels of the events of a state that are judged by them, by the numbers of the events."""
    seen = Seen(state, facts(maturity=maturity))
    rows = state.entities.rows["event"][seen.is_judged_by_label].tolist()
    labels = dict(zip(rows, seen.label[seen.is_judged_by_label].tolist(), strict=True))
    numbers = dict(zip(event_hashes([f"event-{number}" for number in range(200)]).tolist(), range(200), strict=True))
    return {numbers[event]: value for event, value in labels.items()}


@settings(max_examples=80, deadline=None)
@given(
    of=events,
    labels_ms=st.integers(0, 60),
    absent=st.sampled_from(["negative", "excluded", None]),
    sources=st.sampled_from([(), SOURCES]),
    seed=st.integers(0, 9),
    batch=st.integers(1, 20),
)
def test_events_are_judged_as_the_naive_reference_says_in_whatever_order_they_are_read(
    of: list[Event],
    labels_ms: int,
    absent: Literal["negative", "excluded"] | None,
    sources: tuple[str, ...],
    seed: int,
    batch: int,
) -> None:
    maturity = Maturity(HORIZON, absent)
    if not sources:
        of = [event._replace(labels=[(*label[:2], 0) for label in event.labels]) for event in of]
    read: list[tuple[str, Any]] = []
    for number, event in enumerate(of):
        served = {"event_time_ms": event.time, "scored_at_ms": 1_000, "is_hidden": event.is_hidden}
        read.append(("live", live(number, SHADOW, **served)))
        read.append(("shadow", shadow(number, SHADOW, event_time_ms=event.time)))
        for place, (time, value, source) in enumerate(event.labels):
            read.append(("labels", Label(f"event-{number}", value, time, offset=place, source=source)))
    read = [read[place] for place in np.random.default_rng(seed).permutation(len(read))]
    judging = judge(maturity=maturity, sources=sources)
    state = judging.begin(SHADOW)
    for begin in range(0, len(read), batch):
        part = read[begin : begin + batch]
        state = judging.observe(state, **{topic: [one for of_, one in part if of_ == topic] for topic, _ in part})
    state = JudgeState.load(judging.observe(state, labels_ms=labels_ms).records())
    # A clock that only labels, or only predictions, have reached is not reached.
    clock = min(labels_ms, max((event.time for event in of), default=0))
    assert judged(state, maturity) == naive(of, clock, absent)


def test_without_a_time_that_labels_have_reached_no_event_is_old_enough() -> None:
    maturity = Maturity(HORIZON, "negative")
    judging = judge(maturity=maturity)
    state = judging.observe(judging.begin(SHADOW), live=[live(number, SHADOW) for number in range(50)])
    assert judged(state, maturity) == {}
    assert judged(judging.observe(state, labels_ms=9 * SECOND), maturity) == dict.fromkeys(range(9), 0.0)


def test_the_next_weights_of_a_bandit_keep_the_time_that_was_reached() -> None:
    first, maturity = experiment("bandit"), Maturity(HORIZON, "negative")
    judging = judge(maturity=maturity)
    state = judging.observe(
        judging.begin(first),
        live=[(tried if number % 2 else live)(number, first) for number in range(50)],
        labels_ms=50 * SECOND,
    )
    following = judging.decide(state, first, 10**9)
    assert following is not None
    assert judged(judging.begin(following, state), maturity) == judged(state, maturity) == dict.fromkeys(range(49), 0.0)


def test_without_a_horizon_a_label_counts_when_it_comes() -> None:
    state = judge().observe(
        judge().begin(SHADOW), live=[live(n, SHADOW) for n in range(3)], labels=[Label("event-1", 1.0, 10**12)]
    )
    assert judged(state, ANY_AGE) == {1: 1.0}


def test_an_event_that_comes_when_its_label_may_be_forgotten_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_state, "_MOST_LABELS", 4)
    maturity = Maturity(HORIZON, "negative")
    judging = judge(maturity=maturity)
    state = judging.observe(judging.begin(SHADOW), live=[live(1, SHADOW)], labels_ms=10**9)
    state = judging.observe(state, labels=[Label(f"event-{number}", 1.0, number * SECOND) for number in range(2, 12)])
    state = judging.observe(state, live=[live(number, SHADOW) for number in (2, 7, 8, 9, 50)])
    # The labels of 2 to 7 are forgotten. That of 1 cannot have been: it was there before, though not its shadow.
    state = judging.observe(state, shadow=[shadow(1, SHADOW)])
    assert judged(state, maturity) == {1: 0.0, 8: 1.0, 9: 1.0}


def test_another_horizon_remembers_other_labels() -> None:
    state = judge(maturity=Maturity(10)).begin(SHADOW)
    assert judge(maturity=Maturity(10, "excluded")).can_go_on(SHADOW, state)
    assert not judge(maturity=Maturity(11)).can_go_on(SHADOW, state)


def test_another_order_of_sources_remembers_other_labels() -> None:
    state = JudgeState.load(judge(sources=SOURCES).begin(SHADOW).records())
    assert judge(sources=SOURCES).can_go_on(SHADOW, state)
    assert not judge(sources=SOURCES[::-1]).can_go_on(SHADOW, state)
    assert not judge().can_go_on(SHADOW, state)


# A world in which positives are known late, and from its middle on three times as late.


# Held against the truth alone: the champion's calibration looks as bad.
TO_TRUTH = Rollout(guardrails=(Guardrail(measure="calibration", absolute=(0.8, 1.25)),))


class LateWorld:
    """Events of which one in five is positive, by a champion and a candidate that is as good; one each second."""

    n = 12_000

    def __init__(self, seed: int, *, negatives_come: bool) -> None:
        rng = np.random.default_rng(seed)
        truth, noise = rng.normal(-2, 2, self.n), rng.normal(size=(2, self.n))
        positive = rng.random(self.n) < special.expit(truth)
        self.champion = special.expit(truth + 0.3 * noise[0])
        self.candidate = special.expit(truth + 0.25 * noise[0] + 0.15 * noise[1])
        delay = rng.uniform(0, np.where(positive, 2_000, 20)) * np.where(np.arange(self.n) < self.n // 3, 1, 3)
        # The plainest cases are known first.
        known = np.arange(self.n) + delay * np.where(truth > 0, 0.5, 1)
        came = np.flatnonzero(positive | negatives_come)
        self.labels = [
            (float(known[n]), Label(f"event-{n}", float(positive[n]), int(known[n] * SECOND))) for n in came.tolist()
        ]

    def looks(self, judging: Judge, every: int = 300) -> list[JudgeState]:
        """What the judge has seen, each few minutes."""
        state, found = judging.begin(SHADOW), []
        for begin in range(0, self.n, every):
            numbers, end = range(begin, begin + every), begin + every
            labels = [label for at, label in self.labels if begin <= at < end]
            state = judging.observe(
                state,
                live=[live(n, SHADOW, score=float(self.champion[n])) for n in numbers],
                shadow=[shadow(n, SHADOW, score=float(self.candidate[n])) for n in numbers],
                labels=labels,
                complete=complete(end),
                labels_ms=max((label.time_ms for label in labels), default=None),
            )
            found.append(state)
        return found


def verdicts(judging: Judge, states: list[JudgeState]) -> dict[str, set[Verdict]]:
    found: dict[str, set[Verdict]] = {"quality": set(), "calibration": set()}
    for state in states:
        for report in judging.report(state):
            if report.guardrail in found:
                found[report.guardrail].add(report.verdict)
    return found


@pytest.mark.parametrize("absent", ["negative", "excluded"])
def test_labels_that_come_later_for_positives_and_then_three_times_as_late_make_no_false_verdict(
    absent: Literal["negative", "excluded"],
) -> None:
    judging = judge(TO_TRUTH, maturity=Maturity(6_000 * SECOND, absent))
    found = verdicts(judging, LateWorld(1, negatives_come=absent == "excluded").looks(judging))
    assert found["quality"] == {Verdict.CONTINUE, Verdict.EQUIVALENT}
    assert found["calibration"] == {Verdict.CONTINUE, Verdict.EQUIVALENT}


def test_the_same_labels_counted_as_they_come_would_stop_a_good_candidate() -> None:
    judging = judge(TO_TRUTH)
    assert Verdict.WORSE in verdicts(judging, LateWorld(1, negatives_come=True).looks(judging))["calibration"]
