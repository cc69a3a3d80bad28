"""The breaker against a naive one that keeps everything that ever happened."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scoring.breaker import FIRST_S, LATE_IN_A_ROW, LEAST, LONGEST_S, RECENT, Breaker, State


class NaiveBreaker:
    """The documented rules, from the list of all outcomes since it closed."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.opened: list[float] = []

    def state(self, now: float) -> State:
        if not self.opened:
            return State.CLOSED
        lasts = min(FIRST_S * 2 ** (len(self.opened) - 1), LONGEST_S)
        return State.OPEN if now < self.opened[-1] + lasts else State.HALF_OPEN

    def happened(self, outcome: str, now: float) -> None:
        if self.opened:
            if outcome == "good":
                self.opened, self.outcomes = [], ["good"]
            else:
                self.opened.append(now)
            return
        self.outcomes.append(outcome)
        recent = self.outcomes[-RECENT:]
        bad = sum(one != "good" for one in recent)
        late = self.outcomes[-LATE_IN_A_ROW:] == ["late"] * LATE_IN_A_ROW
        if (outcome != "good" and len(recent) >= LEAST and bad * 2 >= len(recent)) or late:
            self.opened = [now]


class Breakers(RuleBasedStateMachine):
    """Both breakers live through the same."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker, self.naive = Breaker(), NaiveBreaker()

    @rule(seconds=st.sampled_from([0.0, 0.1, FIRST_S, 5.0, LONGEST_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(outcome=st.sampled_from(["good", "bad", "late"]))
    def score(self, outcome: str) -> None:
        """A batch goes to the server, unless the breaker is open."""
        if self.breaker.state(self.now) is State.OPEN:
            return
        if outcome == "good":
            self.breaker.succeeded()
        else:
            self.breaker.failed(self.now, late=outcome == "late")
        self.naive.happened(outcome, self.now)

    @invariant()
    def both_are_in_the_same_state(self) -> None:
        assert self.breaker.state(self.now) is self.naive.state(self.now)


TestBreakers = Breakers.TestCase
TestBreakers.settings = settings(max_examples=200, stateful_step_count=60, derandomize=True, deadline=None)


def test_it_opens_for_twice_as_long_each_time_up_to_half_a_minute() -> None:
    breaker, now = Breaker(), 0.0
    for _ in range(LEAST):
        breaker.failed(now, late=False)
    lasted = []
    for _ in range(7):
        begin = now
        while breaker.state(now) is State.OPEN:
            now += 0.5
        lasted.append(now - begin)
        breaker.failed(now, late=False)
    assert lasted == [1, 2, 4, 8, 16, 30, 30]
