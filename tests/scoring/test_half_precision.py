"""Networks in FP16 score as before but for rounding, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from penstock.errors import PenstockError
from penstock.paths import ROOT
from schemas.categories import code_of
from scoring.encodings import Vocabulary
from scoring.half_precision import TOLERANCE, score_rounding, to_half_precision
from scoring.model_import import CheckRows, ImportRequest, import_onnx, read_check_rows
from scoring.onnx_session import open_session, outputs_of
from scoring.onnx_wrapping import Conversions, ScoreOutput
from scoring.training import score_onnx

MODELS = ROOT / "tests" / "models"
INPUTS = ("event.amount", "activity.amount_sum_1h", "activity.count_1h")
REQUEST = ImportRequest(ScoreOutput("risk"), Conversions({"activity.count_1h": 0.0}), fp16=True)


def test_a_network_in_fp16_scores_its_check_rows_within_the_stated_tolerance() -> None:
    rows = read_check_rows(MODELS / "torch.parquet", INPUTS)
    model = import_onnx(MODELS / "torch.onnx", INPUTS, {}, rows, REQUEST)
    assert model.manifest.fp16
    assert 1e-5 < model.manifest.difference <= TOLERANCE
    assert score_onnx(model.onnx, rows.vectors) == pytest.approx(rows.scores, abs=TOLERANCE, rel=TOLERANCE)
    weights = onnx.load_model_from_string(model.onnx).graph.initializer
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in weights if tensor.name.startswith("imported/")}


def test_the_tensors_of_the_model_keep_their_types_and_the_bytes_are_the_same_each_time() -> None:
    content = (MODELS / "torch.onnx").read_bytes()
    half = to_half_precision(content, "torch.onnx")
    before, after = onnx.load_model_from_string(content).graph, onnx.load_model_from_string(half).graph
    assert [t.type.tensor_type.elem_type for t in (*before.input, *before.output)] == [
        t.type.tensor_type.elem_type for t in (*after.input, *after.output)
    ]
    assert half == to_half_precision(content, "torch.onnx")


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_trees_are_refused(name: str) -> None:
    rows = read_check_rows(MODELS / f"{name}.parquet", INPUTS)
    with pytest.raises(PenstockError, match="FP16 is for neural networks, trees gain nothing") as refused:
        import_onnx(MODELS / f"{name}.onnx", INPUTS, {}, rows, ImportRequest(fp16=True))
    assert refused.value.next == "import it without --fp16"


def linear(folder: Path, weights: list[float]) -> Path:
    """The sum of the inputs, each times its weight."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        initializer=[numpy_helper.from_array(np.array(weights, dtype=np.float32).reshape(3, 1), "w")],
    )
    path = folder / "linear.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_that_fp16_changes_too_much_is_refused_though_it_is_right_in_float32(tmp_path: Path) -> None:
    path = linear(tmp_path, [1.0, 1.0, -1.0])
    # ONNX Runtime on a CPU would score both right: neither is one of FP16, the first not even finite.
    vectors = np.array([[70_000, 1, 69_000], [30_001, 1, 29_000]], dtype=np.float32)
    rows = CheckRows(vectors, np.array([1_001.0, 1_002.0]))
    assert import_onnx(path, INPUTS, {}, rows, ImportRequest()).manifest.difference == 0
    with pytest.raises(
        PenstockError, match=r"2 of 2 rows have another score than the file says: row 0 nan instead"
    ) as refused:
        import_onnx(path, INPUTS, {}, rows, ImportRequest(fp16=True))
    assert str(refused.value.where).endswith("linear.onnx in FP16")
    assert "without --fp16" in str(refused.value.next)


def test_a_network_of_a_category_with_kept_outputs_can_compute_in_fp16(tmp_path: Path) -> None:
    path = linear(tmp_path, [0.1, 1.0, 0.5])
    of = Conversions(encodings={"event.amount": Vocabulary(values=("(others)", "FR", "DE"))})
    vectors = np.array([[code_of(b"DE"), 1, 2], [code_of(b"XX"), 1, 2], [np.nan, 3, 4]], dtype=np.float32)
    rows = CheckRows(vectors, np.array([2.2, 2.0, 5.0]))
    request = ImportRequest(conversions=of, keep=("y",), tolerance=1e-5, fp16=True)
    model = import_onnx(path, INPUTS, {}, rows, request, ("event.amount",))
    assert 0 < model.manifest.difference <= TOLERANCE
    assert model.manifest.kept == ("y",)
    assert outputs_of(open_session(model.onnx), vectors) == pytest.approx(np.array([rows.scores] * 2).T, rel=TOLERANCE)


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "same",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(PenstockError, match="no float32 weights"):
        to_half_precision(model.SerializeToString(), "same.onnx")


def test_a_model_whose_rounding_cannot_be_checked_is_refused() -> None:
    with pytest.raises(PenstockError, match="FP16 cannot be checked for this model"):
        score_rounding(b"", np.zeros((1, 3), np.float32), "linear.onnx")
