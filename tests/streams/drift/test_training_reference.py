"""Training writes the drift reference into the folder of the model version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.fraud.pipeline import pipeline as fraud
from penstock import Monitors
from penstock.errors import PenstockError
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from scoring.training import train
from scoring.training_set import Counts, TrainingSet
from streams.definitions.pipeline import Pipeline
from streams.drift.app import check_budget, serving_reference
from streams.drift.drift_reference import REFERENCE_FILE, read_reference
from streams.drift.training_reference import build_reference
from streams.plan.project import Project
from tests.streams.drift.references import monitor_reference, reference

INPUTS = ("event.amount_eur", "card_spend.amount_eur_mean_7d")
ROWS = 1_500
DAY_MS = 86_400_000


def pipeline_of(monitors: Monitors | None) -> Any:
    model = fraud.model.model_copy(update={"inputs": INPUTS, "groups": ()})
    return fraud.model_copy(update={"model": model, "monitors": monitors})


MONITORED = pipeline_of(Monitors(inputs=INPUTS, window=100, false_alarm_every=10_000))


def project_of(pipeline: Pipeline) -> Project:
    return Project.of(pipeline, Path("nothing is committed"))


@pytest.fixture(scope="module")
def training_set() -> TrainingSet:
    rng = np.random.default_rng(1)
    matrix = rng.normal(10, 2, (ROWS, 2)).astype(np.float32)
    matrix[rng.random(ROWS) < 0.1, 1] = np.nan
    truth = (matrix[:, 0] + rng.normal(0, 1, ROWS) > 12).astype(np.int8)
    times, partitions = np.arange(ROWS, dtype=np.int64) * 60_000, np.arange(ROWS, dtype=np.int64) % 4
    ids = tuple(map(str, range(ROWS)))
    return TrainingSet(INPUTS, ids, times, partitions, matrix, truth, {}, None, Counts(), "hash")


@pytest.fixture(scope="module")
def trained(training_set: TrainingSet) -> TrainedModel:
    return train(training_set, seed=1)


def test_the_reference_describes_the_training_data(training_set, trained):
    reference = build_reference(project_of(MONITORED), training_set, trained, seed=1)
    assert reference is not None
    assert [monitor.name for monitor in reference.monitors] == [*INPUTS, "score"]
    assert reference.until_ms == training_set.event_times.max()
    assert reference.monitor(INPUTS[0]).mean == pytest.approx(10, abs=0.2)
    assert reference.monitor(INPUTS[1]).missing == pytest.approx(0.1, abs=0.03)
    assert reference.monitor("score").mean == pytest.approx(training_set.y.mean(), abs=0.05)
    assert build_reference(project_of(MONITORED), training_set, trained, seed=1) == reference


def test_the_scores_of_the_validation_rows_are_kept(training_set, trained):
    assert len(trained.validated) == trained.manifest.validation.rows
    assert ((trained.validated >= 0) & (trained.validated <= 1)).all()


def test_the_scores_of_an_imported_version_have_a_reference_and_nothing_is_held_out(training_set, trained):
    imported = TrainedModel(trained.onnx, None, trained.manifest)
    reference = build_reference(project_of(MONITORED), training_set, imported, seed=1)
    assert reference is not None
    assert reference.monitor("score").mean == pytest.approx(training_set.y.mean(), abs=0.05)


def test_without_monitors_there_is_no_reference(training_set, trained):
    assert build_reference(project_of(pipeline_of(None)), training_set, trained, seed=1) is None


def test_the_repository_stores_the_reference_with_the_version_and_the_app_reads_it(
    training_set, trained, tmp_path, monkeypatch
):
    repository = ModelRepository(tmp_path)
    reference = build_reference(project_of(MONITORED), training_set, trained, seed=1)
    version = repository.add("fraud", trained, reference.artifacts())
    assert read_reference(repository.folder("fraud", version)) == reference
    monkeypatch.setattr("streams.drift.app.view_versions", lambda *_: {})
    assert serving_reference(project_of(MONITORED), repository) == (reference, version)


def test_monitors_other_than_those_of_the_reference_are_refused(training_set, trained, tmp_path):
    repository = ModelRepository(tmp_path)
    repository.add("fraud", trained, build_reference(project_of(MONITORED), training_set, trained, seed=1).artifacts())
    changed = pipeline_of(Monitors(inputs=INPUTS[:1], window=100, false_alarm_every=10_000))
    with pytest.raises(PenstockError, match="monitors have changed since the model was trained"):
        serving_reference(project_of(changed), repository)


def test_a_version_without_a_reference_is_an_error_with_the_next_command(trained, tmp_path):
    repository = ModelRepository(tmp_path)
    version = repository.add("fraud", trained)
    with pytest.raises(PenstockError, match="no drift reference") as caught:
        read_reference(repository.folder("fraud", version))
    assert caught.value.where.endswith(REFERENCE_FILE)
    assert "--backfill FOLDER" in caught.value.next


def test_the_app_starts_as_long_as_one_monitor_is_watched_and_says_which_are_not(caplog):
    refused = {"refused": ("adwin", "psi", "kl", "page_hinkley"), "correlation_ms": 2 * DAY_MS, "needs_ms": 90 * DAY_MS}
    partly = reference("x").model_copy(update={"monitors": (monitor_reference("x"), monitor_reference("y", **refused))})
    check_budget(partly, "here")
    assert "y by adwin, psi, kl, page_hinkley (correlated for 2 days" in caplog.text
    nothing = reference("y").model_copy(update={"monitors": (monitor_reference("y", **refused),)})
    with pytest.raises(PenstockError, match="at least 90 days") as caught:
        check_budget(nothing, "here")
    assert "lower false_alarm_every" in caught.value.next
