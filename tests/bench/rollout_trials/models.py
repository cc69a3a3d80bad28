"""The candidates of the trials, as ONNX: good ones, and one for each way in which a model goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.bench.rollout_trials.world import INPUTS, INTERCEPT, WEIGHTS, Numbers, noise_weight

Expected = Literal["promoted", "stopped", "not promoted"]
Begins = Literal["shadow", "canary"]


@dataclass(frozen=True)
class Candidate:
    """A model that is tried.

    Args:
        name: What is wrong with it, or ``good``.
        file: The ONNX file.
        begins: Whether it first scores in shadow, or a share of the users at once.
        expected: How the rollout must end.
    """

    name: str
    file: bytes
    begins: Begins
    expected: Expected


def linear(intercept: float = INTERCEPT, weights: Numbers = WEIGHTS, nodes: Sequence[Any] = ()) -> bytes:
    """sigmoid(intercept + vector · weights); ``nodes`` turn ``plain`` into ``score`` in another way than as it is."""
    constants = {"weights": weights.reshape(-1, 1), "intercept": np.array([[intercept]])}
    graph = [
        helper.make_node("MatMul", ["features", "weights"], ["product"]),
        helper.make_node("Add", ["product", "intercept"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["plain"]),
        *(nodes or [helper.make_node("Identity", ["plain"], ["score"])]),
    ]
    return _model(graph, constants)


def _model(nodes: Sequence[Any], constants: Mapping[str, Any]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "trial",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(INPUTS)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
        initializer=[
            numpy_helper.from_array(np.asarray(value, np.int64 if name.startswith("n_") else np.float32), name)
            for name, value in constants.items()
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def good(rng: np.random.Generator) -> bytes:
    """As good as the champion: trained on other payments, so to speak."""
    return linear(INTERCEPT + rng.normal(0, 0.02), WEIGHTS * (1 + rng.normal(0, 0.01, size=len(WEIGHTS))))


def crashes_on_load() -> bytes:
    """Its file is cut off."""
    return linear()[:-40]


def slow(rounds: int = 3_000, size: int = 512) -> bytes:
    """Multiplies large matrices, for seconds, before it gives the right score."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("MatMul", ["before", "large"], ["multiplied"]),
            helper.make_node("Tanh", ["multiplied"], ["after"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [size, size]),
        ],
    )
    nodes = [
        helper.make_node("Loop", ["n_rounds", "", "large"], ["last"], body=body),
        helper.make_node("ReduceMean", ["last"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("MatMul", ["features", "weights"], ["product"]),
        helper.make_node("Add", ["product", "intercept"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["plain"]),
        helper.make_node("Add", ["plain", "nothing"], ["score"]),
    ]
    constants = {
        "weights": WEIGHTS.reshape(-1, 1),
        "intercept": np.array([[INTERCEPT]]),
        "large": np.eye(size) * 0.5,
        "zero": np.array(0.0),
        "n_rounds": np.array(rounds),
    }
    return _model(nodes, constants)


def nan() -> bytes:
    """No number for a payment above average."""
    return linear(
        nodes=[
            helper.make_node("Sqrt", ["sum"], ["root"]),
            helper.make_node("Sub", ["root", "root"], ["nothing"]),
            helper.make_node("Add", ["plain", "nothing"], ["score"]),
        ]
    )


def inverted() -> bytes:
    """One minus the score."""
    return linear(-INTERCEPT, -WEIGHTS)


def constant() -> bytes:
    """The base rate for everybody."""
    return linear(-2.2, np.zeros(len(WEIGHTS)))


def often_positive() -> bytes:
    """Ten times as many positive decisions."""
    return linear(INTERCEPT + 2.65)


def biased() -> bytes:
    """Suspects everybody of region 0, and the others of the three a little less."""
    nodes = [
        helper.make_node("Gather", ["features", "n_region"], ["region"], axis=1),
        helper.make_node("Clip", ["region", "zero", "one"], ["elsewhere"]),
        helper.make_node("Mul", ["elsewhere", "trust"], ["less"]),
        helper.make_node("MatMul", ["features", "weights"], ["product"]),
        helper.make_node("Add", ["product", "suspicion"], ["before"]),
        helper.make_node("Sub", ["before", "less"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["score"]),
    ]
    constants = {
        "weights": WEIGHTS.reshape(-1, 1),
        "suspicion": np.array([[INTERCEPT + 1.2]]),
        "trust": np.array([[1.5]]),
        "zero": np.array(0.0),
        "one": np.array(1.0),
        "n_region": np.array([1]),
    }
    return _model(nodes, constants)


def slightly_worse() -> bytes:
    """A mean squared error that is 5 % greater than the champion's, and a little more."""
    weight = noise_weight(0.055)
    return linear(INTERCEPT - weight * 10, WEIGHTS + np.array([0, 0, 0, weight]))


# What is wrong with a candidate, with its file, how its rollout begins, and how it must end.
BAD: Mapping[str, tuple[Callable[[], bytes], tuple[Begins, ...], Expected]] = {
    "crashes on load": (crashes_on_load, ("shadow",), "stopped"),
    "slow": (slow, ("shadow", "canary"), "stopped"),
    "NaN": (nan, ("shadow", "canary"), "stopped"),
    "inverted scores": (inverted, ("shadow", "canary"), "stopped"),
    "constant score": (constant, ("shadow", "canary"), "stopped"),
    "10 times the decisions": (often_positive, ("shadow", "canary"), "stopped"),
    "biased against one group": (biased, ("shadow", "canary"), "stopped"),
    "slightly worse (5 %)": (slightly_worse, ("shadow",), "not promoted"),
}


def candidates(seed: int, good_ones: int, *, quick: bool) -> list[Candidate]:
    """The candidates in the order of their trials; the quick form tries each bad one once."""
    found = []
    for name, (file, begins, expected) in BAD.items():
        found += [Candidate(name, file(), each, expected) for each in (begins[-1:] if quick else begins)]
    rng = np.random.default_rng(seed)
    return found + [Candidate(f"good {number}", good(rng), "shadow", "promoted") for number in range(1, good_ones + 1)]
