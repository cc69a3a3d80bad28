"""Versions that score in this process: those of the repository, as a scorer would have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.bands import keep_band
from scoring.cascade import Band
from scoring.cascade_inference import CascadeInference
from scoring.local_inference import LocalInference
from scoring.local_versions import open_local_versions
from scoring.onnx_session import open_session, scores_of
from scoring.prediction_format import ModelIdentity
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from scoring.version_files import identity
from streams.plan.project import Project
from tests.scoring.scorer_bench import WEIGHTS, define, manifest_of, onnx_bytes
from tests.scoring.test_bands import CHOSEN
from tests.scoring.test_repository import hosted

VECTORS = np.array([[0.5, np.nan, 3], [-1, 0, 0], [4, 1, 1]], np.float32)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """With a cascade; each model has two versions."""
    pipeline = define(tmp_path, "local", 1, 'strong="big"')[1]
    return Project.of(pipeline, tmp_path)


@pytest.fixture
def repository(project: Project, tmp_path: Path) -> ModelRepository:
    repository, pipeline = ModelRepository(tmp_path / "models"), project.pipeline
    for weights in (WEIGHTS, -WEIGHTS):
        for name in pipeline.model.names:
            repository.add(name, TrainedModel(onnx_bytes(weights=weights), None, manifest_of(pipeline)))
    return repository


def test_a_version_alone_scores_as_its_file_does_row_by_row(project: Project, repository: ModelRepository) -> None:
    name = project.pipeline.model.name
    with open_local_versions(project, repository) as versions:
        arm = versions.alone(name, 2)
        found = arm.inference.infer(VECTORS, lambda: ["a", "b", "c"]).values
    session = open_session(repository.model_file(name, 2))
    alone = np.concatenate([scores_of(session, row[np.newaxis]) for row in VECTORS])
    np.testing.assert_array_equal(found.astype(np.float32), alone)
    assert isinstance(arm.inference, LocalInference)
    assert not arm.inference.waits()
    assert versions.identities == {f"{name}@2": identity(repository.folder(name, 2))}


def test_an_arm_of_a_cascade_has_the_current_strong_version_and_the_band_of_both(
    project: Project, repository: ModelRepository
) -> None:
    name = project.pipeline.model.name
    repository.configure("big", 2)
    with open_local_versions(project, repository) as versions:
        with pytest.raises(PenstockError, match="no band was chosen"):
            versions.arm(2)
        keep_band(repository, name, CHOSEN.model_copy(update={"fast": 2, "strong_version": 2}))
        arm = versions.arm(2)
    assert isinstance(arm.inference, CascadeInference)
    assert (arm.model, arm.strong) == (ModelIdentity(name, "2"), ModelIdentity("big", "2"))
    assert arm.band == Band(CHOSEN.low, CHOSEN.high)
    assert {f"{name}@2", "big@2"} <= versions.identities.keys()


def test_a_version_that_only_triton_can_run_is_refused(project: Project, tmp_path: Path) -> None:
    repository, name = ModelRepository(tmp_path / "others"), project.pipeline.model.name
    made = hosted(project.pipeline.model.inputs)
    views = manifest_of(project.pipeline).views
    made = type(made)(made.manifest.model_copy(update={"views": views}), made.probe, made.score)
    repository.add(name, made)
    with (
        open_local_versions(project, repository) as versions,
        pytest.raises(PenstockError, match=r"calls .* in Triton"),
    ):
        versions.alone(name, 1)


def test_a_version_of_which_a_file_has_changed_is_refused(project: Project, repository: ModelRepository) -> None:
    name = project.pipeline.model.name
    repository.model_file(name, 1).write_bytes(onnx_bytes(scores_all=True))
    with (
        open_local_versions(project, repository) as versions,
        pytest.raises(PenstockError, match=r"file model.onnx of the version has changed"),
    ):
        versions.alone(name, 1)
