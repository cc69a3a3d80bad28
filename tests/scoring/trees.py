"""Trees as nested values, the ONNX model of them, and what attribution is by its definition."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

MODES = {
    "BRANCH_LEQ": operator.le,
    "BRANCH_LT": operator.lt,
    "BRANCH_GTE": operator.ge,
    "BRANCH_GT": operator.gt,
    "BRANCH_EQ": operator.eq,
    "BRANCH_NEQ": operator.ne,
}


@dataclass(frozen=True)
class Split:
    """A node: rows for which ``vector[input] <mode> threshold`` take ``yes``, others ``no``."""

    input: int
    threshold: float
    yes: Tree
    no: Tree
    mode: str = "BRANCH_LEQ"
    nulls_take_yes: bool = False

    def takes_yes(self, vector: Sequence[float]) -> bool:
        value = vector[self.input]
        return MODES[self.mode](value, self.threshold) or (math.isnan(value) and self.nulls_take_yes)


Tree = Split | float
Rows = Sequence[Sequence[float]]


def tree_nodes(trees: Sequence[Tree]) -> dict[str, list[Any]]:
    """The attributes of a regressor with these trees."""
    lists: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in (
            *("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids"),
            "missing_value_tracks_true",
        )
    } | {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}

    def add(tree: int, node: Tree) -> int:
        number = sum(one == tree for one in lists["nodes_treeids"])
        values = (tree, number, 0, "LEAF", 0.0, 0, 0, 0)
        if isinstance(node, Split):
            values = (tree, number, node.input, node.mode, node.threshold, 0, 0, int(node.nulls_take_yes))
        place = len(lists["nodes_treeids"])
        for name, value in zip([name for name in lists if name.startswith("nodes_")], values, strict=True):
            lists[name].append(value)
        if isinstance(node, Split):
            lists["nodes_truenodeids"][place] = add(tree, node.yes)
            lists["nodes_falsenodeids"][place] = add(tree, node.no)
        else:
            for name, value in (("treeids", tree), ("nodeids", number), ("ids", 0), ("weights", node)):
                lists[f"target_{name}"].append(value)
        return number

    for tree, root in enumerate(trees):
        add(tree, root)
    return lists


def regressor(trees: Sequence[Tree], taken: str = "features", made: str = "score", **attributes: Any) -> NodeProto:
    given = {"n_targets": 1} | tree_nodes(trees) | attributes
    return helper.make_node("TreeEnsembleRegressor", [taken], [made], domain="ai.onnx.ml", **given)


def classifier(trees: Sequence[Tree], taken: str = "features", **attributes: Any) -> NodeProto:
    """With the outputs ``label`` and ``probabilities``, by default of two classes; the weights are of the second."""
    given = {name.replace("target_", "class_"): value for name, value in tree_nodes(trees).items()}
    given |= {"classlabels_int64s": [0, 1]} | attributes
    return helper.make_node("TreeEnsembleClassifier", [taken], ["label", "probabilities"], domain="ai.onnx.ml", **given)


def model_of(nodes: Sequence[NodeProto], width: int, **constants: np.ndarray) -> bytes:
    """A version's model.onnx with these nodes."""
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape, value.ravel())
            for name, value in constants.items()
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model: ModelProto = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    helper.set_model_props(model, {"inputs": json.dumps([f"view.f{place}" for place in range(width)])})
    return bytes(model.SerializeToString())


def picked(column: int, taken: str = "probabilities") -> tuple[NodeProto, dict[str, np.ndarray]]:
    """The node that makes a column the score, and its constant."""
    return helper.make_node("Gather", [taken, "column"], ["score"], axis=1), {"column": np.array([column])}


def mean(tree: Tree, rows: Rows) -> float:
    """Of what the tree gives for the rows; without rows, of what its branches give."""
    if not isinstance(tree, Split):
        return tree
    yes, no = parted(tree, rows)
    if not rows:
        return (mean(tree.yes, []) + mean(tree.no, [])) / 2
    return (len(yes) * mean(tree.yes, yes) + len(no) * mean(tree.no, no)) / len(rows)


def attributed(trees: Sequence[Tree], rows: Rows, vector: Sequence[float]) -> tuple[float, list[float]]:
    """The base, and what each input adds, by walking down each tree."""
    contributions = [0.0] * len(vector)
    for root in trees:
        tree, reach = root, rows
        while isinstance(tree, Split):
            yes, no = parted(tree, reach)
            below, there = (tree.yes, yes) if tree.takes_yes(vector) else (tree.no, no)
            contributions[tree.input] += mean(below, there) - mean(tree, reach)
            tree, reach = below, there
    return sum(mean(root, rows) for root in trees), contributions


def parted(split: Split, rows: Rows) -> tuple[Rows, Rows]:
    return [row for row in rows if split.takes_yes(row)], [row for row in rows if not split.takes_yes(row)]
