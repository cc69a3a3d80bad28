"""The scorer's metrics exist from the start, labelled by pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from scoring.inference import CascadeScores, Scores
from scoring.other_views import STATES
from scoring.prediction_format import ModelIdentity
from scoring.scorer_metrics import STAGES, AnswerCounts, CascadeCounts, ScorerMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ScorerMetrics:
    return ScorerMetrics(registry, "fraud", 100)


def test_every_series_exists_from_the_start_so_that_rates_begin_at_zero(
    registry: CollectorRegistry, metrics: ScorerMetrics
) -> None:
    for name, label, values in (
        ("scored_total", "route", ("primary", "fallback")),
        ("skipped_total", "reason", ("again", "timer")),
        ("dead_letters_total", "stage", ("decode", "infer")),
        ("transaction_failures_total", "outcome", ("aborted", "unknown")),
        ("stage_seconds_count", "stage", STAGES),
        ("lookups_total", "state", STATES),
    ):
        for value in values:
            assert registry.get_sample_value(f"penstock_scorer_{name}", {"pipeline": "fraud", label: value}) == 0
    for name in ("waits_total", "policy_refusals_total", "policy_behind", "shadow_failures_total"):
        assert registry.get_sample_value(f"penstock_scorer_{name}", {"pipeline": "fraud"}) == 0


def test_fill_is_the_share_of_the_largest_batch(registry: CollectorRegistry, metrics: ScorerMetrics) -> None:
    metrics.observe_batch(100)
    metrics.observe_batch(50)
    assert registry.get_sample_value("penstock_scorer_batch_fill_ratio_sum", {"pipeline": "fraud"}) == 1.5
    assert (
        registry.get_sample_value("penstock_scorer_batch_fill_ratio_bucket", {"pipeline": "fraud", "le": "0.99"}) == 1
    )
    assert registry.get_sample_value("penstock_scorer_batch_records_sum", {"pipeline": "fraud"}) == 150


def test_lookups_are_counted_by_state(registry: CollectorRegistry, metrics: ScorerMetrics) -> None:
    metrics.observe_lookups({"PRESENT": 3, "UNREACHABLE": 1})
    found = {
        state: registry.get_sample_value("penstock_scorer_lookups_total", {"pipeline": "fraud", "state": state})
        for state in STATES
    }
    assert {state: value for state, value in found.items() if value} == {"PRESENT": 3, "UNREACHABLE": 1}


def test_one_model_version_is_shown_at_a_time(registry: CollectorRegistry, metrics: ScorerMetrics) -> None:
    metrics.set_models([ModelIdentity("m", "1")])
    metrics.set_models([ModelIdentity("m", "2")])
    (family,) = (family for family in registry.collect() if family.name == "penstock_scorer_model_info")
    assert [(s.labels["version"], s.value) for s in family.samples] == [("2", 1.0)]


def test_a_stage_is_timed_even_if_it_fails(registry: CollectorRegistry, metrics: ScorerMetrics) -> None:
    with pytest.raises(ValueError, match="x"), metrics.time_stage("infer"):
        raise ValueError("x")
    labels = {"pipeline": "fraud", "stage": "infer"}
    assert registry.get_sample_value("penstock_scorer_stage_seconds_count", labels) == 1


def test_a_cascade_counts_only_what_was_predicted() -> None:
    """Two events in the band, two audited ones of which the strong model decides otherwise; one of each is a letter."""
    way = CascadeScores(
        fast=np.array([0.5, 0.5, 0.1, 0.1]),
        strong=np.full(4, 0.9),
        in_band=np.array([True, True, False, False]),
        audited=np.array([False, False, True, True]),
    )
    none = np.zeros(4, np.bool_)
    scores = Scores(np.array([0.9, 0.9, 0.1, 0.1]), np.empty((4, 0)), none, none, way)
    assert CascadeCounts.of(scores, ~none, 0.5) == CascadeCounts(2, 2, 2)
    assert CascadeCounts.of(scores, np.array([True, False, True, False]), 0.5) == CascadeCounts(1, 1, 1)


ARM_PREDICTIONS = "penstock_scorer_arm_predictions_total"


def by_arm(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    """The predictions of each arm and route that is shown."""
    (family,) = (family for family in registry.collect() if family.name == ARM_PREDICTIONS.removesuffix("_total"))
    totals = (sample for sample in family.samples if sample.name == ARM_PREDICTIONS)
    return {(sample.labels["arm"], sample.labels["route"]): sample.value for sample in totals}


def test_one_policy_is_shown_at_a_time_and_none_before_the_first(
    registry: CollectorRegistry, metrics: ScorerMetrics
) -> None:
    shown = []
    for policy in (None, "0123456789ab", "ba9876543210"):
        metrics.set_policy(policy, [])
        (family,) = (family for family in registry.collect() if family.name == "penstock_scorer_policy_info")
        shown += [(sample.labels["policy"], sample.value) for sample in family.samples]
    assert shown == [("none", 1.0), ("0123456789ab", 1.0), ("ba9876543210", 1.0)]


def test_arms_of_a_policy_are_counted_from_zero(registry: CollectorRegistry, metrics: ScorerMetrics) -> None:
    metrics.set_policy("a" * 12, ["present", "deeper"])
    arms_and_routes = [(arm, route) for arm in ("present", "deeper") for route in ("primary", "fallback")]
    assert by_arm(registry) == dict.fromkeys(arms_and_routes, 0)


def test_predictions_are_counted_by_arm_and_route_and_those_in_shadow_are_not_among_what_is_served(
    registry: CollectorRegistry, metrics: ScorerMetrics
) -> None:
    of_arm = AnswerCounts(arm="deeper", primary=3, fallback=1)
    metrics.observe_committed([of_arm, AnswerCounts(primary=5), AnswerCounts(shadow=9, without_shadow=2)], 18, 0)
    assert by_arm(registry) == {("deeper", "primary"): 3, ("deeper", "fallback"): 1, ("shadow", "primary"): 9}
    served = {
        route: registry.get_sample_value("penstock_scorer_scored_total", {"pipeline": "fraud", "route": route})
        for route in ("primary", "fallback")
    }
    assert served == {"primary": 8, "fallback": 1}
    assert registry.get_sample_value("penstock_scorer_shadow_failures_total", {"pipeline": "fraud"}) == 2


def test_an_arm_that_is_gone_is_shown_for_one_policy_more(registry: CollectorRegistry, metrics: ScorerMetrics) -> None:
    arms_of_policies = (["present", "deeper"], ["present"], ["present", "other"])
    shown = []
    for number, arms in enumerate(arms_of_policies):
        metrics.set_policy(str(number), arms)
        shown.append({arm for arm, _ in by_arm(registry)})
    assert shown == [{"present", "deeper"}, {"present", "deeper"}, {"present", "other"}]


def test_the_arms_of_many_policies_do_not_pile_up(registry: CollectorRegistry, metrics: ScorerMetrics) -> None:
    for number in range(50):
        metrics.set_policy(str(number), ["present", f"arm{number}"])
    assert len(by_arm(registry)) == 2 * 3
