"""Makes `shap_*.onnx` and `shap.parquet`: real models, the rows that they were trained on, and the answers of `shap`.

They are committed, because `shap` is large and nothing else needs it. To make them anew, in an environment of its own::

    pip install -e '.[services]' shap lightgbm onnxmltools 'protobuf<7'
    python -m tests.models.export_shap

`shap.parquet` has a column for each input and, for the first rows only, ``<model>/<input>`` with its SHAP value
(TreeExplainer, tree_path_dependent, log-odds) and ``<model>/base``, the expected value, which is the same for all rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxmltools
import pyarrow as pa
import pyarrow.parquet
import shap
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier

from scoring.training import to_onnx

HERE = Path(__file__).parent
INPUTS = tuple(f"view.f{place}" for place in range(8))
ROWS, EXPLAINED = 1_000, 300


def data() -> tuple[np.ndarray, np.ndarray]:
    """Vectors, float32 [N, 8], correlated and with nulls, and whether each is positive, which is not additive."""
    rng = np.random.default_rng(11)
    X = rng.normal(size=(ROWS, len(INPUTS)))  # noqa: N806
    X[:, 1] += X[:, 0]
    X[:, 5] = np.round(np.exp(X[:, 5]))
    logit = 2 * X[:, 0] - X[:, 2] + 2 * X[:, 3] * (X[:, 4] > 0) + 0.5 * X[:, 5] - 2
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    X[rng.random(X.shape) < 0.1] = np.nan
    return X.astype(np.float32), y


def explained(name: str, model: Any, X: np.ndarray) -> dict[str, pa.Array]:  # noqa: N803
    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    values = np.asarray(explainer.shap_values(X[:EXPLAINED]), dtype=np.float32)
    base = np.full(EXPLAINED, np.ravel(explainer.expected_value)[-1], dtype=np.float32)
    assert values.shape == (EXPLAINED, len(INPUTS))
    columns = {**{f"{name}/{one}": values[:, place] for place, one in enumerate(INPUTS)}, f"{name}/base": base}
    return {
        one: pa.array(np.pad(each, (0, ROWS - EXPLAINED), constant_values=np.nan), from_pandas=True)
        for one, each in columns.items()
    }


def main() -> None:
    X, y = data()  # noqa: N806
    settings: dict[str, Any] = {"learning_rate": 0.08, "l2_regularization": 1.0, "random_state": 1}
    boosting = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=15, **settings).fit(X, y)
    stumps = HistGradientBoostingClassifier(max_iter=60, max_depth=1, **settings).fit(X, y)
    light = lightgbm.LGBMClassifier(n_estimators=40, num_leaves=15, random_state=1, verbose=-1).fit(X, y)
    matrix = [("input", FloatTensorType([None, len(INPUTS)]))]
    exported = onnxmltools.convert_lightgbm(light, initial_types=matrix, zipmap=False, target_opset=15)
    exported.graph.name = "lightgbm"  # it is random otherwise
    columns = {one: pa.array(X[:, place], from_pandas=True) for place, one in enumerate(INPUTS)}
    for name, model, content in (
        ("boosting", boosting, to_onnx(boosting, X, INPUTS, 1)),
        ("stumps", stumps, to_onnx(stumps, X, INPUTS, 1)),
        ("lightgbm", light, exported.SerializeToString(deterministic=True)),
    ):
        (HERE / f"shap_{name}.onnx").write_bytes(content)
        columns |= explained(name, model, X)
    pyarrow.parquet.write_table(pa.table(columns), HERE / "shap.parquet")


if __name__ == "__main__":
    main()
