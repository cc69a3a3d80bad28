"""What is decided: stop at once, go on when all is sure, pause when it is not, and never promote without evidence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scoring.label_maturity import Maturity
from scoring.rollout.judge import AUTHOR, Judge
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.observations import Label
from scoring.rollout.policy_log import PolicyChange, Refusal, decode, encode
from streams.definitions.rollout import Guardrail, Rollout
from tests.scoring.rollout.observed import (
    SECOND,
    change,
    complete,
    experiment,
    in_shadow_only,
    judge,
    live,
    shadow,
    step,
    tried,
)

HOUR, DAY = 3_600_000, 86_400_000
# Passes after some 60 moments without a failure; nothing else is awaited.
QUICK = Rollout(
    guardrails=(
        Guardrail(measure="errors", absolute=(0, 0.1), awaited=True),
        Guardrail(measure="latency", relative=(0, 5)),
        Guardrail(measure="decision_rate", relative=(0.1, 10)),
        Guardrail(measure="quality", relative=(0, 2)),
    )
)
STEPS = tuple(step(weight, least_events=200, least_time="5m", most_time="1h") for weight in (0, 0.5, 1))
BEGIN = change(steps=STEPS, time_ms=7_000)


def good(of: PolicyChange, n: int = 400) -> JudgeState:
    """Events at which the candidate, in shadow or serving, is as good as the champion."""
    judging = judge(QUICK)
    weight = of.policy.weights["tried"]
    rows = [tried(number, of) if weight == 1 or (weight and number % 2) else live(number, of) for number in range(n)]
    silent = [] if weight else [shadow(number, of) for number in range(n)]
    return judging.observe(judging.begin(of), live=rows, shadow=silent, complete=complete(n))


def failing(of: PolicyChange) -> JudgeState:
    """Some moments in which the candidate does not answer in time."""
    judging = judge(QUICK)
    rows = [tried(number, of, version=1, is_fallback=True) for number in range(20)]
    return judging.observe(judging.begin(of), live=rows)


def decided(state: JudgeState, of: PolicyChange, passed_ms: int) -> PolicyChange | None:
    return judge(QUICK).decide(state, of, of.time_ms + passed_ms)


def test_a_canary_goes_through_its_steps_and_is_promoted() -> None:
    present, weights = BEGIN, []
    for number in range(len(STEPS)):
        assert present.step == number
        following = decided(good(present), present, 5 * 60_000)
        assert following is not None
        assert following.previous == present.policy.hash
        assert following.author == AUTHOR
        weights.append(following.policy.weights)
        present = following
    assert weights == [{"present": 0.5, "tried": 0.5}, {"present": 0.0, "tried": 1.0}, {"tried": 1.0}]
    assert present.status == "ended"
    assert present.policy.policy.champion.version == 2
    assert present.reason.startswith("promoted after 400 events in 5m: errors of version 2: share of moments")


def test_the_next_step_begins_when_it_was_decided_and_says_what_is_sure() -> None:
    following = decided(good(BEGIN), BEGIN, HOUR - 1)
    assert following is not None
    assert (following.status, following.step, following.time_ms) == ("running", 1, 7_000 + HOUR - 1)
    assert following.reason.startswith("step 2 of 3, 50 %, after 400 events in 3599s: errors of version 2")


@pytest.mark.parametrize(
    ("events", "passed_ms"), [(400, 5 * 60_000 - 1), (199, 5 * 60_000)], ids=["too soon", "too few events"]
)
def test_nothing_is_decided_before_the_least_time_and_events(events: int, passed_ms: int) -> None:
    assert decided(good(BEGIN, events), BEGIN, passed_ms) is None


def test_time_over_without_enough_evidence_pauses_and_says_what_is_missing() -> None:
    assert decided(good(BEGIN, 20), BEGIN, HOUR - 1) is None
    following = decided(good(BEGIN, 20), BEGIN, HOUR)
    assert following is not None
    assert following.status == "paused"
    assert following.policy == BEGIN.policy
    assert following.reason.startswith("paused: not sure after 1h: errors of version 2: share of moments")
    assert following.reason.endswith("; 20 events of at least 200")


def test_a_step_waits_for_what_is_not_sure() -> None:
    unsure = Rollout(guardrails=(*QUICK.guardrails[:3], Guardrail(measure="quality", relative=(0, 2), awaited=True)))
    later = BEGIN.time_ms + HOUR
    assert judge(unsure).decide(good(BEGIN), BEGIN, later - 1) is None
    following = judge(unsure).decide(good(BEGIN), BEGIN, later)
    assert following is not None
    what = "quality of version 2: mean loss / the champion's is not known yet, allowed up to 2 (0 observed)"
    assert following.reason == f"paused: not sure after 1h: {what}"


def test_a_paused_step_keeps_its_number() -> None:
    later = decided(good(BEGIN), BEGIN, HOUR)
    assert later is not None
    following = decided(good(later, 20), later, HOUR)
    assert following is not None
    assert (following.status, following.step) == ("paused", 1)


def test_a_step_that_is_sure_when_time_is_over_goes_on() -> None:
    following = decided(good(BEGIN), BEGIN, 10 * HOUR)
    assert following is not None
    assert following.step == 1


@pytest.mark.parametrize("of", [change(0.5), experiment("ab"), experiment("bandit"), experiment("blue_green", 1.0)])
def test_a_failing_candidate_is_rolled_back_at_once(of: PolicyChange) -> None:
    following = decided(failing(of), of, 1)
    assert following is not None
    assert following.status == "ended"
    assert following.policy.weights == {"present": 1.0}
    assert following.policy.policy.mode == "shadow"
    assert following.policy.policy.salt == of.policy.policy.salt
    assert following.reason.startswith("rolled back: errors of version 2: share of moments without a score in time")


def test_a_candidate_that_fails_in_shadow_is_rolled_back() -> None:
    judging = judge(QUICK)
    state = judging.observe(judging.begin(BEGIN), live=[live(n, BEGIN) for n in range(20)], complete=complete(20))
    following = decided(state, BEGIN, 1)
    assert following is not None
    assert following.status == "ended"
    assert following.policy.policy.shadow == ()


def test_the_evidence_has_every_guardrail_as_json() -> None:
    following = decided(failing(change(0.5)), change(0.5), 1)
    assert following is not None
    evidence: dict[str, Any] = json.loads(json.dumps(following.evidence, allow_nan=False))
    assert evidence["versions"] == [{"version": 2, "events": 20}]
    found = {one["guardrail"]: one for one in evidence["guardrails"]}
    assert {*found} == {"errors", "latency", "decision_rate", "scores", "split"}
    assert found["errors"]["verdict"] == "worse"
    (measured,) = found["errors"]["measured"]
    assert measured["low"] > measured["allowed_high"] == 0.1
    assert found["latency"]["measured"][0]["high"] is None
    assert decode(encode(following), "here") == following


def test_a_refusal_is_rolled_back_with_its_reason() -> None:
    for of in (BEGIN, change(0.5), experiment("ab")):
        judging = judge(QUICK)
        refusal = Refusal(instance="b", policy=of.policy.hash, reason="version 2 is broken", time_ms=1)
        following = decided(judging.observe(judging.begin(of), entries=[refusal]), of, 1)
        assert following is not None
        assert following.reason == "rolled back: the policy cannot be followed: scorer b: version 2 is broken"


def test_a_switch_stays_and_an_experiment_goes_on() -> None:
    for of in (experiment("blue_green", 1.0), experiment("ab")):
        assert decided(good(of), of, 100 * DAY) is None


def test_a_switch_back_is_not_judged() -> None:
    back = experiment("blue_green", 0.0)
    assert judge(QUICK).report(good(back)) == []
    assert decided(good(back), back, DAY) is None


def test_versions_that_only_score_in_shadow_change_nothing_but_the_status() -> None:
    of, judging = in_shadow_only(2), judge(QUICK)
    rows = [live(number, of) for number in range(20)]
    assert decided(judging.observe(judging.begin(of), live=rows), of, DAY) is None
    following = decided(judging.observe(judging.begin(of), live=rows, complete=complete(20)), of, DAY)
    assert following is not None
    assert (following.status, following.policy) == ("paused", of.policy)
    assert following.reason.startswith("paused: errors of version 2")


def test_a_version_beside_a_canary_does_not_stop_it() -> None:
    of, judging = change(steps=STEPS, shadow=(9,)), judge(QUICK)
    rows = [live(number, of) for number in range(400)]
    silent = [shadow(number, of) for number in range(400)]
    state = judging.observe(judging.begin(of), live=rows, shadow=silent, complete=complete(400))
    assert {one.version for one in judging.report(state) if one.verdict == "worse"} == {9}
    following = decided(state, of, 5 * 60_000)
    assert following is not None
    assert following.step == 1


def with_status(of: PolicyChange, status: str) -> PolicyChange:
    return PolicyChange(**(dict(of) | {"status": status}))


def test_a_rollout_that_has_ended_is_not_judged() -> None:
    of = change(0.5)
    assert decided(failing(of), with_status(of, "ended"), DAY) is None


def test_while_it_is_paused_a_rollout_is_only_ever_rolled_back() -> None:
    assert decided(good(BEGIN), with_status(BEGIN, "paused"), DAY) is None
    of = change(0.5)
    following = decided(failing(of), with_status(of, "paused"), DAY)
    assert following is not None
    assert (following.status, following.reason[:12]) == ("ended", "rolled back:")


def test_a_state_of_another_policy_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="the state is of policy"):
        decided(good(BEGIN), change(0.5), 1)


# The bandit.


def rewarded(of: PolicyChange, *, share: tuple[int, int], n: int = 400, judging: Judge | None = None) -> JudgeState:
    """Events of which so many of a hundred had a reward: of the champion, and of the candidate."""
    judging = judging or judge(QUICK)
    rows = [tried(number, of) if number % 2 else live(number, of) for number in range(n)]
    labels = [
        Label(f"event-{number}", float(number // 2 % 100 < share[number % 2]), number * SECOND) for number in range(n)
    ]
    return judging.observe(judging.begin(of), live=rows, labels=labels, labels_ms=n * SECOND)


def test_a_bandit_gets_new_weights_from_its_rewards_at_declared_intervals() -> None:
    of = experiment("bandit")
    state = rewarded(of, share=(10, 40))
    assert decided(state, of, DAY - 1) is None
    following = decided(state, of, DAY)
    assert following is not None
    assert (following.status, following.policy.policy) == ("running", of.policy.policy)
    assert following.policy.weights["tried"] == pytest.approx(0.95, abs=0.001)
    assert following.reason == "new weights after 1d, from rewards: present 20 of 200, tried 80 of 200"


def test_a_bandit_without_rewards_keeps_its_weights() -> None:
    of = experiment("bandit")
    assert decided(good(of), of, 5 * DAY) is None


def test_rewards_of_events_that_are_younger_than_the_label_horizon_do_not_count() -> None:
    of, judging = experiment("bandit"), judge(maturity=Maturity(300 * SECOND))
    following = judging.decide(rewarded(of, share=(10, 40), judging=judging), of, DAY)
    assert following is not None
    assert following.reason.endswith("present 10 of 50, tried 40 of 50")
