"""Models that other libraries exported become versions that score as they did, or are refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from onnx import TensorProto, helper

from penstock.errors import PenstockError
from penstock.paths import ROOT
from scoring.model_import import CheckRows, ImportRequest, import_onnx, read_check_rows
from scoring.onnx_wrapping import Conversions, ScoreOutput
from scoring.trained_model import ImportManifest, TrainedModel
from scoring.training import score_onnx

MODELS = ROOT / "tests" / "models"
INPUTS = ("event.amount", "activity.amount_sum_1h", "activity.count_1h")
VIEWS = {"activity": "1:abc"}
X = np.array([[1.0, 2.0, 3.0], [4.5, np.nan, 0.0], [0.0, -1.0, 7.0]], dtype=np.float32)


def imported(name: str, **request: Any) -> TrainedModel[ImportManifest]:
    rows = read_check_rows(MODELS / f"{name}.parquet", INPUTS)
    return import_onnx(MODELS / f"{name}.onnx", INPUTS, VIEWS, rows, ImportRequest(**request))


@pytest.mark.parametrize(
    ("name", "request_", "output", "column"),
    [
        ("lightgbm", {}, "probabilities", 1),
        ("xgboost", {}, "variable", 0),
        ("torch", {"output": ScoreOutput("risk"), "conversions": Conversions({"activity.count_1h": 0.0})}, "risk", 0),
    ],
)
def test_a_model_of_another_library_gives_the_scores_that_it_gave_there(
    name: str, request_: dict[str, Any], output: str, column: int
) -> None:
    model = imported(name, **request_)
    rows = pa.parquet.read_table(MODELS / f"{name}.parquet")
    vectors = np.stack([rows[column].to_numpy() for column in INPUTS], axis=1).astype(np.float32)
    assert score_onnx(model.onnx, vectors) == pytest.approx(rows["score"].to_numpy(), abs=1e-5, rel=1e-5)
    assert (model.manifest.output, model.manifest.column, model.manifest.check_rows) == (output, column, 200)
    (tensor,), (score,) = (
        onnx.load_model_from_string(model.onnx).graph.input,
        onnx.load_model_from_string(model.onnx).graph.output,
    )
    assert (tensor.name, score.name) == ("features", "score")


def test_the_other_output_of_a_network_can_be_the_score() -> None:
    rows = read_check_rows(MODELS / "torch.parquet", INPUTS)
    nulls = {"activity.count_1h": 0.0}
    with pytest.raises(PenstockError, match="200 of 200 rows have another score"):
        imported("torch", output=ScoreOutput("loss"), conversions=Conversions(nulls))
    again = CheckRows(rows.vectors, rows.scores * np.nan)
    with pytest.raises(PenstockError, match=r"row 0 \S+ instead of nan"):
        import_onnx(MODELS / "torch.onnx", INPUTS, VIEWS, again, ImportRequest(ScoreOutput("risk"), Conversions(nulls)))


def made(
    folder: Path,
    tensors: dict[str, tuple[int, list[Any]]],
    nodes: list[Any],
    outputs: dict[str, tuple[int, list[Any] | None]],
    opset: int = 17,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, *kind) for name, kind in tensors.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        initializer=[helper.make_tensor("k", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def attempt(path: Path, scores: Any, **request: Any) -> TrainedModel[ImportManifest]:
    rows = CheckRows(X, np.asarray(scores, dtype=np.float64))
    return import_onnx(path, INPUTS, VIEWS, rows, ImportRequest(**request))


FLOAT, DOUBLE, INT64, INT32, BOOL, TEXT = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.BOOL,
    TensorProto.STRING,
)
SUM = [helper.make_node("ReduceMax", ["x"], ["y"], axes=[1], keepdims=1)]


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE])
def test_one_matrix_of_any_floating_type_is_taken(kind: int, tmp_path: Path) -> None:
    path = made(tmp_path, {"x": (kind, ["N", 3])}, SUM, {"y": (kind, ["N", 1])})
    filled = np.where(np.isnan(X), 9, X).max(axis=1)
    model = attempt(path, filled, conversions=Conversions({"activity.amount_sum_1h": 9.0}))
    assert score_onnx(model.onnx, X).tolist() == filled.tolist()


@pytest.mark.parametrize("kind", [INT64, INT32, BOOL])
@pytest.mark.parametrize("shape", [["N"], ["N", 1]])
def test_one_tensor_for_each_input_is_taken_in_its_own_type_and_shape(
    kind: int, shape: list[Any], tmp_path: Path
) -> None:
    tensors = {"event.amount": (FLOAT, shape), "activity_amount_sum_1h": (kind, shape), "count_1h": (DOUBLE, shape)}
    nodes = [
        helper.make_node("Cast", ["activity_amount_sum_1h"], ["a"], to=FLOAT),
        helper.make_node("Cast", ["count_1h"], ["b"], to=FLOAT),
        helper.make_node("Add", ["event.amount", "a"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["y"]),
    ]
    path = made(tmp_path, tensors, nodes, {"y": (FLOAT, shape)})
    second = [1.0, 1.0, 1.0] if kind == BOOL else [2.0, 5.0, -1.0]
    expected = X[:, 0] + np.array(second, dtype=np.float32) + X[:, 2]
    model = attempt(path, expected, conversions=Conversions({"activity.amount_sum_1h": 5.0}))
    assert score_onnx(model.onnx, X).tolist() == expected.tolist()
    with pytest.raises(PenstockError, match=r"takes activity\.amount_sum_1h as \w+, which has no null"):
        attempt(path, expected)


WIDE = [helper.make_node("Identity", ["x"], ["y"])]
WHOLE = {"y": (FLOAT, ["N", 3])}


def test_of_several_columns_one_must_be_chosen(tmp_path: Path) -> None:
    path = made(tmp_path, {"x": (FLOAT, ["N", 3])}, WIDE, WHOLE)
    with pytest.raises(PenstockError, match="has 3 numbers for each row"):
        attempt(path, X[:, 2])
    with pytest.raises(PenstockError, match="there is no column 3"):
        attempt(path, X[:, 2], output=ScoreOutput(column=3))
    assert attempt(path, X[:, 2], output=ScoreOutput(column=2)).manifest.column == 2


TWO = {"y": (FLOAT, ["N", 3]), "z": (FLOAT, ["N", 3])}
BOTH = [*WIDE, helper.make_node("Identity", ["x"], ["z"])]


@pytest.mark.parametrize(
    ("tensors", "nodes", "outputs", "says"),
    [
        (
            {"x": (FLOAT, ["N", 4])},
            WIDE,
            {"y": (FLOAT, ["N", 4])},
            r"takes x float32 \[N, 4\], the pipeline has 3 inputs",
        ),
        ({"x": (TEXT, ["N", 3])}, WIDE, {"y": (TEXT, ["N", 3])}, r"event\.amount is a number, the model takes it as t"),
        ({"x": (TensorProto.COMPLEX64, ["N", 3])}, WIDE, WHOLE, "takes neither numbers nor texts"),
        ({"x": (FLOAT, ["N", 3]), "k2": (FLOAT, ["N"])}, WIDE, WHOLE, r"no tensor is named event\.amount or"),
        ({"x": (FLOAT, [1, 3])}, WIDE, {"y": (FLOAT, [1, 3])}, "cannot score the 3 rows"),
        ({"x": (FLOAT, ["N", 3])}, BOTH, TWO, "several outputs that can be the score: y float32"),
        (
            {"x": (FLOAT, ["N", 3])},
            [helper.make_node("Cast", ["x"], ["y"], to=INT64)],
            {"y": (INT64, ["N", 3])},
            "no output that is the score: y int64",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_its_tensors(
    tensors: Any, nodes: Any, outputs: Any, says: str, tmp_path: Path
) -> None:
    with pytest.raises(PenstockError, match=says):
        attempt(made(tmp_path, tensors, nodes, outputs), X[:, 0])


def test_an_output_that_does_not_exist_a_null_of_no_input_and_an_old_operator_set_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path, {"x": (FLOAT, ["N", 3])}, WIDE, WHOLE)
    with pytest.raises(PenstockError, match="output no is no tensor"):
        attempt(path, X[:, 0], output=ScoreOutput("no"))
    with pytest.raises(PenstockError, match="--null names no, which is no input"):
        attempt(path, X[:, 0], conversions=Conversions({"no": 1.0}))
    old = made(tmp_path, {"x": (FLOAT, ["N", 3])}, WIDE, WHOLE, opset=8)
    with pytest.raises(PenstockError, match="operator set 8, at least 9"):
        attempt(old, X[:, 0])


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(PenstockError, match="not an ONNX model"):
        attempt(path, X[:, 0])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_rows_are_read_from_each_kind_of_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    table = pa.table({"score": [0.5, 1.0], INPUTS[0]: [True, False], INPUTS[1]: [1.5, None], INPUTS[2]: [3, 4]})
    if suffix == ".parquet":
        pa.parquet.write_table(table, path)
    elif suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        lines = [
            '{"score": 0.5, "event.amount": true, "activity.amount_sum_1h": 1.5, "activity.count_1h": 3}',
            '{"score": 1.0, "event.amount": false, "activity.amount_sum_1h": null, "activity.count_1h": 4}',
        ]
        path.write_text("\n".join(lines), encoding="utf-8")
    rows = read_check_rows(path, INPUTS)
    assert rows.scores.tolist() == [0.5, 1.0]
    np.testing.assert_array_equal(rows.vectors, np.array([[1, 1.5, 3], [0, np.nan, 4]], dtype=np.float32))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("rows.txt", "", "files of rows end in"),
        ("rows.csv", "score,event.amount\n1,2\n", r"no column activity\.amount_sum_1h"),
        ("rows.csv", "score,event.amount,activity.amount_sum_1h,activity.count_1h\n", "there are no rows"),
        ("rows.csv", "score,event.amount,activity.amount_sum_1h,activity.count_1h\n1,x,2,3\n", "holds no numbers"),
        ("rows.parquet", "no", "cannot be read"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(PenstockError, match=says):
        read_check_rows(tmp_path / name, INPUTS)
