"""Each guardrail fails what it is there for, passes what is good, and waits while it knows too little."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from scipy import special

from scoring.label_maturity import Maturity
from scoring.rollout.evidence import Verdict
from scoring.rollout.guardrails import GuardrailReport
from scoring.rollout.measures import Question
from scoring.rollout.next_policies import at_step
from scoring.rollout.observations import Label, Live, Shadow
from scoring.rollout.policy_log import Marker, PolicyChange
from scoring.rollout.seen import Seen, subjects
from streams.definitions.rollout import Guardrail, Rollout
from tests.scoring.rollout.observed import (
    SECOND,
    change,
    complete,
    experiment,
    facts,
    in_shadow_only,
    judge,
    letter,
    live,
    shadow,
    tried,
)

CANARY = change(0.5)
SHADOW = change(0, 0.5)


def reports(of: PolicyChange, rollout: Rollout | None = None, known: dict[str, Any] | None = None, **seen: Any) -> Any:
    judging = judge(rollout, **(known or {}))
    return judging.report(judging.observe(judging.begin(of), **seen))


def said(measure: str, found: Iterable[GuardrailReport]) -> Verdict:
    (report,) = [one for one in found if one.guardrail == measure]
    return report.verdict


def both(n: int, of: PolicyChange = CANARY, **candidate: Callable[[int], Any]) -> list[Live]:
    """Events of both arms, one of each in a second; fields of the candidate's by their number."""
    rows = []
    for number in range(n):
        changed = {name: value(number) for name, value in candidate.items()}
        second = {"scored_at_ms": number // 2 * SECOND, "event_time_ms": number // 2 * SECOND}
        rows.append(tried(number, of, **(second | changed)) if number % 2 else live(number, of, **second))
    return rows


def beside(n: int, **candidate: Callable[[int], Any]) -> dict[str, Any]:
    """Events that the champion serves and the candidate scores in shadow; it has the same scores by default."""
    silent = [
        shadow(number, SHADOW, **{name: value(number) for name, value in candidate.items()}) for number in range(n)
    ]
    return {"live": [live(number, SHADOW) for number in range(n)], "shadow": silent, "complete": complete(n)}


# Errors.


def test_a_version_without_scores_fails_after_three_moments() -> None:
    served = [live(number, SHADOW) for number in range(3)]
    assert said("errors", reports(SHADOW, live=served[:2], complete=complete(2))) is Verdict.CONTINUE
    assert said("errors", reports(SHADOW, live=served, complete=complete(3))) is Verdict.WORSE


def test_scores_that_may_still_come_are_not_missing() -> None:
    served = [live(number, SHADOW) for number in range(50)]
    assert said("errors", reports(SHADOW, live=served)) is Verdict.CONTINUE


def test_a_version_that_always_answers_passes() -> None:
    assert said("errors", reports(SHADOW, **beside(500))) is Verdict.CONTINUE
    assert said("errors", reports(SHADOW, **beside(610))) is Verdict.EQUIVALENT


def test_a_few_failures_among_many_calls_are_allowed() -> None:
    seen = beside(900)
    seen["shadow"] = [one for one in seen["shadow"] if one.event_id not in ("event-3", "event-300", "event-700")]
    assert said("errors", reports(SHADOW, **seen)) is Verdict.CONTINUE


def test_many_calls_of_one_moment_count_as_one() -> None:
    served = [live(number, SHADOW, scored_at_ms=number) for number in range(500)]
    assert said("errors", reports(SHADOW, live=served, complete=complete(500))) is Verdict.CONTINUE
    in_short = Rollout(together=1)
    assert said("errors", reports(SHADOW, in_short, live=served, complete=complete(500))) is Verdict.WORSE


def test_a_version_that_fails_at_some_events_of_each_batch_is_judged_by_their_share() -> None:
    def batches(fails: Callable[[int], bool]) -> dict[str, Any]:
        served = [live(number, SHADOW, scored_at_ms=number // 20 * SECOND) for number in range(12_000)]
        silent = [shadow(number, SHADOW) for number in range(12_000) if not fails(number)]
        return {"live": served, "shadow": silent, "complete": complete(12_000)}

    assert said("errors", reports(SHADOW, **batches(lambda number: number % 20 == 7))) is Verdict.WORSE
    assert said("errors", reports(SHADOW, **batches(lambda number: number % 2_000 == 7))) is not Verdict.WORSE


def test_a_service_that_fails_for_both_is_not_the_candidates_failure() -> None:
    broken = {"is_fallback": True}
    served = [one._replace(**broken) for one in both(200)]
    assert said("errors", reports(CANARY, live=served)) is Verdict.CONTINUE
    in_shadow = [live(number, SHADOW, **broken) for number in range(100)]
    assert said("errors", reports(SHADOW, live=in_shadow, complete=complete(100))) is Verdict.CONTINUE


def test_a_candidate_that_fails_while_the_champion_answers_fails() -> None:
    served = both(20, is_fallback=lambda _: True, version=lambda _: 1)
    assert said("errors", reports(CANARY, live=served)) is Verdict.WORSE


def test_dead_letters_are_no_failures_of_the_candidate_as_the_champion_has_no_number_either() -> None:
    markers = [Marker(partition=partition, first_offset=0, policy=CANARY.policy.hash) for partition in range(4)]
    scored = [one for number, one in enumerate(both(2_000)) if number % 20 > 2]
    letters = [letter(number) for number in range(2_000) if number % 20 <= 2]
    assert said("errors", reports(CANARY, live=scored, letters=letters, entries=markers)) is Verdict.EQUIVALENT


# Latency.


def test_a_slow_candidate_fails_and_one_as_fast_as_the_champion_passes() -> None:
    times = np.random.default_rng(1).lognormal(2, 0.5, 4_000)

    def served(slower: float) -> list[Live]:
        return [
            one._replace(infer_ms=float(took * (slower if one.arm == "tried" else 1)))
            for one, took in zip(both(4_000), times, strict=True)
        ]

    assert said("latency", reports(CANARY, live=served(5.0))) is Verdict.WORSE
    assert said("latency", reports(CANARY, live=served(1.0))) is Verdict.EQUIVALENT
    assert said("latency", reports(CANARY, live=served(1.0)[:200])) is Verdict.CONTINUE


def test_a_slow_candidate_that_is_fast_enough_passes() -> None:
    rollout = Rollout(guardrails=(Guardrail(measure="latency", absolute=(0, 100), relative=(0, 2)),))
    served = both(4_000, infer_ms=lambda _: 50.0)
    assert said("latency", reports(CANARY, live=served)) is Verdict.WORSE
    assert said("latency", reports(CANARY, rollout, live=served)) is Verdict.EQUIVALENT


def test_in_shadow_latency_is_judged_by_whoever_declares_how_long_is_too_long_and_not_awaited() -> None:
    def in_shadow(slower: float, **bounds: Any) -> list[GuardrailReport]:
        rollout = Rollout(guardrails=(Guardrail(measure="latency", awaited=True, **bounds),))
        rows = [shadow(n, SHADOW, infer_ms=slower * live(n, SHADOW).infer_ms) for n in range(1_500)]
        # Of the last one, the prediction that was served is still to be read.
        lives = [live(n, SHADOW) for n in range(1_499)]
        found = reports(SHADOW, rollout, live=lives, shadow=rows, complete=complete(1_499))
        return [one for one in found if one.guardrail == "latency"]

    (slow,), (fast,) = in_shadow(5.0, absolute=(0, 20)), in_shadow(1.0, absolute=(0, 20))
    assert (slow.verdict, slow.awaited, slow.events) == (Verdict.WORSE, False, 1_499)
    assert (fast.verdict, fast.awaited) == (Verdict.EQUIVALENT, False)
    (alike,) = in_shadow(1.0, absolute=(0, 1), relative=(0, 2))
    assert alike.verdict is Verdict.EQUIVALENT
    assert in_shadow(5.0, relative=(0, 2)) == []


def test_latency_is_not_judged_in_shadow_by_default_nor_without_a_champion() -> None:
    assert "latency" not in {one.guardrail for one in reports(SHADOW, **beside(5))}
    assert "latency" not in {one.guardrail for one in reports(change(1.0), live=[tried(1, change(1.0))])}


# Decisions.


def test_a_candidate_that_decides_ten_times_as_often_fails_in_shadow_and_where_it_serves() -> None:
    served = [one._replace(score=0.9) if number % 100 < 6 else one for number, one in enumerate(both(2_000))]
    often = [one._replace(score=0.9) if number % 100 < 60 and number % 2 else one for number, one in enumerate(served)]
    assert said("decision_rate", reports(CANARY, live=often)) is Verdict.WORSE
    assert said("decision_rate", reports(CANARY, live=served)) is not Verdict.WORSE
    silent = beside(2_000, score=lambda number: 0.9 if number % 10 < 5 else 0.2)
    silent["live"] = [one._replace(score=0.9) if one.offset % 20 == 0 else one for one in silent["live"]]
    assert said("decision_rate", reports(SHADOW, **silent)) is Verdict.WORSE


def test_a_candidate_that_never_decides_positively_fails() -> None:
    silent = beside(400, score=lambda number: 0.1 + number % 89 / 1_000)
    silent["live"] = [one._replace(score=0.9) if one.offset % 5 == 0 else one for one in silent["live"]]
    assert said("decision_rate", reports(SHADOW, **silent)) is Verdict.WORSE


def test_a_candidate_that_decides_as_often_passes() -> None:
    often = lambda number: 0.9 if number % 5 == 0 else 0.2  # noqa: E731
    silent = beside(2_000, score=often)
    silent["live"] = [live(number, SHADOW, score=often(number)) for number in range(2_000)]
    assert said("decision_rate", reports(SHADOW, **silent)) is Verdict.EQUIVALENT


def test_in_shadow_no_entity_counts_for_both_versions() -> None:
    (report,) = [one for one in reports(SHADOW, **beside(300)) if one.guardrail == "decision_rate"]
    assert report.events == 300


def test_a_bias_against_one_group_fails_and_names_it() -> None:
    def served(biased: bool) -> list[Live]:
        found = []
        for number, one in enumerate(both(4_000)):
            group = float(number // 2 % 4)
            often = biased and one.arm == "tried" and group == 2
            found.append(one._replace(groups=(group,), score=0.9 if number // 8 % 10 < (8 if often else 2) else 0.2))
        return found

    groups = {"groups": ("event.country",), "places": (0,)}
    fair = [one for one in reports(CANARY, None, groups, live=served(False)) if one.guardrail == "fairness"]
    assert sorted(one.group for one in fair) == [f"event.country={code}" for code in range(4)]
    assert Verdict.WORSE not in {one.verdict for one in fair}
    unfair = [one for one in reports(CANARY, None, groups, live=served(True)) if one.verdict is Verdict.WORSE]
    assert [one.group for one in unfair if one.guardrail == "fairness"] == ["event.country=2"]


def test_events_without_a_group_are_a_group() -> None:
    groups = {"groups": ("event.country",), "places": (0,)}
    found = reports(CANARY, None, groups, live=[one._replace(groups=(float("nan"),)) for one in both(10)])
    assert [one.group for one in found if one.guardrail == "fairness"] == ["event.country=null"]


# Quality and calibration.


def labelled(n: int, candidate: Callable[[np.ndarray, np.ndarray], np.ndarray], seed: int = 3) -> dict[str, Any]:
    """Pairs with labels, of which one in five is positive; the candidate's logits by the truth and by noise."""
    rng = np.random.default_rng(seed)
    truth, noise = rng.normal(-2, 2, n), rng.normal(size=(2, n))
    labels = rng.random(n) < special.expit(truth)
    champion, scores = special.expit(truth + 0.5 * noise[0]), special.expit(candidate(truth, noise))
    return {
        "live": [live(number, SHADOW, score=float(champion[number])) for number in range(n)],
        "shadow": [shadow(number, SHADOW, score=float(scores[number])) for number in range(n)],
        "labels": [Label(f"event-{number}", float(labels[number]), number * SECOND) for number in range(n)],
        "complete": complete(n),
    }


def test_inverted_scores_fail() -> None:
    seen = labelled(700, lambda truth, _: -truth)
    assert said("quality", reports(SHADOW, **seen)) is Verdict.WORSE


@pytest.mark.parametrize("loss", ["brier", "log"])
def test_a_model_as_good_as_the_champion_passes_and_a_worse_one_fails(loss: str) -> None:
    rollout = Rollout.model_validate({"loss": loss})
    as_good = labelled(6_000, lambda truth, noise: truth + 0.45 * noise[0] + 0.2 * noise[1])
    assert said("quality", reports(SHADOW, rollout, **as_good)) is Verdict.EQUIVALENT
    worse = labelled(6_000, lambda truth, noise: truth + 1.5 * noise[1])
    assert said("quality", reports(SHADOW, rollout, **worse)) is Verdict.WORSE


def test_nothing_is_known_of_quality_before_a_hundred_of_the_rarer_label() -> None:
    seen = labelled(300, lambda truth, _: -truth)
    assert said("quality", reports(SHADOW, **seen)) is Verdict.CONTINUE


@pytest.mark.parametrize("labels_ms", [1_499 * SECOND, 2**62], ids=["labels of now", "a label from the future"])
def test_events_younger_than_the_label_horizon_are_not_judged(labels_ms: int) -> None:
    seen = labelled(1_500, lambda truth, _: -truth) | {"labels_ms": labels_ms}
    found = reports(SHADOW, None, {"maturity": Maturity(1_400 * SECOND)}, **seen)
    (report,) = [one for one in found if one.guardrail == "quality"]
    assert report.events == 100
    assert report.verdict is Verdict.CONTINUE


def test_a_regression_is_judged_by_its_squared_errors_and_has_no_calibration() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(100, 20, 2_000)

    def seen(error: float) -> dict[str, Any]:
        found = beside(2_000, score=lambda number: float(values[number] + rng.normal(0, error)))
        found["live"] = [one._replace(score=float(values[n] + rng.normal(0, 5))) for n, one in enumerate(found["live"])]
        return found | {"labels": [Label(f"event-{n}", float(value), n) for n, value in enumerate(values)]}

    regression = {"task": "regression"}
    assert said("quality", reports(SHADOW, None, regression, **seen(9.0))) is Verdict.WORSE
    found = reports(SHADOW, None, regression, **seen(4.0))
    assert said("quality", found) is Verdict.EQUIVALENT
    assert "calibration" not in {one.guardrail for one in found}


def test_without_labels_there_is_no_quality_and_calibration_is_compared_with_the_champion() -> None:
    found = reports(SHADOW, None, {"task": None}, **beside(500))
    assert "quality" not in {one.guardrail for one in found}
    (report,) = [one for one in found if one.guardrail == "calibration"]
    assert [each.what for each in report.measured] == ["mean score / the champion's"]
    assert report.verdict is Verdict.EQUIVALENT


def test_scores_that_are_too_high_fail_by_calibration() -> None:
    seen = labelled(6_000, lambda truth, noise: truth + 1.0 + 0.5 * noise[0])
    assert said("calibration", reports(SHADOW, **seen)) is Verdict.WORSE


def test_a_candidate_that_is_as_wrong_as_the_champion_does_not_fail_by_calibration() -> None:
    seen = labelled(6_000, lambda truth, noise: truth + 1.0 + 0.5 * noise[0])
    seen["live"] = [one._replace(score=other.score) for one, other in zip(seen["live"], seen["shadow"], strict=True)]
    assert said("calibration", reports(SHADOW, **seen)) is Verdict.EQUIVALENT


def test_a_candidate_that_is_wrong_but_less_so_than_the_champion_does_not_fail_by_calibration() -> None:
    seen = labelled(6_000, lambda truth, noise: truth + 1.0 + 0.5 * noise[0])
    seen["live"] = [
        one._replace(score=other.score**0.2) for one, other in zip(seen["live"], seen["shadow"], strict=True)
    ]
    (report,) = [one for one in reports(SHADOW, **seen) if one.guardrail == "calibration"]
    assert [each.verdict for each in report.measured] == [Verdict.WORSE, Verdict.BETTER]
    assert report.verdict is Verdict.CONTINUE


def test_calibration_is_not_known_before_a_hundred_of_the_rarer_label() -> None:
    rollout = Rollout(guardrails=(Guardrail(measure="calibration", absolute=(0.8, 1.25)),))
    assert (
        said("calibration", reports(SHADOW, rollout, **labelled(400, lambda truth, _: truth + 3))) is Verdict.CONTINUE
    )


def test_a_candidate_that_is_right_where_the_champion_is_not_does_not_fail_by_calibration() -> None:
    seen = labelled(6_000, lambda truth, noise: truth + 0.5 * noise[0])
    seen["live"] = [one._replace(score=one.score**0.5) for one in seen["live"]]
    assert said("calibration", reports(SHADOW, **seen)) is Verdict.EQUIVALENT


# Scores.


def test_a_constant_score_fails_after_a_few_entities() -> None:
    constant = beside(60, score=lambda _: 0.25)
    assert said("scores", reports(SHADOW, **constant)) is Verdict.WORSE
    assert said("scores", reports(CANARY, live=both(120, score=lambda _: 0.25))) is Verdict.WORSE


def test_a_candidate_of_as_few_scores_as_the_champion_does_not_fail() -> None:
    seen = beside(400, score=lambda _: 0.25)
    seen["live"] = [one._replace(score=0.3) for one in seen["live"]]
    assert said("scores", reports(SHADOW, **seen)) is not Verdict.WORSE


def test_scores_that_differ_pass() -> None:
    assert said("scores", reports(SHADOW, **beside(400))) is Verdict.EQUIVALENT


# The split.


def test_entities_that_fall_into_the_arms_in_another_share_fail() -> None:
    assert said("split", reports(CANARY, live=both(2_000))) is Verdict.CONTINUE
    third = [(tried if number % 3 == 0 else live)(number, CANARY) for number in range(2_000)]
    assert said("split", reports(CANARY, live=third)) is Verdict.WORSE


def test_an_entity_counts_once_in_the_split_even_if_it_counts_again_elsewhere() -> None:
    rollout = Rollout(entity_again=SECOND)
    same = [tried(number, CANARY, entity="one") for number in range(500)]
    assert said("split", reports(CANARY, rollout, live=same)) is Verdict.CONTINUE


def test_an_arm_without_a_weight_gets_nobody() -> None:
    three = change(
        mode="ab",
        steps=(),
        arms=tuple(
            {"name": name, "version": version, "role": role, "weight": weight}
            for name, version, role, weight in (
                ("present", 1, "champion", 0.5),
                ("tried", 2, "candidate", 0.5),
                ("waiting", 3, "candidate", 0.0),
            )
        ),
    )
    served = both(40, three)
    assert said("split", reports(three, live=served)) is Verdict.CONTINUE
    served[0] = served[0]._replace(arm="waiting", version=3)
    assert said("split", reports(three, live=served)) is Verdict.WORSE


def test_the_split_of_a_bandit_is_that_of_its_present_weights() -> None:
    first, judging = experiment("bandit"), judge()
    labels = [Label(f"event-{number}", float(number % 2), number) for number in range(2_000)]
    following = judging.decide(
        judging.observe(judging.begin(first), live=both(2_000, first), labels=labels), first, 10**9
    )
    assert following is not None
    state = judging.begin(following, judging.observe(judging.begin(first), live=both(2_000, first)))
    (report,) = [one for one in judging.report(state) if one.guardrail == "split"]
    assert (report.events, report.verdict) == (0, Verdict.CONTINUE)


# What is judged when.


def test_in_shadow_scores_are_judged_and_where_a_candidate_serves_how_it_works() -> None:
    groups = {"groups": ("event.country",), "places": (0,)}

    def judged(of: PolicyChange, rows: list[Any]) -> set[str]:
        split = {"live": [one._replace(groups=(1.0,)) for one in rows if isinstance(one, Live)]}
        split["shadow"] = [one for one in rows if isinstance(one, Shadow)]
        return {one.guardrail for one in reports(of, None, groups, **split)}

    in_shadow = judged(SHADOW, [live(1, SHADOW), shadow(1, SHADOW)])
    assert in_shadow == {"errors", "decision_rate", "quality", "calibration", "fairness", "scores"}
    serving = judged(CANARY, both(2))
    assert serving == {"errors", "latency", "decision_rate", "fairness", "scores", "split"}
    for mode in ("ab", "bandit"):
        assert judged(experiment(mode), both(2, experiment(mode))) == {"errors", "latency", "scores", "split"}
    switched = experiment("blue_green", weight=1.0)
    assert judged(switched, [tried(1, switched)]) == {"errors", "scores"}


def test_a_measure_that_is_left_out_is_not_judged() -> None:
    found = reports(CANARY, Rollout(without=("split", "latency")), live=both(2))
    assert {"split", "latency"} & {one.guardrail for one in found} == set()


def test_decisions_are_awaited_in_shadow_or_if_there_is_no_such_step() -> None:
    def awaited(of: PolicyChange, **seen: Any) -> set[str]:
        return {one.guardrail for one in reports(of, **seen) if one.awaited}

    assert awaited(SHADOW, **beside(5)) == {"errors", "decision_rate", "quality"}
    assert awaited(CANARY, live=both(4)) == {"errors", "latency", "decision_rate"}
    later = SHADOW.model_copy(update={"policy": at_step(SHADOW.policy, 1), "step": 1})
    assert awaited(later, live=both(4, later)) == {"errors", "latency"}


def test_versions_that_are_not_tried_are_reported_and_never_awaited() -> None:
    of = in_shadow_only(2)
    found = reports(of, live=[live(1, of)], shadow=[shadow(1, of)])
    assert found
    assert not any(one.awaited or one.is_candidate for one in found)


def test_more_candidates_share_alpha() -> None:
    def needed(candidates: int) -> int:
        arms = [{"name": "present", "version": 1, "role": "champion", "weight": 1 - 0.1 * candidates}]
        arms += [{"name": f"tried{n}", "version": n, "weight": 0.1} for n in range(2, 2 + candidates)]
        of = change(mode="ab", steps=(), arms=tuple(arms))
        for pairs in range(3, 100):
            same = [live(n, of, arm="tried2", version=2, score=0.2) for n in range(2 * pairs)]
            found = [one for one in reports(of, live=same) if one.guardrail == "scores" and one.version == 2]
            if found[0].measured[0].verdict is Verdict.WORSE:
                return pairs
        raise AssertionError

    assert needed(5) > needed(1)


def test_samples_after_a_halving_share_a_tenth_of_alpha() -> None:
    def spent(n: int) -> float:
        judging = judge(Rollout(most_entities=1_000))
        state = judging.observe(judging.begin(CANARY), live=[tried(number, CANARY) for number in range(n)])
        guardrail = Rollout().judged["scores"]
        return Question(Seen(state, facts()), subjects(state)[0], guardrail, 0.01).spent(state.entities)

    parts = [spent(n) for n in (100, 1_500, 3_500)]
    assert parts[0] == pytest.approx(0.009)
    assert parts[0] > parts[1] > parts[2]
    assert parts[0] + 2 * parts[1] <= 0.01
