"""Adds a model and its drift reference to the repository: ``python -m tests.bench.pipeline.models FILE``.

The model is trained on noise: what it says does not matter here, what it costs does. ``--before`` uses the names that
the code had at the commit that :mod:`tests.bench.pipeline` compares with; it runs with that code on the path.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from penstock.settings import Settings

_SEED = 17
_ROWS = 4_000
_UNTIL_MS = 1_000_000


def add(path: str, *, before: bool) -> None:
    """Train the model of the pipeline in a file, and add it to the repository."""
    training = importlib.import_module("scoring.training")
    repository = importlib.import_module("scoring.repository").ModelRepository(Settings().model_repository)
    calibration = importlib.import_module("streams.drift.calibration")
    if before:
        pipeline: Any = importlib.import_module("streams.loading").load_pipeline(path)
        views = importlib.import_module("streams.plan").plan(pipeline).views
        manifest_type, series_type = training.Manifest, calibration.Series
    else:
        pipeline = importlib.import_module("streams.definitions.loading").load_pipeline(path)
        views = importlib.import_module("streams.plan.compiler").compile_plan(pipeline).views
        manifest_type, series_type = training.ModelManifest, calibration.MonitorSeries
    inputs = pipeline.model.inputs
    rng = np.random.default_rng(_SEED)
    rows = rng.random((_ROWS, len(inputs)), np.float32)
    labels = (rows[:, 0] + rows[:, 5] + rng.random(_ROWS) > 1.6).astype(np.int8)
    model = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=_SEED).fit(rows, labels)
    manifest = manifest_type(
        inputs=inputs,
        baseline_inputs=(),
        views={view.name: f"{view.version}:{view.hash}" for view in views},
        seed=_SEED,
        data_hash="0",
        until_ms=_UNTIL_MS,
        rows=_ROWS,
        positives=int(labels.sum()),
        iterations=100,
        read={},
        validation=training.Validation(from_ms=0, rows=0, positives=0, auc=0.5, auc_without_windows=None),
        libraries={},
    )
    times, partitions = np.arange(_ROWS) * 200, np.arange(_ROWS) % 2
    series = [
        series_type(name, times, partitions, rng.random(_ROWS).astype(np.float32).astype(np.float64))
        for name in pipeline.monitors.names()
    ]
    reference = calibration.calibrate(
        pipeline.name, pipeline.model.name, pipeline.monitors, series, until_ms=_UNTIL_MS, warm_up_ms=0, seed=0
    )
    trained = training.TrainedModel(training.to_onnx(model, rows, inputs, _SEED), None, manifest)
    repository.add(pipeline.model.name, trained, reference if before else reference.artifacts())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pipeline.models")
    parser.add_argument("file")
    parser.add_argument("--before", action="store_true")
    options = parser.parse_args()
    add(options.file, before=options.before)
