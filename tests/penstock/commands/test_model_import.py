"""`penstock model import` takes one of two things."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import cli
from penstock.errors import PenstockError
from tests.scoring.scorer_bench import define


def run(folder: Path, *arguments: str):
    reference, _ = define(folder, "importing", partitions=1)
    rows = folder / "rows.csv"
    rows.write_text("event.amount,activity.amount_sum_1h,activity.count_1h,score\n1,2,3,0.5\n")
    return CliRunner().invoke(cli, ["model", "import", reference, "--check-rows", str(rows), *arguments])


FILE, VERSION, NAME = ("--onnx", __file__), ("--triton-version", "3"), ("--triton", "risk")


@pytest.mark.parametrize("arguments", [(), VERSION, (*FILE, *NAME), (*FILE, *VERSION)])
def test_it_is_either_a_file_or_a_model_of_triton(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)
    assert done.exit_code == 2
    assert "either --onnx FILE, or --triton NAME" in done.output


def test_the_pipelines_own_model_is_not_another(tmp_path: Path) -> None:
    done = run(tmp_path, "--triton", "taps_importing")
    assert isinstance(done.exception, PenstockError)
    assert "is the pipeline's own" in done.exception.what


def test_a_model_of_triton_is_not_converted(tmp_path: Path) -> None:
    done = run(tmp_path, *NAME, "--fp16")
    assert done.exit_code == 2
    assert "--fp16 converts a file" in done.output


def test_a_triton_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_TRITON_GRPC", "127.0.0.1:1")
    done = run(tmp_path, "--triton", "risk")
    assert isinstance(done.exception, PenstockError)
    assert "Triton does not answer" in done.exception.what
