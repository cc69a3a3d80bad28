"""A small pipeline for rollouts: three versions of its model, and policies for them. No stack."""

from __future__ import annotations

import json
from functools import cache
from itertools import count as numbers
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count
from scoring.audit import in_slice
from scoring.rollout.policy import Arm, Exploration, RolloutPolicy, Step
from streams.plan.project import Project

PARTITIONS = 3

Floats = npt.NDArray[np.float32]


class Version(NamedTuple):
    """A version of the model.

    Args:
        weights: What a unit of each input adds to the logit.
        numberless: It has no number for amounts of at least the first and less than the second.
    """

    weights: tuple[float, float]
    numberless: tuple[float, float] = (0.0, 0.0)


VERSIONS = {
    "1": Version((0.4, 0.1), (3.6, 4.0)),
    "2": Version((0.5, -0.1), (-4.0, -3.5)),
    "3": Version((-0.3, 0.2)),
}
"""Amounts are between -4 and 4."""


class Tap(Contract, name="tap", version=1):
    """A tap."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str | None, ENTITY] = None
    amount: float


CARD = Entity(name="card", key="card")
PIPELINE = Pipeline(
    name="taps",
    source=Source(topic="events.taps", contract=Tap, key="card", partitions=PARTITIONS),
    entities=(CARD,),
    views=(View(name="by_card", version=1, entity=CARD, aggregates=(count(over="10m"),)),),
    model=Model(
        name="taps",
        inputs=("event.amount", "by_card.count_10m"),
        threshold=0.5,
        positive="block",
        negative="pass",
    ),
)


@cache
def project() -> Project:
    """The pipeline, compiled once."""
    return Project.of(PIPELINE, Path("no schemas"))


def scores(version: str, vectors: Floats) -> Floats:
    """The scores of a version, [N, 1]; null counts as 0."""
    weights, (least, most) = VERSIONS[version]
    amounts = vectors[:, :1]
    found = 1 / (1 + np.exp(-(np.nan_to_num(vectors) @ np.array(weights, np.float32)), dtype=np.float32))
    has_none = (amounts >= np.float32(least)) & (amounts < np.float32(most))
    return np.where(has_none, np.float32(np.nan), found[:, np.newaxis])


def write_models(folder: Path) -> None:
    """Write a model repository with every version."""
    node = onnx.helper.make_node
    for name, version in VERSIONS.items():
        constants = {
            "zero": np.array(0, np.float32),
            "no number": np.array(np.nan, np.float32),
            "least": np.array(version.numberless[0], np.float32),
            "most": np.array(version.numberless[1], np.float32),
            "first": np.array([0], np.int64),
            "weights": np.array(version.weights, np.float32)[:, np.newaxis],
        }
        graph = onnx.helper.make_graph(
            [
                node("IsNaN", ["x"], ["is null"]),
                node("Where", ["is null", "zero", "x"], ["filled"]),
                node("MatMul", ["filled", "weights"], ["logit"]),
                node("Sigmoid", ["logit"], ["number"]),
                node("Gather", ["x", "first"], ["amount"], axis=1),
                node("GreaterOrEqual", ["amount", "least"], ["is enough"]),
                node("Less", ["amount", "most"], ["is not too much"]),
                node("And", ["is enough", "is not too much"], ["has none"]),
                node("Where", ["has none", "no number", "number"], ["score"]),
            ],
            "score",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])],
            [onnx.helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, [None, 1])],
            [onnx.numpy_helper.from_array(value, key) for key, value in constants.items()],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
        home = folder / PIPELINE.model.name / name
        home.mkdir(parents=True)
        (home / "model.onnx").write_bytes(model.SerializeToString())
        (home / "manifest.json").write_text(json.dumps({"inputs": PIPELINE.model.inputs}), encoding="utf-8")


def exploring(card: str) -> Exploration:
    """An exploration of a hundredth of the cards, this one among them."""
    salts = (f"taps/exploration-{number}" for number in numbers())
    salt = next(salt for salt in salts if in_slice(salt, [card], 0.01).all())
    return Exploration(share=0.01, decision="pass", salt=salt)


def canary(exploration: Exploration | None = None) -> RolloutPolicy:
    """Version 2 against version 1, first in shadow; version 3 is in shadow throughout."""
    times = {"least_events": 1, "least_time": 1, "most_time": 2}
    return RolloutPolicy(
        pipeline="taps",
        mode="canary",
        salt="taps/second",
        arms=(Arm(name="first", version=1, role="champion"), Arm(name="second", version=2)),
        shadow=(3,),
        steps=tuple(Step(weight=weight, **times) for weight in (0, 0.3, 1)),
        exploration=exploration,
    )


def only_champion() -> RolloutPolicy:
    """What a rollback publishes."""
    return RolloutPolicy(
        pipeline="taps",
        mode="shadow",
        salt="taps/second",
        arms=(Arm(name="first", version=1, role="champion"),),
    )
