"""Splits are read with their inputs, through the nodes before the trees; a model that is no such sum is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from penstock.paths import ROOT
from scoring.attribution import explain
from scoring.model_import import Fitting, fit_tensors
from scoring.onnx_wrapping import Conversions, ScoreOutput
from scoring.reasons import Attribution
from scoring.training import score_onnx
from scoring.tree_ensemble import Unexplained, read_ensemble
from tests.scoring.trees import Split, classifier, model_of, picked, regressor, tree_nodes

MODELS = ROOT / "tests" / "models"
TREE = Split(0, 0.0, 1.0, Split(1, 0.0, 2.0, 3.0))
CONSTANTS: dict[str, Any] = {
    "at": np.array([2, 0]),
    "ones": np.ones((1, 3), np.float32),
    "halves": np.full((1, 3), 0.5, np.float32),
    "matrix": np.ones((3, 3), np.float32),
    "one": np.ones(1, np.float32),
    "flat": np.array([-1]),
}


def node(kind: str, taken: str, made: str, **attributes: Any) -> NodeProto:
    domain = "ai.onnx.ml" if kind in ("Scaler", "Normalizer") else ""
    return helper.make_node(kind, taken.split(), made.split(), domain=domain, **attributes)


def splits(*before: NodeProto) -> list[int]:
    """The inputs that the splits of :data:`TREE` read, where it takes what the last of these nodes makes."""
    found = read_ensemble(model_of([*before, regressor([TREE], before[-1].output[0])], 3, **CONSTANTS))
    return [one for one in found.split.tolist() if one >= 0]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([node("Identity", "features", "x")], [0, 1]),
        ([node("Cast", "features", "x", to=TensorProto.DOUBLE)], [0, 1]),
        ([node("Scaler", "features", "x", offset=[0.0] * 3, scale=[2.0] * 3)], [0, 1]),
        ([node("IsNaN", "features", "m"), node("Where", "m ones features", "x")], [0, 1]),
        ([node("Gather", "features at", "x", axis=1)], [2, 0]),
        ([node("Gather", "features at", "a", axis=1), node("Concat", "a features", "x", axis=1)], [2, 0]),
    ],
)
def test_a_split_reads_the_input_that_its_column_is_made_of(before: list[NodeProto], expected: list[int]) -> None:
    assert splits(*before) == expected


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        ([node("MatMul", "features matrix", "x")], "MatMul"),
        ([node("Normalizer", "features", "x")], "Normalizer"),
        ([node("Reshape", "features flat", "x")], "Reshape"),
        ([node("Concat", "features ones", "x", axis=1)], "Concat"),
        ([node("Concat", "features features", "x", axis=0)], "Concat"),
        (
            [
                node("Gather", "features at", "a", axis=1),
                node("IsNaN", "features", "m"),
                node("Where", "m a features", "x"),
            ],
            "Where",
        ),
    ],
)
def test_a_column_that_may_be_made_of_several_inputs_is_refused(before: list[NodeProto], kind: str) -> None:
    with pytest.raises(Unexplained, match=f"its trees read what {kind} makes of the inputs"):
        splits(*before)


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([node("Identity", "features", "score")], "it is no tree ensemble"),
        ([regressor([TREE], made="sums"), node("Exp", "sums", "score")], "its score is what Exp makes"),
        ([regressor([TREE], made="sums"), node("Mul", "sums halves", "score")], "its score is what Mul makes"),
        ([regressor([TREE], post_transform="PROBIT")], "its score is the PROBIT"),
        ([regressor([TREE], aggregate_function="MAX")], "its score is the MAX of its trees"),
        ([classifier([TREE]), node("Cast", "label", "score", to=TensorProto.FLOAT)], "the label that its trees choose"),
        ([regressor([TREE], "ones")], "its trees read no input"),
        ([regressor([Split(3, 0.0, 1.0, 2.0)])], "its trees read more columns than they get"),
        (
            [regressor([TREE], made="sums"), node("Gather", "sums at", "score", axis=0)],
            "it picks columns in a way that is not known",
        ),
    ],
)
def test_a_score_that_is_no_sum_over_trees_is_refused(nodes: list[NodeProto], why: str) -> None:
    with pytest.raises(Unexplained, match=why):
        read_ensemble(model_of(nodes, 3, **CONSTANTS))


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ([1, 0, 1, 0], [2, 0, 3, 0]),  # a node with two parents
        ([1, 0, 3, 0], [2, 0, 9, 0]),  # no such node
        ([1, 0, 2, 0, 0], [3, 0, 4, 0, 0]),  # a circle
        ([1, 0, 4, 0, 0, 0], [3, 0, 5, 0, 0, 0]),  # two roots
    ],
)
def test_nodes_that_are_no_tree_are_refused(yes: list[int], no: list[int]) -> None:
    nodes = tree_nodes([Split(0, 0.0, 1.0, Split(1, 0.0, 2.0, Split(2, 0.0, 3.0, 4.0)))])
    modes = ["BRANCH_LEQ" if pair != (0, 0) else "LEAF" for pair in zip(yes, no, strict=True)]
    broken = {name: value[: len(yes)] for name, value in nodes.items() if name.startswith("nodes_")}
    broken |= {"nodes_modes": modes, "nodes_truenodeids": yes, "nodes_falsenodeids": no}
    with pytest.raises(Unexplained, match="its trees are no trees"):
        read_ensemble(model_of([regressor([TREE], **broken)], 3))


def test_several_classes_through_softmax_have_no_reasons_and_others_have_those_of_their_column() -> None:
    of_class = {"classlabels_int64s": [0, 1, 2], "class_ids": [2, 1, 2], "base_values": [0.0, 0.5, 0.25]}
    pick, constants = picked(2)
    with pytest.raises(Unexplained, match="its score is the SOFTMAX of several sums"):
        read_ensemble(model_of([classifier([TREE], post_transform="SOFTMAX", **of_class), pick], 3, **constants))
    model = model_of([classifier([TREE], **of_class), pick], 3, **constants)
    found = read_ensemble(model)
    assert (sorted(found.value.tolist()), found.base) == ([0, 0, 0, 1, 3], 0.25)
    assert isinstance(explain(model, np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)), Attribution)


def test_a_network_is_refused() -> None:
    inputs = ("event.amount", "activity.amount_sum_1h", "activity.count_1h")
    rows = np.ones((2, 3), np.float32)
    fitting = Fitting(inputs, (), ScoreOutput("risk"), Conversions({inputs[2]: 0.0}))
    network = fit_tensors((MODELS / "torch.onnx").read_bytes(), fitting, rows, "")
    with pytest.raises(Unexplained, match="it is no tree ensemble"):
        read_ensemble(network.onnx)


def test_tensors_of_one_input_each_lead_to_their_input_and_null_to_what_it_becomes() -> None:
    """The model takes its inputs in another order than the vector, one as a flat tensor of integers."""
    kinds = {"count": (TensorProto.INT64, [None]), "sum": (TensorProto.FLOAT, [None, 1])}
    nodes = [
        node("Cast", "count", "c", to=TensorProto.FLOAT),
        node("Reshape", "c column", "d"),
        node("Concat", "d sum", "x", axis=1),
        regressor([TREE], "x", "y"),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    content = helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()
    inputs = ("view.sum", "view.count")
    rows = np.array([[1.0, -1.0], [1.0, 5.0], [-1.0, 5.0], [1.0, np.nan]], dtype=np.float32)
    fitting = Fitting(inputs, (), ScoreOutput(), Conversions({"view.count": 5.0}))
    found = explain(fit_tensors(content, fitting, rows, "").onnx, rows)
    assert isinstance(found, Attribution)
    assert found.base == (1 + 3 + 2 + 3) / 4
    ((sum_, count),) = found.contributions(np.array([[-1.0, np.nan]], dtype=np.float32))
    behind = (3 + 2 + 3) / 3
    assert (sum_, count) == pytest.approx((2 - behind, behind - found.base))


@pytest.mark.parametrize("model", [RandomForestClassifier(7, max_depth=4), GradientBoostingRegressor(n_estimators=9)])
def test_other_trees_of_scikit_learn_behind_its_scaler_are_explained(model: Any) -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400, 4)).astype(np.float32)  # noqa: N806
    X[rng.random(X.shape) < 0.1] = np.nan
    y = (np.nan_to_num(X[:, 0]) > np.nan_to_num(X[:, 1])).astype(np.int64)
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), model.set_params(random_state=1)).fit(X, y)
    options = {id(pipeline): {"zipmap": False}} if isinstance(model, RandomForestClassifier) else None
    shape = [("input", FloatTensorType([None, 4]))]
    content = convert_sklearn(pipeline, initial_types=shape, target_opset=17, options=options).SerializeToString()
    inputs = tuple("abcd")
    version = fit_tensors(content, Fitting(inputs, (), ScoreOutput(), Conversions()), X, "").onnx
    found = explain(version, X)
    assert isinstance(found, Attribution), found
    assert found.base + found.contributions(X).sum(axis=1) == pytest.approx(score_onnx(version, X), abs=1e-5)
    assert set(np.abs(found.contributions(X)).sum(axis=0).argsort()[2:]) == {0, 1}
