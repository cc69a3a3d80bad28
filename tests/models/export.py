"""Makes the models of this folder: real models of LightGBM, XGBoost and PyTorch, exported to ONNX, with scored rows.

They are committed, because these libraries are large and nothing else needs them. To make them anew, in an environment
of its own::

    pip install lightgbm xgboost onnxmltools torch onnxscript pyarrow
    python tests/models/export.py
"""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import onnxmltools
import pyarrow as pa
import pyarrow.parquet
import torch
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

HERE = Path(__file__).parent
# The inputs of the pipeline in tests/scoring/scorer_bench.py.
INPUTS = ("event.amount", "activity.amount_sum_1h", "activity.count_1h")
ROWS, CHECKED, OPSET = 2_000, 200, 17


def data(seed: int, *, nulls: bool) -> tuple[np.ndarray, np.ndarray]:
    """Vectors, float32 [N, 3], and whether each is positive."""
    rng = np.random.default_rng(seed)
    amounts = rng.lognormal(1, 1, ROWS)
    counts = rng.integers(0, 20, ROWS)
    X = np.stack([amounts, amounts * counts * rng.uniform(0.5, 1.5, ROWS), counts], axis=1).astype(np.float32)  # noqa: N806
    y = (0.3 * X[:, 0] + 0.2 * X[:, 2] + rng.normal(0, 1, ROWS) > 3).astype(np.int64)
    if nulls:
        X[rng.random(X.shape) < 0.1] = np.nan
    return X, y


def write(name: str, content: bytes, X: np.ndarray, scores: np.ndarray) -> None:  # noqa: N803
    (HERE / f"{name}.onnx").write_bytes(content)
    columns = {column: pa.array(X[:CHECKED, i], from_pandas=True) for i, column in enumerate(INPUTS)}
    table = pa.table({**columns, "score": np.asarray(scores[:CHECKED], dtype=np.float64)})
    pyarrow.parquet.write_table(table, HERE / f"{name}.parquet")


def export_lightgbm() -> None:
    """A classifier: a label and the probabilities of two classes."""
    X, y = data(1, nulls=True)  # noqa: N806
    model = lightgbm.LGBMClassifier(n_estimators=20, num_leaves=7, random_state=1, verbose=-1).fit(X, y)
    matrix = [("input", FloatTensorType([None, len(INPUTS)]))]
    exported = onnxmltools.convert_lightgbm(model, initial_types=matrix, zipmap=False, target_opset=15)
    write("lightgbm", exported.SerializeToString(), X, model.predict_proba(X)[:, 1])


def export_xgboost() -> None:
    """A regression: one value."""
    X, _ = data(2, nulls=True)  # noqa: N806
    target = np.nan_to_num(X[:, 0]) * 2 + np.nan_to_num(X[:, 2])
    model = xgboost.XGBRegressor(n_estimators=20, max_depth=3, random_state=2).fit(X, target)
    matrix = [("input", FloatTensorType([None, len(INPUTS)]))]
    exported = onnxmltools.convert_xgboost(model, initial_types=matrix, target_opset=15)
    write("xgboost", exported.SerializeToString(), X, model.predict(X))


class Network(torch.nn.Module):
    """A tensor for each input, the count as an integer that chooses an embedding; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = torch.nn.Embedding(20, 4)
        self.body = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))

    def forward(
        self, amount: torch.Tensor, amount_sum_1h: torch.Tensor, count_1h: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = torch.log1p(torch.stack([amount, amount_sum_1h.float()], dim=1))
        found = self.body(torch.cat([numbers, self.counts(count_1h)], dim=1))
        return torch.sigmoid(found[:, 0]), found[:, 1:]


def export_network(
    network: torch.nn.Module, inputs: tuple[torch.Tensor, ...], names: list[str], path: Path
) -> torch.Tensor:
    """Write a network with the outputs `risk` and `loss` for any number of rows; returns its `risk` of the inputs."""
    torch.onnx.export(
        network.eval(),
        inputs,
        path,
        input_names=names,
        output_names=["risk", "loss"],
        dynamic_axes={name: {0: "rows"} for name in [*names, "risk", "loss"]},
        opset_version=OPSET,
        dynamo=False,
    )
    with torch.no_grad():
        risk, _ = network(*inputs)
    return risk


def export_torch() -> None:
    """A network with tensors float32, float64 and int64, and the outputs `risk` [N] and `loss` [N, 1]."""
    X, y = data(3, nulls=False)  # noqa: N806
    torch.manual_seed(3)
    network = Network()
    inputs = (
        torch.tensor(X[:, 0]),
        torch.tensor(X[:, 1], dtype=torch.float64),
        torch.tensor(X[:, 2], dtype=torch.int64),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        risk, loss = network(*inputs)
        error = torch.nn.functional.binary_cross_entropy(risk, torch.tensor(y, dtype=torch.float32))
        error = error + 0.01 * (loss[:, 0] - inputs[0]).square().mean()
        error.backward()
        optimizer.step()
    names = [name.partition(".")[2] for name in INPUTS]
    path = HERE / "torch.onnx"
    risk = export_network(network, inputs, names, path)
    write("torch", path.read_bytes(), X, risk.numpy())


COUNTRIES = ("?", "DE", "FR", "PL", "Åland")


class TextNetwork(torch.nn.Module):
    """An amount, and a country by its place in a vocabulary, which chooses an embedding; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.countries = torch.nn.Embedding(len(COUNTRIES), 3)
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))

    def forward(self, amount: torch.Tensor, country: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.body(torch.cat([torch.log1p(amount)[:, None], self.countries(country)], dim=1))
        return torch.sigmoid(found[:, 0]), found[:, 1:]


def export_text() -> None:
    """A network with a text input; the rows have countries that its vocabulary lacks, and nulls."""
    rng = np.random.default_rng(4)
    amounts = rng.lognormal(1, 1, ROWS).astype(np.float32)
    texts = rng.choice([*COUNTRIES[1:], "XX", ""], ROWS)
    numbers = np.array([COUNTRIES.index(text) if text in COUNTRIES else 0 for text in texts])
    y = (numbers * 0.5 + np.log1p(amounts) + rng.normal(0, 0.3, ROWS) > 2.5).astype(np.float32)
    torch.manual_seed(4)
    network = TextNetwork()
    inputs = torch.tensor(amounts), torch.tensor(numbers)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        risk, _ = network(*inputs)
        torch.nn.functional.binary_cross_entropy(risk, torch.tensor(y)).backward()
        optimizer.step()
    names, path = ["amount", "country"], HERE / "text.onnx"
    risk = export_network(network, inputs, names, path)
    table = pa.table(
        {
            "event.amount": amounts[:CHECKED],
            "event.country": [text or None for text in texts[:CHECKED].tolist()],
            "score": risk.numpy()[:CHECKED].astype(np.float64),
        }
    )
    pyarrow.parquet.write_table(table, HERE / "text.parquet")
    (HERE / "text.txt").write_text("\n".join(COUNTRIES) + "\n", encoding="utf-8")


if __name__ == "__main__":
    export_lightgbm()
    export_xgboost()
    export_torch()
    export_text()
