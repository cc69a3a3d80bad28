"""The demo's bad version: it is well trained, on the wrong label."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pyarrow as pa

from examples.fraud.mixed_up_labels import train
from scoring.training import auc


def test_it_gives_the_probability_of_an_honest_payment_and_takes_nulls() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(2_000, 3)).astype(np.float32)
    labels = (vectors[:, 0] > 1.5).astype(np.int8)
    vectors[::7, 1] = np.nan
    columns = {f"event.{n}": pa.array(vectors[:, n], mask=np.isnan(vectors[:, n])) for n in range(3)}
    others = {"label": labels, "event_time": np.zeros(2_000), "event_id": [""] * 2_000}
    model = train(pa.table({**columns, **others}), 7)
    scores = probabilities(model.onnx.SerializeToString(), vectors)
    assert auc(scores, labels) < 0.05
    assert scores.mean() > 0.8


def probabilities(content: bytes, vectors: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content)
    (name,) = [each.name for each in session.get_inputs()]
    return session.run(["probabilities"], {name: vectors})[0][:, 1]
