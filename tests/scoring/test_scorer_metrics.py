"""The scorer's metrics exist from the start, labelled by pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from scoring.inference import CascadeScores, Scores
from scoring.other_views import STATES
from scoring.prediction_format import ModelIdentity
from scoring.scorer_metrics import STAGES, CascadeCounts, ScorerMetrics


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
    assert registry.get_sample_value("penstock_scorer_waits_total", {"pipeline": "fraud"}) == 0


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
