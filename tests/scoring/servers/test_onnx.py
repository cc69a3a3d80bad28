from dataclasses import replace

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.model_metadata import ModelMetadata, ModelNotLoaded
from scoring.repository import ModelRepository
from scoring.servers.onnx import OnnxServer
from scoring.servers.protocol import InferenceError, ModelLoadError, VersionState
from scoring.startup import load_fallback
from scoring.trained_model import TrainedModel
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes

MODEL = ModelMetadata("taps", 1, ("event.amount", "activity.amount_sum_1h", "activity.count_1h"), {}, 4096)


@pytest.fixture
def repository(tmp_path):
    return ModelRepository(tmp_path / "models")


@pytest.fixture
def path(repository):
    """Where the file of the model's version is, which does not exist yet."""
    path = repository.model_file(MODEL.name, MODEL.version)
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def server(repository, path):
    """A server that has loaded the version."""
    path.write_bytes(onnx_bytes())
    server = OnnxServer(repository)
    server.load(MODEL)
    return server


def test_the_model_file_scores_as_the_weights_say(server):
    scores = server.infer("taps", 1, np.array([[0, 0, 0], [2, np.nan, 8]], dtype=np.float32), None)
    assert scores.dtype == np.float32
    assert scores.tolist() == [[0.5], [0.5]]


@pytest.mark.parametrize("content", [None, b"no model", b""])
def test_a_file_that_is_no_model_is_refused(repository, path, content):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PenstockError, match="fallback") as refused:
        load_fallback(OnnxServer(repository), MODEL)
    assert refused.value.where == str(path)
    assert "PENSTOCK_MODEL_REPOSITORY" in refused.value.next


def test_a_model_of_another_width_is_refused_and_not_loaded(repository, path):
    path.write_bytes(onnx_bytes())
    server = OnnxServer(repository)
    with pytest.raises(PenstockError, match="fallback"):
        load_fallback(server, replace(MODEL, inputs=("a", "b", "c", "d")))
    assert server.versions("taps") == []


def test_a_missing_file_is_a_load_error_with_the_reason(repository, path):
    with pytest.raises(ModelLoadError, match="cannot load version 1 of model taps: "):
        OnnxServer(repository).load(MODEL)


def test_vectors_of_another_width_are_an_inference_error(server):
    with pytest.raises(InferenceError):
        server.infer("taps", 1, np.zeros((1, 4), dtype=np.float32), None)


def test_an_unloaded_version_returns_no_scores(server):
    assert server.versions("taps") == [VersionState(1, "READY", "")]
    server.unload("taps")
    assert server.versions("taps") == []
    with pytest.raises(InferenceError):
        server.infer("taps", 1, np.zeros((1, 3), dtype=np.float32), None)


def test_metadata_is_what_the_repository_configures(repository, tmp_path):
    pipeline = define(tmp_path, "onnx", partitions=1)[1]
    manifest = manifest_of(pipeline)
    repository.add("taps", TrainedModel(onnx_bytes(), None, manifest))
    assert OnnxServer(repository).metadata("taps") == ModelMetadata("taps", 1, manifest.inputs, manifest.views, 4096)


def test_a_model_that_was_never_trained_is_not_loaded(repository):
    with pytest.raises(ModelNotLoaded, match="has no version yet"):
        OnnxServer(repository).metadata("taps")


def test_a_version_whose_file_can_no_longer_be_opened_goes_on_scoring(server, path):
    path.write_bytes(b"no model")
    with pytest.raises(ModelLoadError):
        server.load(MODEL)
    assert server.infer("taps", 1, np.zeros((1, 3), dtype=np.float32), None).tolist() == [[0.5]]


def test_versions_that_nobody_uses_any_more_are_forgotten_and_the_others_score(server):
    server.keep_only({("taps", 1), ("another", 2)})
    assert server.infer("taps", 1, np.zeros((1, 3), dtype=np.float32), None).tolist() == [[0.5]]
    server.keep_only({("taps", 2)})
    assert server.versions("taps") == []
