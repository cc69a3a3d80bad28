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
import pyarrow as pa
import pyarrow.parquet
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingRegressor

from penstock.paths import ROOT
from penstock.settings import Settings
from streams.definitions.loading import load_pipeline
from tests.integration.verified import verified
from tests.scoring.scorer_bench import DEFINITION, ScorerBench, amount_of, define, load_model, unload_model

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
    assert any(one["reasons"] for one in predictions) == (name != "torch")
    assert all(one["score"] >= 0.5 for one in predictions if one["reasons"])
    outputs = [one["outputs"] for one in predictions]
    if name == "torch":
        assert [[(one["name"], one["value"]) for one in row] for row in outputs] == [
            [("loss", pytest.approx(value, abs=1e-4, rel=1e-5))] for value in alone(name, "loss")(found)[:, 0].tolist()
        ]
    else:
        assert outputs == [[]] * EVENTS
    assert f"{name}.onnx" in model(bench, "list")


def test_a_network_gets_the_texts_of_its_vocabulary_and_others_as_its_first_entry(
    settings: Settings, suffix: str, tmp_path: Path
) -> None:
    definition = DEFINITION.replace("    amount: float\n", "    amount: float\n    country: str | None\n").replace(
        '"event.amount", "activity.amount_sum_1h", "activity.count_1h"', '"event.amount", "event.country"'
    )
    path = tmp_path / f"taps_{suffix}.py"
    path.write_text(definition.format(suffix=suffix, partitions=1), encoding="utf-8")
    bench = ScorerBench(str(path), load_pipeline(str(path)), settings, tmp_path)
    bench.create_topics()
    countries = ["DE", "FR", "PL", "Åland", "?", "XX", "", None]
    imported = model(
        bench,
        "import",
        *("--onnx", str(MODELS / "text.onnx"), "--check-rows", str(MODELS / "text.parquet"), "--output", "risk"),
        *("--vocabulary", f"event.country={MODELS / 'text.txt'}", "--keep", "loss"),
    )
    assert "event.country with a vocabulary of 5 entries, loss kept" in imported
    load_model(bench.pipeline, settings)
    try:
        with bench.scoring():
            for offset in range(EVENTS):
                event = {"amount": amount_of(offset), "country": countries[offset % len(countries)]}
                bench.emit(0, offset, event=event)
            bench.wait_until_drained()
        predictions = bench.predictions()
    finally:
        unload_model(bench.pipeline, settings)
    offsets = [prediction["source"]["offset"] for prediction in predictions]
    assert sorted(offsets) == list(range(EVENTS))
    known = ["?", "DE", "FR", "PL", "Åland"]
    texts = [countries[offset % len(countries)] for offset in offsets]
    session = onnxruntime.InferenceSession(str(MODELS / "text.onnx"), providers=["CPUExecutionProvider"])
    feed = {
        "amount": np.array([amount_of(offset) for offset in offsets], np.float32),
        "country": np.array([known.index(text) if text in known else 0 for text in texts]),
    }
    risk, loss = session.run(["risk", "loss"], feed)
    assert [one["score"] for one in predictions] == pytest.approx(risk.tolist(), abs=1e-5)
    assert [one["outputs"] for one in predictions] == [
        [{"name": "loss", "value": pytest.approx(value, abs=1e-5)}] for value in loss[:, 0].tolist()
    ]
    codes = {text: np.frombuffer(one["vector"], "<f4")[1] for text, one in zip(texts, predictions, strict=True)}
    assert np.isnan(codes[None])
    assert len({codes[text] for text in countries if text is not None}) == len(countries) - 1


REGRESSION = (
    DEFINITION.replace("Entity, Model", "Entity, Labels, Model")
    .replace(
        "card = Entity(",
        """class Worth(Contract, name="worth_{suffix}", version=1):
    tap_id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    worth: float


card = Entity(""",
    )
    .replace("threshold=0.5", "threshold=-250_000.0")
    .replace(
        "    model=Model(",
        """    labels=Labels(topic="labels.worth_{suffix}", contract=Worth, value="worth", task="regression"),
    model=Model(""",
    )
)


def test_a_regression_of_large_and_negative_values_is_served_and_verified(
    settings: Settings, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"taps_{suffix}.py"
    path.write_text(REGRESSION.format(suffix=suffix, partitions=3), encoding="utf-8")
    bench = ScorerBench(str(path), load_pipeline(str(path)), settings, tmp_path)
    bench.create_topics()
    X = np.nan_to_num(vectors(list(range(400))))  # noqa: N806 - the matrix, as everywhere
    worth = 1e6 * (X[:, 1] - 10) - 2e5 * X[:, 2]
    trees = GradientBoostingRegressor(n_estimators=40, random_state=1).fit(X, worth)
    file, rows = tmp_path / "worth.onnx", tmp_path / "worth.parquet"
    file.write_bytes(to_onnx(trees, X[:1], target_opset=17).SerializeToString())
    columns = dict(zip(bench.pipeline.model.inputs, X.T, strict=True))
    pyarrow.parquet.write_table(pa.table({**columns, "score": trees.predict(X)}), rows)
    # ONNX sums float32: beside scores of ten millions, one near zero is off by more than its own hundred-thousandth.
    options = ("--null", "activity.amount_sum_1h=0", "--tolerance", "1e-3")
    model(bench, "import", "--onnx", str(file), "--check-rows", str(rows), *options)
    load_model(bench.pipeline, settings)
    try:
        with bench.scoring():
            bench.feed(EVENTS)
            bench.wait_until_drained()
        predictions = bench.predictions()
        found, unscored = verified(bench)
    finally:
        unload_model(bench.pipeline, settings)
    assert (found.predictions, found.mismatches, found.gaps, found.unchecked) == (EVENTS, 0, 0, []), found.examples
    assert unscored.positions == set()
    scores = np.array([one["score"] for one in predictions])
    expected = trees.predict(np.nan_to_num(vectors([one["source"]["offset"] for one in predictions])))
    assert scores == pytest.approx(expected, rel=1e-5, abs=1)
    assert scores.min() < -1e6
    assert scores.max() > 1e6
    assert [one["decision"] for one in predictions] == np.where(scores >= -250_000, "block", "pass").tolist()
    assert all(bool(one["reasons"]) == (one["decision"] == "block") for one in predictions)
    assert {one["route"] for one in predictions} == {"primary"}
