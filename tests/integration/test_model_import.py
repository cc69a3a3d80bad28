"""Imported models on real Kafka and Triton: scored as the library that exported them scores."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from penstock.paths import ROOT
from penstock.settings import Settings
from tests.scoring.scorer_bench import ScorerBench, amount_of, define, load_model, unload_model

MODELS = ROOT / "tests" / "models"
EVENTS = 300


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[ScorerBench]:
    """A pipeline with topics, whose model has no version yet."""
    reference, pipeline = define(tmp_path, suffix, partitions=3)
    bench = ScorerBench(reference, pipeline, settings, tmp_path)
    bench.create_topics()
    yield bench
    with contextlib.suppress(Exception):  # if it fails, the test has failed already
        unload_model(pipeline, settings)


def model(bench: ScorerBench, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "model", arguments[0], bench.reference, *arguments[1:]],
        check=False,
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def vectors(offsets: list[int]) -> np.ndarray:
    """What the bench emits for raw events with these offsets."""
    totals = [np.nan if offset % 5 == 0 else float(offset % 23) for offset in offsets]
    columns = [[amount_of(offset) for offset in offsets], totals, [offset % 17 for offset in offsets]]
    return np.array(columns, dtype=np.float32).T


def alone(name: str, output: str = "risk") -> Callable[[np.ndarray], np.ndarray]:
    """The exported model, without anything of Penstock."""
    session = onnxruntime.InferenceSession(str(MODELS / f"{name}.onnx"), providers=["CPUExecutionProvider"])

    def score(found: np.ndarray) -> np.ndarray:
        if name != "torch":
            return np.asarray(session.run(None, {"input": found})[-1])[:, -1]
        amount, total, count = found.T
        feed = {"amount": amount, "amount_sum_1h": total.astype(np.float64), "count_1h": count.astype(np.int64)}
        return np.asarray(session.run([output], feed)[0])

    return score


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lightgbm", ()),
        ("xgboost", ()),
        (
            "torch",
            (
                "--output",
                "risk",
                "--null",
                "activity.count_1h=0",
                "--null",
                "activity.amount_sum_1h=2.5",
                "--keep",
                "loss",
            ),
        ),
    ],
)
def test_an_imported_model_is_served_by_triton_and_scores_as_it_does_alone(
    bench: ScorerBench, name: str, options: tuple[str, ...]
) -> None:
    file, rows = str(MODELS / f"{name}.onnx"), str(MODELS / f"{name}.parquet")
    assert "200 rows scored as expected" in model(bench, "import", "--onnx", file, "--check-rows", rows, *options)
    load_model(bench.pipeline, bench.settings)
    with bench.scoring():
        bench.feed(EVENTS)
        bench.wait_until_drained()
    predictions = bench.predictions()
    found = vectors([prediction["source"]["offset"] for prediction in predictions])
    if name == "torch":
        found[np.isnan(found[:, 1]), 1] = 2.5
    assert len(predictions) == EVENTS
    assert {prediction["route"] for prediction in predictions} == {"primary"}
    assert [one["score"] for one in predictions] == pytest.approx(alone(name)(found).tolist(), abs=1e-5, rel=1e-5)
    outputs = [one["outputs"] for one in predictions]
    if name == "torch":
        assert [[(one["name"], one["value"]) for one in row] for row in outputs] == [
            [("loss", pytest.approx(value, abs=1e-4, rel=1e-5))] for value in alone(name, "loss")(found)[:, 0].tolist()
        ]
    else:
        assert outputs == [[]] * EVENTS
    assert f"{name}.onnx" in model(bench, "list")
