"""The trees in an ONNX model: which input each node splits on, and how the score follows from the leaves.

Reads the nodes TreeEnsembleClassifier and TreeEnsembleRegressor, to which scikit-learn, LightGBM and XGBoost export.
Between the vector and the trees there may be nodes that keep each column a function of one input; between the trees and
the score, nodes that pick a column. Whatever else there is refuses the model. Pure: no file, no session.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from scoring.model_metadata import INPUT, OUTPUT

_IR_VERSION = 8
_OPSET = 17
# The first with weights and thresholds as doubles.
_ML_OPSET = 3
_ML = "ai.onnx.ml"
_CLASSIFIER, _REGRESSOR = "TreeEnsembleClassifier", "TreeEnsembleRegressor"
_WIDE = "wide"

# Each column of what these make depends on the same column of what they take.
_BY_COLUMN = {"Identity", "Cast", "IsNaN", "Where", "Scaler", "Imputer", "LabelEncoder", "Mod"}
# These change the shape alone; with one column there is no doubt which it is.
_SHAPE = {"Reshape", "Squeeze", "Unsqueeze", "Flatten"}


class Unexplained(Exception):  # noqa: N818 - an answer about a model, not a defect
    """The score is no sum over trees whose every split reads one input; the text says why."""


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """The trees whose sum, the margin, gives the score. All arrays have an entry for each node, parents first.

    Attributes:
        model: The ONNX model that they are in, with Penstock's tensors.
        node: Its node with the trees.
        inputs: The inputs of the vector.
        tree: The tree of a node, from 0.
        place: Where the ensemble's own attributes list the node.
        parent: The index of the parent, −1 for a root.
        split: The position of the input that the node splits on, −1 for a leaf.
        value: What a leaf adds to the margin; 0 for others.
        base: What the margin is without any tree.
        is_logistic: Whether the margin is the log-odds of the score; otherwise it is the score.
    """

    model: ModelProto
    node: NodeProto
    inputs: tuple[str, ...]
    tree: NDArray[np.int64]
    place: NDArray[np.int64]
    parent: NDArray[np.int64]
    split: NDArray[np.int64]
    value: NDArray[np.float64]
    base: float
    is_logistic: bool


def read_ensemble(content: bytes) -> TreeEnsemble:
    """The trees of a model with Penstock's tensors, trained or imported.

    Raises:
        Unexplained: if its score is not a sum over trees, or a split does not read one input.
    """
    model = onnx.load_model_from_string(content)
    inputs = tuple(json.loads(next(entry.value for entry in model.metadata_props if entry.key == "inputs")))
    graph = _Graph(model, len(inputs))
    node, column = graph.trees_of_score()
    attributes = _attributes(node)
    origins = graph.origins(node.input[0])
    if origins is None:
        raise Unexplained("its trees read no input")
    place, tree, parent = _parents_first(attributes)
    is_leaf = np.array([mode == b"LEAF" for mode in attributes["nodes_modes"]])[place]
    columns = np.where(is_leaf, -1, np.array(attributes["nodes_featureids"])[place])
    if columns.max(initial=-1) >= len(origins):
        raise Unexplained("its trees read more columns than they get")
    split = np.where(is_leaf, -1, np.array(origins)[columns])
    value, base, is_logistic = _margin(node, attributes, column)
    return TreeEnsemble(model, node, inputs, tree, place, parent, split, value[place], base, is_logistic)


def with_weights(
    ensemble: TreeEnsemble,
    leaves: NDArray[np.int64],
    targets: NDArray[np.int64],
    weights: NDArray[np.float64],
    width: int,
    output: str,
    metadata: dict[str, str],
) -> bytes:
    """A model of the same trees that sums other weights: ``features`` FP32 [N, inputs] in, FP32 [N, width] out.

    It sums doubles. The same arguments give the same bytes.

    Args:
        ensemble: The trees.
        leaves: The leaf of each weight.
        targets: The column to which each weight is added, from 0.
        weights: The weights.
        width: How many columns there are.
        output: What the output is called.
        metadata: What the model says of itself.
    """
    replaced = {"nodes_values", "nodes_values_as_tensor", "nodes_hitrates", "nodes_hitrates_as_tensor"}
    given = _attributes(ensemble.node)
    thresholds = _numbers(given, "nodes_values")
    places = ensemble.place[leaves]
    trees = helper.make_node(
        _REGRESSOR,
        [_WIDE],
        [output],
        domain=_ML,
        **{name: value for name, value in given.items() if name.startswith("nodes_") and name not in replaced},
        nodes_values_as_tensor=numpy_helper.from_array(thresholds),
        target_treeids=np.array(given["nodes_treeids"])[places].tolist(),
        target_nodeids=np.array(given["nodes_nodeids"])[places].tolist(),
        target_ids=targets.tolist(),
        target_weights_as_tensor=numpy_helper.from_array(weights.astype(np.float64)),
        n_targets=width,
    )
    # Of float32 the ensemble sums float32.
    cast = helper.make_node("Cast", [ensemble.node.input[0]], [_WIDE], to=TensorProto.DOUBLE)
    before = _before(ensemble.model, ensemble.node.input[0])
    used = {name for node in before for name in node.input}
    graph = helper.make_graph(
        [*before, cast, trees],
        name=output,
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(ensemble.inputs)])],
        outputs=[helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, width])],
        initializer=[one for one in ensemble.model.graph.initializer if one.name in used],
    )
    opsets = {"": _OPSET} | {one.domain: one.version for one in ensemble.model.opset_import} | {_ML: _ML_OPSET}
    model = helper.make_model(
        graph,
        producer_name="penstock",
        ir_version=max(ensemble.model.ir_version, _IR_VERSION),
        opset_imports=[helper.make_opsetid(*one) for one in sorted(opsets.items())],
    )
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """A model's graph, by the tensors that its nodes make."""

    def __init__(self, model: ModelProto, width: int) -> None:
        self.width = width
        self.maker = {name: node for node in model.graph.node for name in node.output}
        self.constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self.has_trees = any(node.op_type in (_CLASSIFIER, _REGRESSOR) for node in model.graph.node)

    def trees_of_score(self) -> tuple[NodeProto, int]:
        """The node with the trees, and which column of its output is the score."""
        name, column = OUTPUT, 0
        while True:
            node = self.maker.get(name)
            if node is None or not self.has_trees:
                raise Unexplained("it is no tree ensemble")
            if node.op_type in (_CLASSIFIER, _REGRESSOR):
                if name != node.output[-1]:
                    raise Unexplained("its score is the label that its trees choose")
                return node, column
            if node.op_type == "Gather":
                column = self._picked(node)[column]
            elif node.op_type == "Concat" and column == 0:
                pass  # the score is the first of the columns that the version returns
            elif not (node.op_type in ("Identity", "Cast", "Reshape") or self._multiplies_by_one(node)):
                raise Unexplained(f"its score is what {node.op_type} makes of its trees' sums")
            name = node.input[0]

    def origins(self, name: str) -> tuple[int, ...] | None:
        """The input that each column of a tensor is a function of; None for a constant."""
        if name == INPUT:
            return tuple(range(self.width))
        node = self.maker.get(name)
        if node is None:
            return None
        taken = [self.origins(one) for one in node.input]
        varying = [one for one in taken if one is not None]
        if node.op_type in _BY_COLUMN and len(set(varying)) <= 1:
            return varying[0] if varying else None
        first = taken[0]
        if first is not None and len(varying) == 1:
            if node.op_type == "Gather":
                return tuple(first[index] for index in self._picked(node))
            if node.op_type in _SHAPE and len(first) == 1:
                return first
        if node.op_type == "Concat" and len(varying) == len(taken) and _axis(node) in (1, -1):
            return tuple(origin for one in varying for origin in one)
        raise Unexplained(f"its trees read what {node.op_type} makes of the inputs")

    def _picked(self, node: NodeProto) -> list[int]:
        """The columns that a Gather picks."""
        indices = self.constants.get(node.input[1])
        if indices is None or indices.ndim != 1 or _axis(node) not in (1, -1):
            raise Unexplained("it picks columns in a way that is not known beforehand")
        return [int(index) for index in indices]

    def _multiplies_by_one(self, node: NodeProto) -> bool:
        """Whether it is the product that onnxmltools puts behind a classifier."""
        factor = self.constants.get(node.input[-1])
        return node.op_type == "Mul" and factor is not None and bool((factor == 1).all())


def _axis(node: NodeProto) -> int:
    return int(_attributes(node).get("axis", 0))


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _numbers(attributes: dict[str, Any], name: str) -> NDArray[np.float64]:
    """A list of numbers, which may be given as floats or as a tensor of doubles; empty if it is not given."""
    tensor = attributes.get(f"{name}_as_tensor")
    given = attributes.get(name, ()) if tensor is None else numpy_helper.to_array(tensor)
    return np.asarray(given, np.float64)


def _places(attributes: dict[str, Any]) -> dict[tuple[int, int], int]:
    """Where the attributes list the node of a tree's id and its own."""
    ids = zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True)
    return {one: place for place, one in enumerate(ids)}


def _before(model: ModelProto, name: str) -> list[NodeProto]:
    """The nodes that a tensor needs."""
    needed, found = {name}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            found.append(node)
    return found[::-1]


def _parents_first(attributes: dict[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Nodes in an order in which parents come first: their places in the attributes, trees and parents."""
    place_of = _places(attributes)
    ids = list(place_of)
    names = (attributes[f"nodes_{which}nodeids"] for which in ("true", "false"))
    children = [
        [] if mode == b"LEAF" else [place_of.get((tree, child), -1) for child in pair]
        for (tree, _), mode, pair in zip(ids, attributes["nodes_modes"], zip(*names, strict=True), strict=True)
    ]
    parents = Counter(child for pair in children for child in pair)
    roots = [place for place in range(len(ids)) if place not in parents]
    order = [(root, tree, -1) for tree, root in enumerate(roots)]
    if -1 in parents or max(parents.values(), default=1) > 1 or len({ids[root][0] for root in roots}) < len(roots):
        raise Unexplained("its trees are no trees")
    for index, (place, tree, _) in enumerate(order):  # grows while it is read
        order.extend((child, tree, index) for child in children[place])
    if len(order) < len(ids):
        raise Unexplained("its trees are no trees")
    place, tree, parent = np.array(order, np.int64).T
    return place, tree, parent


def _margin(node: NodeProto, attributes: dict[str, Any], column: int) -> tuple[NDArray[np.float64], float, bool]:
    """What each node adds to the margin, in the attributes' order; the margin without trees; whether it is logistic.

    All is as ONNX Runtime sums it.
    """
    transform = attributes.get("post_transform", b"NONE").decode()
    if transform not in ("NONE", "LOGISTIC"):
        raise Unexplained(f"its score is the {transform} of several sums")
    aggregate = attributes.get("aggregate_function", b"SUM").decode()
    if aggregate not in ("SUM", "AVERAGE"):
        raise Unexplained(f"its score is the {aggregate} of its trees")
    prefix = "class" if node.op_type == _CLASSIFIER else "target"
    weights, targets = _numbers(attributes, f"{prefix}_weights"), np.array(attributes[f"{prefix}_ids"])
    bases = _numbers(attributes, "base_values")
    labels = attributes.get("classlabels_int64s") or attributes.get("classlabels_strings") or ()
    sign, whole = 1.0, 0.0
    if len(labels) == 2 and not targets.any():
        # The weights are of the second class, though they are listed as the first's, and the first has the rest.
        if column == 0:
            sign, whole = -1.0, float(transform == "NONE" and weights.min() >= 0)
        column = 0
    base = whole + sign * float(bases[column] if column < len(bases) else 0.0)
    chosen = targets == column
    if aggregate == "AVERAGE":
        sign /= len(set(attributes["nodes_treeids"]))
    place_of = _places(attributes)
    owners = zip(attributes[f"{prefix}_treeids"], attributes[f"{prefix}_nodeids"], strict=True)
    places = np.array([place_of[one] for one in owners])
    value = np.zeros(len(place_of))
    np.add.at(value, places[chosen], sign * weights[chosen])
    return value, base, transform == "LOGISTIC"
