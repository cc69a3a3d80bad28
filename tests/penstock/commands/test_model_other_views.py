"""`penstock model` for a model with inputs of another pipeline: what is made without its data, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from penstock.cli import cli
from penstock.commands.model.manifests import about
from tests.other_pipelines import INPUTS
from tests.scoring.gates.test_card import TRAINED

TEXT = "cards:by_card.country_last_1h"


@pytest.fixture(autouse=True)
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both pipelines, found by their folders."""
    for name, content in (("cards", "CARDS as pipeline"), ("taps", "taps\n\npipeline = taps()")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pipeline.py").write_text(f"from tests.other_pipelines import {content}\n", encoding="utf-8")
    monkeypatch.setenv("PENSTOCK_PIPELINES", str(tmp_path))
    monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(tmp_path / "models"))


def test_a_model_is_imported_and_its_manifest_names_the_other_pipelines_views(tmp_path: Path) -> None:
    """Its tensors are named like the inputs, with `_` for what a tensor's name seldom has."""
    names = {name: name.replace(":", "_").replace(".", "_") for name in INPUTS}
    graph = helper.make_graph(
        [
            helper.make_node("Sum", [name for name in names.values() if name != names[TEXT]], ["numbers"]),
            helper.make_node("Sum", ["numbers", names[TEXT]], ["y"]),
        ],
        "sum",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in names.values()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    numbers = {name: np.array([1.0, 2.0], np.float32) for name in INPUTS if name != TEXT}
    (tmp_path / "countries.txt").write_text("?\nNL\n", encoding="utf-8")
    rows = {**numbers, TEXT: ["NL", "FR"], "score": sum(numbers.values()) + np.array([1, 0])}
    pa.parquet.write_table(pa.table(rows), tmp_path / "rows.parquet")
    files = ("--onnx", str(tmp_path / "m.onnx"), "--check-rows", str(tmp_path / "rows.parquet"))
    vocabulary = ("--vocabulary", f"{TEXT}={tmp_path / 'countries.txt'}")
    done = CliRunner().invoke(cli, ["model", "import", "taps", *files, *vocabulary])
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "models" / "taps" / "1" / "manifest.json").read_text(encoding="utf-8"))
    assert [*manifest["views"]] == ["by_gate", "cards:by_card", "cards:by_pair"]


def test_all_of_a_version_that_was_trained_with_defaults_says_so() -> None:
    said = "1,000 events, 50 positive, with the defaults of inputs from other pipelines"
    assert said in dict(about(TRAINED.model_copy(update={"with_defaults": True})))["trained on"]


def test_a_category_whose_texts_no_prediction_has_is_not_trained_on(tmp_path: Path) -> None:
    refused = CliRunner().invoke(cli, ["model", "train", "taps", "--backfill", str(tmp_path)])
    assert refused.exit_code == 1
    assert f"category {TEXT} is of another pipeline" in str(refused.exception)
