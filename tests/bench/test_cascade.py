"""The benchmark of a cascade times what the cascade does, on the events that certified its band."""

from __future__ import annotations

from itertools import accumulate, cycle

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from examples.fraud.pipeline import pipeline
from scoring.training import to_onnx
from tests.bench.cascade import BATCH, measured, text_of

EVENTS = 14_000
INPUTS = pipeline.model.inputs


def model(vectors: np.ndarray, labels: np.ndarray, trees: int) -> bytes:
    fitted = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False).fit(vectors, labels)
    return to_onnx(fitted, vectors[:100], INPUTS, seed=0)


def test_the_cascade_is_as_much_cheaper_as_both_its_calls_take_less_than_the_strong_model_for_all() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.random((EVENTS, len(INPUTS)), np.float32)
    labels = (vectors[:, 0] > 0.5).astype(np.int8)
    half = EVENTS // 2
    models = (model(vectors[:half], labels[:half], 20), model(vectors[:half], labels[:half], 40))
    # For each batch 2 s of the fast model, 1 s of the strong one in the band, 12 s of the strong one for all.
    clock = accumulate(cycle([0.0, 2.0, 1.0, 12.0]))
    found = measured(vectors, labels, models, lambda: next(clock))
    assert (found.trained, found.certified) == (half, half // 2)
    assert found.certified > 3 * BATCH
    assert (found.fast_us, found.strong_us, found.times_cheaper) == (2e6, 12e6, 4.0)
    assert found.bound <= 0.001
    assert "cheaper         4.0 times" in text_of(found)
