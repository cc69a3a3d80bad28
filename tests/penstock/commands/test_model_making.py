"""`penstock model import` on the command line: what it refuses before the work, and what it warns of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

from examples.fraud.pipeline import pipeline
from penstock.cli import cli

INPUTS = pipeline.model.inputs


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model whose score is the greatest input, and rows that it scores."""
    monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(tmp_path / "models"))
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], axes=[1], keepdims=1)],
        "greatest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", len(INPUTS)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        initializer=[helper.make_tensor("unused", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    vectors = np.random.default_rng(1).random((4, len(INPUTS))).astype(np.float32)
    columns = dict(zip(INPUTS, vectors.T, strict=True))
    pa.parquet.write_table(pa.table({**columns, "score": vectors.max(axis=1)}), tmp_path / "rows.parquet")
    return tmp_path / "model.onnx", tmp_path / "rows.parquet"


def imported(files: tuple[Path, Path], *options: str) -> Result:
    model, rows = map(str, files)
    return CliRunner().invoke(cli, ["model", "import", "fraud", "--onnx", model, "--check-rows", rows, *options])


def test_a_value_for_null_that_no_row_checks_is_told(files: tuple[Path, Path]) -> None:
    done = imported(files, "--null", f"{INPUTS[1]}=0")
    assert done.exit_code == 0
    assert f"not checked   what null of {INPUTS[1]} becomes: no row of {files[1]} has null there\n" in done.output
    assert "not checked" not in imported(files).output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--tolerance", "nan"), "Invalid value for '--tolerance'"),
        (("--tolerance", "inf"), "Invalid value for '--tolerance'"),
        (("--null", "=1"), "'=1' is not INPUT=NUMBER"),
        (("--null", "x=y"), "'x=y' is not INPUT=NUMBER"),
    ],
)
def test_an_option_without_a_meaning_is_a_usage_error(
    options: tuple[str, ...], says: str, files: tuple[Path, Path]
) -> None:
    done = imported(files, *options)
    assert (done.exit_code, says in done.output) == (2, True)


def test_the_terminal_has_no_lines_of_the_library_that_runs_models(
    files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert imported(files).exit_code == 0
    assert capfd.readouterr().err == ""
