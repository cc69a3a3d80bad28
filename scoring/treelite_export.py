"""The trees of an ONNX model as a treelite checkpoint, which Triton's FIL backend runs on a GPU, or on a CPU.

The checkpoint is made of the ONNX file itself, so that a model of any library takes the same way. The file must be one
ensemble of trees, whose sum is the score or its log-odds, between nodes that change no number (Penstock's own, see
:mod:`scoring.onnx_wrapping`). Every test becomes ``x < threshold``, the only one that FIL has on a GPU. Pure: no file,
no server.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as library_version
from typing import Any

import numpy as np
import onnx
import treelite
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

from scoring.model_metadata import INPUT, OUTPUT
from scoring.trained_model import OfVersion, TrainedModel
from scoring.training import PARITY, score_onnx
from scoring.vectors import FloatArray

_TREES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
_POST_PROCESSORS = {"NONE": "identity", "LOGISTIC": "sigmoid"}
# How a test compares a value with its threshold, and whether `<` with the same outcome has the children exchanged.
_TESTS = {
    "BRANCH_LT": (operator.lt, False),
    "BRANCH_LEQ": (operator.le, False),
    "BRANCH_GT": (operator.gt, True),
    "BRANCH_GTE": (operator.ge, True),
}
# Their neighbours follow the other branch if a comparison is not exact.
_MOST_PROBES = 4_096


class NoTreeFormError(Exception):
    """FIL cannot run the model; the message says why."""


def with_checkpoint(model: TrainedModel[OfVersion], vectors: FloatArray) -> TrainedModel[OfVersion]:
    """The model with its checkpoint, or with the reason why it has none in its manifest.

    Args:
        model: The model.
        vectors: Vectors to check the checkpoint with, float32 [N, inputs].
    """
    try:
        checkpoint = to_checkpoint(model.onnx, vectors)
    except NoTreeFormError as error:
        return replace(model, manifest=model.manifest.model_copy(update={"no_fil": str(error)}))
    libraries = {**model.manifest.libraries, "treelite": library_version("treelite")}
    return replace(model, checkpoint=checkpoint, manifest=model.manifest.model_copy(update={"libraries": libraries}))


def to_checkpoint(content: bytes, vectors: FloatArray) -> bytes:
    """The checkpoint of a model with Penstock's tensors.

    It is compared with the ONNX model on the vectors, on the same with nulls, on a row of nulls, and on the thresholds
    themselves and their neighbours.

    Raises:
        NoTreeFormError: if the model is no such ensemble, or any score differs by more than 1e-5 of the greatest score
            (of 1, if no score is greater).
    """
    model = _build(content)
    rows = np.concatenate([vectors, _with_nulls(vectors), _probes(content, vectors.shape[1])])
    expected = score_onnx(content, rows)
    with np.errstate(invalid="ignore"):
        difference = np.abs(predict(model, rows) - expected)
    bound = PARITY * max(1.0, float(np.max(np.abs(expected), initial=0)))
    if not bool((difference <= bound).all()):
        raise NoTreeFormError(f"its scores would differ by up to {float(difference.max()):.2g} from those of ONNX")
    return bytes(model.serialize_bytes())


def predict(model: treelite.Model, vectors: FloatArray) -> FloatArray:
    """Score vectors, float32 [N, inputs], on one thread of the CPU as FIL does there; returns float32 [N]."""
    scores: FloatArray = treelite.gtil.predict(model, np.ascontiguousarray(vectors, np.float32), nthread=1)
    return scores.reshape(len(vectors)).astype(np.float32, copy=False)


@dataclass(frozen=True)
class _Ensemble:
    """The node with the trees, the column of its scores, and what null becomes in each input (NaN if it stays null)."""

    node: NodeProto
    column: int
    nulls: NDArray[np.float32]

    @property
    def attributes(self) -> dict[str, Any]:
        return {attribute.name: helper.get_attribute_value(attribute) for attribute in self.node.attribute}


def _build(content: bytes) -> treelite.Model:
    ensemble = _find(content)
    attributes = ensemble.attributes
    leaves, base, post = _outputs(ensemble.node, attributes, ensemble.column)
    trees = _nodes(attributes)
    used = [tree for tree in trees if any((tree, node) in leaves for node in trees[tree])]
    if not used:
        raise NoTreeFormError("no tree has a leaf for the score")
    builder = ModelBuilder(
        threshold_type="float32",
        leaf_output_type="float32",
        metadata=Metadata(
            num_feature=len(ensemble.nulls),
            # One number for each row, which FIL then gives as it is.
            task_type="kRegressor",
            average_tree_output=False,
            num_target=1,
            num_class=[1],
            leaf_vector_shape=(1, 1),
        ),
        tree_annotation=TreeAnnotation(num_tree=len(used), target_id=[0] * len(used), class_id=[0] * len(used)),
        postprocessor=PostProcessorFunc(name=_POST_PROCESSORS[post]),
        base_scores=[base],
    )
    for tree in used:
        builder.start_tree()
        for number, node in trees[tree].items():
            builder.start_node(number)
            if node.mode == "LEAF":
                builder.leaf(leaves.get((tree, number), 0.0))
            else:
                _add_test(builder, node, ensemble.nulls[node.feature])
            builder.end_node()
        builder.end_tree()
    return builder.commit()


@dataclass(frozen=True)
class _Node:
    mode: str
    feature: int
    threshold: np.float32
    true: int
    false: int
    null_is_true: bool


def _add_test(builder: ModelBuilder, node: _Node, null: np.float32) -> None:
    compare, is_exchanged = _TESTS[node.mode]
    null_is_true = node.null_is_true if np.isnan(null) else bool(compare(null, node.threshold))
    threshold = node.threshold
    if node.mode in ("BRANCH_LEQ", "BRANCH_GT"):
        # x <= t is x < the next number; above infinity there is none, and the opposite of x < -infinity is always true.
        if threshold == np.inf:
            threshold, is_exchanged = -threshold, not is_exchanged
        else:
            with np.errstate(over="ignore"):
                threshold = np.nextafter(threshold, np.float32(np.inf))
    left, right = (node.false, node.true) if is_exchanged else (node.true, node.false)
    builder.numerical_test(
        feature_id=node.feature,
        threshold=float(threshold),
        default_left=null_is_true != is_exchanged,
        opname="<",
        left_child_key=left,
        right_child_key=right,
    )


def _nodes(attributes: Mapping[str, Any]) -> dict[int, dict[int, _Node]]:
    """The nodes of each tree by their numbers, the root first."""
    modes = [mode.decode() for mode in attributes["nodes_modes"]]
    if unknown := set(modes) - {*_TESTS, "LEAF"}:
        raise NoTreeFormError(f"its trees have tests of kind {min(unknown)}")
    columns = (
        attributes["nodes_treeids"],
        attributes["nodes_nodeids"],
        modes,
        attributes["nodes_featureids"],
        np.asarray(attributes["nodes_values"], dtype=np.float32),
        attributes["nodes_truenodeids"],
        attributes["nodes_falsenodeids"],
        attributes.get("nodes_missing_value_tracks_true") or [0] * len(modes),
    )
    trees: dict[int, dict[int, _Node]] = {}
    for tree, number, mode, feature, threshold, true, false, tracks_true in zip(*columns, strict=True):
        trees.setdefault(tree, {})[number] = _Node(mode, feature, threshold, true, false, bool(tracks_true))
    return trees


def _outputs(
    node: NodeProto, attributes: Mapping[str, Any], column: int
) -> tuple[dict[tuple[int, int], float], float, str]:
    """The weights of the leaves (tree, node) for a column, its base value, and the function of the sum."""
    if any(name.endswith("_as_tensor") for name in attributes):
        raise NoTreeFormError("its thresholds are doubles")
    post = attributes.get("post_transform", b"NONE").decode()
    if post not in _POST_PROCESSORS:
        raise NoTreeFormError(f"its score is {post} of several sums, not of one")
    if attributes.get("aggregate_function", b"SUM") != b"SUM":
        raise NoTreeFormError("its score is no sum of the trees")
    kind = "class" if node.op_type == "TreeEnsembleClassifier" else "target"
    if kind == "target" and post != "NONE":
        # The standard and ONNX Runtime do not agree on it.
        raise NoTreeFormError(f"it is a regression whose sum passes through {post}")
    ids, base = attributes[f"{kind}_ids"], attributes.get("base_values") or []
    if kind == "class" and len(set(ids)) == 1 and _classes(attributes) == 2:
        # The sum is that of the positive class, whichever class the leaves name.
        if column != 1 or len(base) > 1:
            raise NoTreeFormError("its score is not that of the second class")
        column, base = ids[0], base[:1] * (ids[0] + 1)
    leaves: dict[tuple[int, int], float] = {}
    entries = zip(attributes[f"{kind}_treeids"], attributes[f"{kind}_nodeids"], ids, strict=True)
    for (tree, number, output), weight in zip(entries, attributes[f"{kind}_weights"], strict=True):
        if output == column:
            leaves[tree, number] = leaves.get((tree, number), 0.0) + weight
    return leaves, float(base[column]) if base else 0.0, post


def _classes(attributes: Mapping[str, Any]) -> int:
    return len(attributes.get("classlabels_int64s") or attributes.get("classlabels_strings") or ())


def _find(content: bytes) -> _Ensemble:
    """Follow the score back to the trees, and their input back to the vector."""
    graph = onnx.load_model_from_string(content).graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    name, column = OUTPUT, 0
    while name in makers and makers[name].op_type not in _TREES:
        node = makers[name]
        if node.op_type == "Gather" and _axis(node) == 1:
            column = int(constants[node.input[1]].reshape(-1)[column])
        elif name == OUTPUT and node.op_type == "Concat" and len(node.input) > 1:
            raise NoTreeFormError("it has further outputs, FIL gives the score alone")
        elif not _keeps_numbers(node, constants):
            raise NoTreeFormError(f"it is no ensemble of trees alone: its score comes out of {node.op_type}")
        name = node.input[0]
    trees = makers[name]
    if name != trees.output[-1]:
        raise NoTreeFormError("its score is a label")
    nulls = np.full(graph.input[0].type.tensor_type.shape.dim[1].dim_value, np.nan, np.float32)
    name = trees.input[0]
    while name != INPUT:
        node = makers[name]
        if node.op_type == "Where" and list(node.input[::2]) == ["missing", INPUT] and node.input[1] in constants:
            nulls = constants[node.input[1]].reshape(-1).astype(np.float32)
            break
        if not _keeps_numbers(node, constants):
            raise NoTreeFormError(f"its trees do not see the inputs as they are, but what {node.op_type} makes of them")
        name = node.input[0]
    return _Ensemble(trees, column, nulls)


def _keeps_numbers(node: NodeProto, constants: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a node's output is its first input, in another shape or floating-point type at most."""
    if node.op_type == "Cast":
        return node.attribute[0].i in (TensorProto.FLOAT, TensorProto.DOUBLE)
    if node.op_type == "Mul":
        return node.input[1] in constants and bool((constants[node.input[1]] == 1).all())
    if node.op_type == "Concat":
        return len(node.input) == 1
    return node.op_type in ("Identity", "Reshape")


def _axis(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _with_nulls(vectors: FloatArray) -> FloatArray:
    """The vectors with a third of the values null, and a row of nulls; the same for the same vectors."""
    rng = np.random.default_rng(0)
    some = np.where(rng.random(vectors.shape) < 0.3, np.float32(np.nan), vectors)
    return np.concatenate([some, np.full((1, vectors.shape[1]), np.nan, np.float32)]).astype(np.float32)


def _probes(content: bytes, width: int) -> FloatArray:
    """Rows of thresholds, of the numbers next to them and of infinities, in columns whose tests have them."""
    attributes = _find(content).attributes
    features = np.asarray(attributes["nodes_featureids"])
    values = np.asarray(attributes["nodes_values"], dtype=np.float32)
    tested = np.array([mode != b"LEAF" for mode in attributes["nodes_modes"]])
    of_feature = [_neighbours(values[tested & (features == feature)]) for feature in range(width)]
    rows = min(max(map(len, of_feature), default=0), _MOST_PROBES)
    rng = np.random.default_rng(0)
    return np.stack([_spread(rng, one, rows) for one in of_feature], axis=1)


def _neighbours(thresholds: NDArray[np.float32]) -> FloatArray:
    infinity = np.float32(np.inf)
    distinct = np.unique(thresholds)
    with np.errstate(over="ignore"):
        around = [np.nextafter(distinct, -infinity), distinct, np.nextafter(distinct, infinity)]
    return np.concatenate([*around, np.array([-infinity, infinity], np.float32)])


def _spread(rng: np.random.Generator, values: Sequence[Any] | FloatArray, rows: int) -> FloatArray:
    """Every value at least once in random order, as far as there are rows; further rows repeat them."""
    order = rng.permutation(len(values))
    return np.asarray(values, dtype=np.float32)[np.resize(order, rows)]
