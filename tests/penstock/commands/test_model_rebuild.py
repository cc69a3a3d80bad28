"""`penstock model rebuild` makes a version again with the same bytes, or names what differs and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from scoring import training
from scoring.trained_model import OnnxModel
from tests.rebuilding import Site, in_clean_process

FILES = {"model.onnx", "baseline.onnx", "checkpoint.tl", "drift.json", "reasons.onnx"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Site.make(tmp_path_factory.mktemp("made")).train(monkeypatch, "--seed", "3")


@pytest.fixture
def site(made: Site, tmp_path: Path) -> Site:
    return made.copy(tmp_path / "elsewhere")


def wheres(found: Any, kind: str = "differences") -> list[str]:
    return [one["where"] for one in found[kind]]


def test_another_process_in_a_clean_environment_makes_the_same_bytes(site: Site, tmp_path: Path) -> None:
    with_one = {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1", "LANG": "C", "OMP_NUM_THREADS": "1"}
    code, found = in_clean_process(site, tmp_path / "cwd", with_one)
    assert (code, found["same"], found["differences"]) == (0, True, [])
    assert FILES - {"checkpoint.tl"} <= set(found["files"])
