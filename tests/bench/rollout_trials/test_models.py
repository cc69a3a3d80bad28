"""The candidates of the trials are wrong in the way that their names say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnxruntime import InferenceSession

from scoring.onnx_session import open_session
from tests.bench.rollout_trials import models
from tests.bench.rollout_trials.world import REGIONS, Numbers, payments, probabilities

PAYMENTS = payments(np.random.default_rng(3), 50_000)
TRUE = probabilities(PAYMENTS.vectors)


def scores(file: bytes) -> Numbers:
    session = InferenceSession(file)
    (found,) = session.run(["score"], {"features": PAYMENTS.vectors.astype(np.float32)})
    return np.asarray(found, np.float64).reshape(-1)


def loss(found: Numbers) -> float:
    return float((TRUE * (1 - found) ** 2 + (1 - TRUE) * found**2).mean())


def test_one_payment_in_ten_is_fraud_and_one_in_thirty_is_blocked() -> None:
    assert PAYMENTS.is_fraud.mean() == pytest.approx(0.1, abs=0.02)
    assert (scores(models.linear()) >= 0.5).mean() == pytest.approx(0.037, abs=0.005)


def test_the_champion_and_good_models_give_the_true_probabilities() -> None:
    assert scores(models.linear()) == pytest.approx(TRUE, abs=1e-5)
    for seed in range(20):
        assert loss(scores(models.good(np.random.default_rng(seed)))) < 1.005 * loss(TRUE)


def test_the_slightly_worse_one_has_a_loss_that_is_five_percent_greater() -> None:
    assert loss(scores(models.slightly_worse())) / loss(TRUE) == pytest.approx(1.055, abs=0.004)


def test_the_slow_one_gives_the_right_scores() -> None:
    assert scores(models.slow(rounds=2)) == pytest.approx(TRUE, abs=1e-5)


def test_the_nan_one_has_no_number_for_some() -> None:
    missing = np.isnan(scores(models.nan()))
    assert 0.5 < missing.mean() < 1


@pytest.mark.parametrize(
    ("file", "measure", "low", "high"),
    [
        (models.inverted, lambda found: np.corrcoef(found, TRUE)[0, 1], -1.001, -0.999),
        (models.constant, np.std, 0, 1e-6),
        (models.often_positive, lambda found: (found >= 0.5).sum() / (TRUE >= 0.5).sum(), 9, 12),
    ],
)
def test_a_bad_one_is_bad_as_its_name_says(
    file: Callable[[], bytes], measure: Callable[[Numbers], float], low: float, high: float
) -> None:
    assert low <= measure(scores(file())) <= high


def test_the_biased_one_blocks_one_region_more_often_and_hardly_more_in_all() -> None:
    found, region = scores(models.biased()) >= 0.5, PAYMENTS.vectors[:, 1]
    was = TRUE >= 0.5
    ratios = [found[region == number].mean() / was[region == number].mean() for number in range(REGIONS)]
    assert ratios[0] > 3
    assert max(ratios[1:]) < 1
    assert found.mean() / was.mean() < 1.9


def test_the_one_that_crashes_cannot_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.crashes_on_load())
    with pytest.raises(Exception, match=r"(?i)protobuf|parse|load"):
        open_session(path)
