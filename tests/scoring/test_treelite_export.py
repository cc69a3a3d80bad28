"""Trees as FIL gets them score as ONNX Runtime does, also at their thresholds, with nulls and infinities."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import treelite
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sklearn.ensemble import HistGradientBoostingClassifier

from penstock.paths import ROOT
from scoring.encodings import Buckets
from scoring.model_import import ImportRequest, import_onnx, read_check_rows
from scoring.onnx_wrapping import Conversions, Output, ScoreOutput, Tensors, wrap
from scoring.training import score_onnx, to_onnx
from scoring.treelite_export import NoTreeFormError, predict, to_checkpoint, with_checkpoint

MODELS = ROOT / "tests" / "models"
INPUTS = ("event.amount", "activity.amount_sum_1h", "activity.count_1h")
NAN, INF = float("nan"), float("inf")
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.1, NAN, INF, -INF, float(np.finfo(np.float32).max), float(np.float32(1e-45))]
TESTS = ("BRANCH_LT", "BRANCH_LEQ", "BRANCH_GT", "BRANCH_GTE")


def ensemble(trees: list[list[tuple[Any, ...]]], *, kind: str = "Regressor", **more: Any) -> onnx.ModelProto:
    """A model of trees whose nodes are (mode, feature, threshold, true, false, null is true) or (weight,)."""
    nodes = [(tree, number, node) for tree, each in enumerate(trees) for number, node in enumerate(each)]
    branches = [node if len(node) > 1 else ("LEAF", 0, 0.0, 0, 0, 0) for _, _, node in nodes]
    modes, features, values, true, false, tracks = (list(column) for column in zip(*branches, strict=True))
    leaves = [(tree, number, node[0]) for tree, number, node in nodes if len(node) == 1]
    output = {"Regressor": "target", "Classifier": "class"}[kind]
    attributes = {
        "nodes_treeids": [tree for tree, _, _ in nodes],
        "nodes_nodeids": [number for _, number, _ in nodes],
        "nodes_modes": modes,
        "nodes_featureids": features,
        "nodes_values": values,
        "nodes_truenodeids": true,
        "nodes_falsenodeids": false,
        "nodes_missing_value_tracks_true": tracks,
        f"{output}_treeids": [tree for tree, _, _ in leaves],
        f"{output}_nodeids": [number for _, number, _ in leaves],
        f"{output}_ids": [0] * len(leaves),
        f"{output}_weights": [weight for _, _, weight in leaves],
        "post_transform": "NONE",
        **({"n_targets": 1} if kind == "Regressor" else {"classlabels_int64s": [0, 1]}),
        **more,
    }
    names = ["out"] if kind == "Regressor" else ["label", "out"]
    node = helper.make_node(f"TreeEnsemble{kind}", ["x"], names, domain="ai.onnx.ml", **attributes)
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", "K"])]
    if kind == "Classifier":
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
    graph = helper.make_graph([node], "t", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])], outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def wrapped(model: onnx.ModelProto, column: int = 0, nulls: dict[str, float] | None = None) -> bytes:
    return wrap(model, Tensors(model.graph.input[0]), INPUTS, Conversions(nulls or {}), [Output("out", column)])


def scores_by_fil(content: bytes, rows: np.ndarray) -> np.ndarray:
    return predict(treelite.Model.deserialize_bytes(to_checkpoint(content, rows)), rows)


numbers = st.sampled_from(SPECIAL) | st.floats(width=32, allow_nan=False)


@st.composite
def tree(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """A tree of up to four tests along one path, each with a leaf beside it."""
    depth = draw(st.integers(0, 4))
    nodes: list[tuple[Any, ...]] = []
    for level in range(depth):
        here, children = 2 * level, (2 * level + 1, 2 * level + 2)
        if draw(st.booleans()):
            children = children[::-1]
        threshold = draw(numbers.filter(lambda number: not np.isnan(number)))
        mode, feature = draw(st.sampled_from(TESTS)), draw(st.integers(0, 2))
        nodes[here:] = [(mode, feature, threshold, *children, draw(st.integers(0, 1)))]
        nodes.append((draw(st.floats(-1, 1, width=32)),))
    return [*nodes, (draw(st.floats(-1, 1, width=32)),)]


@settings(max_examples=150, deadline=None)
@given(
    trees=st.lists(tree(), min_size=1, max_size=4),
    post=st.sampled_from(["NONE", "LOGISTIC"]),
    base=st.none() | st.floats(-1, 1, width=32),
    nulls=st.dictionaries(st.sampled_from(INPUTS), numbers.filter(lambda n: not np.isnan(n)), max_size=2),
    rows=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=20),
)
def test_any_ensemble_scores_any_vector_as_onnx_runtime_does(
    trees: Any, post: str, base: float | None, nulls: dict[str, float], rows: list[Any]
) -> None:
    more = {} if base is None else {"base_values": [base]}
    if post == "LOGISTIC":
        # ONNX Runtime takes sums whose weights are all positive for probabilities already.
        classifier = ensemble([*trees, [(-0.5,)]], kind="Classifier", post_transform=post, **more)
        content = wrapped(classifier, column=1, nulls=nulls)
    else:
        content = wrapped(ensemble(trees, **more), nulls=nulls)
    vectors = np.array(rows, dtype=np.float32)
    assert scores_by_fil(content, vectors) == pytest.approx(score_onnx(content, vectors), abs=1e-5)


@pytest.mark.parametrize("mode", TESTS)
@pytest.mark.parametrize("null_is_true", [0, 1])
@pytest.mark.parametrize("threshold", [number for number in SPECIAL if not np.isnan(number)])
def test_each_test_sends_each_number_where_onnx_runtime_sends_it(
    mode: str, null_is_true: int, threshold: float
) -> None:
    content = wrapped(ensemble([[(mode, 1, threshold, 1, 2, null_is_true), (1.0,), (2.0,)]]))
    with np.errstate(over="ignore"):
        around = [np.nextafter(np.float32(threshold), np.float32(end)) for end in (-INF, INF)]
    rows = np.zeros((len(SPECIAL) + 2, 3), np.float32)
    rows[:, 1] = [*SPECIAL, *around]
    assert scores_by_fil(content, rows).tolist() == score_onnx(content, rows).tolist()


def training_rows(rows: int = 3_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    # Neighbouring float32 values, where a threshold that is rounded the wrong way changes a branch.
    X = (1 + rng.integers(0, 40, (rows, 3)) * np.finfo(np.float32).eps).astype(np.float32)  # noqa: N806
    X[rng.random(X.shape) < 0.2] = np.nan
    return X, (rng.random(rows) < np.where(np.isnan(X[:, 0]), 0.7, 0.2)).astype(np.int8)


def test_a_trained_model_scores_all_its_rows_under_fil_as_under_onnx() -> None:
    X, y = training_rows()  # noqa: N806
    model = HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(X, y)
    content = to_onnx(model, X, INPUTS, 0)
    assert scores_by_fil(content, X) == pytest.approx(model.predict_proba(X)[:, 1], abs=1e-5)
    assert to_checkpoint(content, X) == to_checkpoint(content, X)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_an_imported_model_scores_its_check_rows_under_fil(name: str) -> None:
    rows = read_check_rows(MODELS / f"{name}.parquet", INPUTS)
    model = with_checkpoint(import_onnx(MODELS / f"{name}.onnx", INPUTS, {}, rows, ImportRequest()), rows.vectors)
    assert model.checkpoint is not None
    scores = predict(treelite.Model.deserialize_bytes(model.checkpoint), rows.vectors)
    assert scores == pytest.approx(rows.scores, rel=1e-5, abs=1e-5)
    assert model.manifest.no_fil is None
    assert model.manifest.libraries["treelite"] == treelite.__version__


def test_a_network_has_no_checkpoint_and_its_manifest_says_why() -> None:
    rows = read_check_rows(MODELS / "torch.parquet", INPUTS)
    request = ImportRequest(ScoreOutput("risk"), Conversions({"activity.count_1h": 0.0}))
    model = with_checkpoint(import_onnx(MODELS / "torch.onnx", INPUTS, {}, rows, request), rows.vectors)
    assert model.checkpoint is None
    assert model.manifest.no_fil == "it is no ensemble of trees alone: its score comes out of Sigmoid"


STUMP = [("BRANCH_LEQ", 0, 0.5, 1, 2, 0), (0.25,), (0.75,)]
ROWS = np.array([[0, 0, 0], [1, 1, 1]], dtype=np.float32)


@pytest.mark.parametrize(
    ("model", "column", "says"),
    [
        (ensemble([[("BRANCH_EQ", 0, 0.5, 1, 2, 0), (1.0,), (2.0,)]]), 0, "tests of kind BRANCH_EQ"),
        (ensemble([STUMP], aggregate_function="AVERAGE"), 0, "no sum of the trees"),
        (ensemble([STUMP], kind="Classifier"), 0, "not that of the second class"),
        (ensemble([STUMP], post_transform="LOGISTIC"), 0, "a regression whose sum passes through LOGISTIC"),
        (ensemble([STUMP], post_transform="SOFTMAX"), 0, "SOFTMAX of several sums"),
    ],
)
def test_what_is_not_one_sum_of_trees_is_refused_with_the_reason(model: Any, column: int, says: str) -> None:
    with pytest.raises(NoTreeFormError, match=says):
        to_checkpoint(wrapped(model, column), ROWS)


def test_kept_outputs_and_categories_have_no_place_in_fil() -> None:
    model = ensemble([STUMP, STUMP], kind="Classifier", class_ids=[0, 2, 1, 2], classlabels_int64s=[0, 1, 2])
    tensors = Tensors(model.graph.input[0])
    kept = wrap(model, tensors, INPUTS, Conversions(), [Output("out", 2), Output("out", 1, "out:1")])
    with pytest.raises(NoTreeFormError, match="it has further outputs"):
        to_checkpoint(kept, ROWS)
    encoded = Conversions(encodings={INPUTS[0]: Buckets(number=4)})
    with pytest.raises(NoTreeFormError, match="do not see the inputs as they are, but what Concat makes of them"):
        to_checkpoint(wrap(model, tensors, INPUTS, encoded, [Output("out", 2)]), ROWS)


def test_of_several_sums_the_one_of_the_score_is_taken() -> None:
    ids = {"class_ids": [0, 2, 1, 2], "classlabels_int64s": [0, 1, 2]}
    content = wrapped(ensemble([STUMP, STUMP], kind="Classifier", **ids), 2)
    assert scores_by_fil(content, ROWS).tolist() == score_onnx(content, ROWS).tolist() == [0.0, 1.5]


def test_a_checkpoint_that_scores_otherwise_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scoring.treelite_export.predict", lambda _, rows: np.zeros(len(rows), np.float32))
    with pytest.raises(NoTreeFormError, match=r"would differ by up to 0\.75"):
        to_checkpoint(wrapped(ensemble([STUMP])), ROWS)
