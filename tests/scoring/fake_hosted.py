"""A fake Triton with one hosted model, that is a function of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.hosted_model import HostedModel, HostedTensor
from scoring.servers.hosted import HostedMetadata, HostedModels, TensorMetadata
from scoring.servers.protocol import InferenceError

Tensors = Mapping[str, NDArray[Any]]
INPUTS = ("event.amount", "activity.amount_sum_1h", "activity.count_1h")
NULLS = {"activity.amount_sum_1h": 0.0, "activity.count_1h": 0.0}
# A tensor for each input, and two outputs.
RISK = HostedMetadata(
    version=3,
    backend="python",
    platform="python",
    max_rows=100,
    inputs=(
        TensorMetadata("amount", "FP32", (-1, 1)),
        TensorMetadata("amount_sum_1h", "FP64", (-1,)),
        TensorMetadata("count_1h", "INT64", (-1, 1)),
    ),
    outputs=(TensorMetadata("probabilities", "FP64", (-1, 2)), TensorMetadata("anomaly", "FP32", (-1, 1))),
)
HOSTED = HostedModel(
    name="risk",
    version=3,
    backend="python",
    platform="python",
    max_rows=100,
    tensors=(
        HostedTensor(name="amount", datatype="FP32", columns=(0,), flat=False),
        HostedTensor(name="amount_sum_1h", datatype="FP64", columns=(1,), flat=True),
        HostedTensor(name="count_1h", datatype="INT64", columns=(2,), flat=False),
    ),
    nulls=(None, 0.0, 0.0),
    output="probabilities",
    width=2,
    column=1,
    tolerance=1e-4,
)


def risk(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """The model: its score is a tenth of the sum of its inputs."""
    amount, total, count = (tensors[name].reshape(-1) for name in ("amount", "amount_sum_1h", "count_1h"))
    score = (amount.astype(np.float64) + total + count) / 10
    return {"probabilities": np.stack([1 - score, score], axis=1), "anomaly": amount.reshape(-1, 1)}


class FakeHosted(HostedModels):
    """Records its calls.

    Args:
        described: The model's metadata.
        model: Its outputs.
    """

    def __init__(
        self, described: HostedMetadata = RISK, model: Callable[[Tensors], dict[str, NDArray[Any]]] = risk
    ) -> None:
        self.where = "127.0.0.1:1"
        self.described, self.model = described, model
        self.calls: list[tuple[str, int, Tensors]] = []

    def describe(self, name: str, version: int | None = None) -> HostedMetadata:
        assert (name, version) in {("risk", None), ("risk", 3)}
        return self.described

    def ask(self, name: str, version: int, tensors: Tensors, outputs: Iterable[str]) -> dict[str, NDArray[Any]]:
        self.calls.append((name, version, tensors))
        for tensor in self.described.inputs:
            assert len(tensor.shape) == tensors[tensor.name].ndim
        try:
            answer = self.model(tensors)
        except ZeroDivisionError as error:
            raise InferenceError("the model fails") from error
        return {output: answer[output] for output in outputs if output in answer}
