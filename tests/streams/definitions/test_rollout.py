"""A pipeline declares how its rollouts are judged, and what makes no sense is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from examples.flights.pipeline import pipeline
from streams.definitions.rollout import DEFAULT_GUARDRAILS, DEFAULT_STEPS, Guardrail, Rollout, Step, parts_of


def test_a_pipeline_that_declares_nothing_has_defaults() -> None:
    assert pipeline.rollout == Rollout()
    assert pipeline.rollout.steps == DEFAULT_STEPS
    assert [*pipeline.rollout.judged.values()] == [*DEFAULT_GUARDRAILS]


def test_a_declared_guardrail_replaces_the_default_of_its_measure() -> None:
    latency = Guardrail(measure="latency", absolute=(0, 50))
    judged = Rollout(guardrails=(latency,)).judged
    assert judged["latency"] == latency
    assert {**judged, "latency": None} == {**Rollout().judged, "latency": None}


def test_a_measure_can_be_left_out() -> None:
    assert {*Rollout().judged} - {*Rollout(without=("scores", "split")).judged} == {"scores", "split"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"measure": "errors"}, "errors needs bounds: absolute"),
        ({"measure": "errors", "absolute": (0, 0.01), "relative": (0, 2)}, "errors takes no relative bounds"),
        ({"measure": "errors", "absolute": (0.001, 0.01)}, "errors are allowed from 0 up to a share below 1"),
        ({"measure": "errors", "absolute": (0, 1)}, "errors are allowed from 0 up to a share below 1"),
        ({"measure": "fairness", "absolute": (0, 1)}, "fairness takes no absolute bounds"),
        ({"measure": "quality", "awaited": True}, "quality needs bounds: absolute or relative"),
        ({"measure": "split", "absolute": (0, 1)}, "split takes no absolute bounds"),
        ({"measure": "split", "awaited": True}, "split cannot be awaited"),
        ({"measure": "latency", "relative": (2, 2)}, "2 to 2 are no bounds"),
        ({"measure": "latency", "relative": (-1, 2)}, "-1 to 2 are no bounds"),
        ({"measure": "latency", "relative": (0, float("inf"))}, "0 to inf are no bounds"),
        ({"measure": "latency", "relative": (0, float("nan"))}, "0 to nan are no bounds"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Guardrail(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"guardrails": (Guardrail(measure="split"), Guardrail(measure="split"))}, "split is declared twice"),
        ({"guardrails": (Guardrail(measure="split"),), "without": ("split",)}, "split is declared, and left out"),
        ({"steps": ()}, "at least 1 item"),
        ({"steps": (DEFAULT_STEPS[1], DEFAULT_STEPS[0])}, "weights must rise from step to step, got 0.01, 0.0"),
        ({"alpha": 0.2}, "alpha"),
        ({"alpha": 0}, "alpha"),
        ({"most_entities": 10}, "most_entities"),
        ({"label_horizon": "7d"}, r"label_horizon is declared once, .*: Labels\(horizon=...\)"),
    ],
)
def test_a_rollout_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Rollout(**fields)


def test_a_step_takes_no_longer_than_its_most_time() -> None:
    with pytest.raises(ValidationError, match="least_time 2h is longer than most_time 1h"):
        Step.model_validate({"weight": 0, "least_events": 1, "least_time": "2h", "most_time": "1h"})


@pytest.mark.parametrize("weight", [-0.1, 1.1, 0.00005, float("nan")])
def test_a_weight_is_a_whole_number_of_parts(weight: float) -> None:
    with pytest.raises(ValueError, match="is no weight"):
        parts_of(weight)
