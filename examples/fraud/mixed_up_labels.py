"""A training function with a plausible mistake, for the demo: it makes a version that a rollout must stop.

The model is to give the probability of fraud. Somebody has trained it on the answer to another question: whether the
payment was honest. It is as accurate as any other, and would send nearly every payment to review.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier

from penstock.offline import OnnxModel

_NOT_INPUTS = 3  # label, event_time, event_id


def train(table: pa.Table, seed: int) -> OnnxModel:
    """Train on the wrong label: 1 for an honest payment."""
    inputs = table.column_names[:-_NOT_INPUTS]
    X = np.stack([table[name].to_numpy() for name in inputs], axis=1)  # noqa: N806 - the matrix, as everywhere
    is_honest = 1 - table["label"].to_numpy()
    model = HistGradientBoostingClassifier(max_iter=60, random_state=seed).fit(X, is_honest)
    return OnnxModel(to_onnx(model, X[:1], options={"zipmap": False}))
