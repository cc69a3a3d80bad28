"""The areas under the curve before drift, in it, and after a retrained version took over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from verify.labels import LabelHistory
from verify.loop_quality import area_of, loop_quality

HOUR = 3_600_000


def test_the_interval_covers_the_true_area_as_often_as_it_says():
    rng, covered = np.random.default_rng(3), 0
    for _ in range(400):
        truth = rng.random(400) < 0.2
        found = area_of(truth.tolist(), (rng.normal(size=400) + truth).tolist())
        assert found is not None
        covered += found.low <= 0.7602 <= found.high  # of two normal distributions that are one deviation apart
    assert 0.92 <= covered / 400 <= 0.98


def test_one_class_has_no_area():
    assert area_of([True, True], [0.1, 0.2]) is None


@pytest.fixture
def world() -> tuple[list[Any], LabelHistory]:
    rng = np.random.default_rng(1)
    predictions, labels = [], {}
    for number in range(3_000):
        version = "1" if number < 2_000 else "2"
        score = float(rng.random())
        strength = 0.1 if 1_000 <= number < 2_000 else 0.8
        truth = int(rng.random() < (1 - strength) * 0.5 + strength * score)
        value = {"event_id": f"e{number}", "event_time": number * HOUR, "score": score, "model_version": version}
        predictions.append(SimpleNamespace(value=value))
        labels[f"e{number}"] = [((number * HOUR + HOUR, 0, 0, 0), truth)]
    return predictions, LabelHistory(labels, 2_999 * HOUR)


def of(world: Any, labels: Any, history: LabelHistory | None = None) -> Any:
    return loop_quality(
        world[0],
        labels,
        history or world[1],
        trained_until_ms=100 * HOUR,
        drift_from_ms=1_000 * HOUR,
        replaced=1,
        retrained=2,
    )


def declared(horizon: int | None, absent: str = "excluded") -> Any:
    return SimpleNamespace(positive=None, horizon=horizon, absent=absent)


def test_each_stage_has_the_events_of_its_version_and_time(world):
    found = of(world, declared(2 * HOUR))
    assert {stage: area.events for stage, area in found.items()} == {"before": 899, "in": 1_000, "after": 998}
    truth = [world[1].of[f"e{n}"][0][1] for n in range(1_000, 2_000)]
    scores = [one.value["score"] for one in world[0][1_000:2_000]]
    assert found["in"].auc == round(float(roc_auc_score(truth, scores)), 4)
    assert found["in"].high < min(found["before"].low, found["after"].low)


def test_a_label_after_the_horizon_does_not_count(world):
    assert of(world, declared(HOUR // 2)) == {}
    late = {
        name: [((rank[0] + 2 * HOUR, *rank[1:]), label) for rank, label in known] for name, known in world[1].of.items()
    }
    assert of(world, declared(2 * HOUR), LabelHistory(late, world[1].reached_ms)) == {}
