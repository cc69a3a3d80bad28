import shutil
from dataclasses import replace

import pytest

from penstock.errors import PenstockError
from scoring.hosted_files import files_sha256
from scoring.repository import ModelRepository
from scoring.servers.protocol import ModelLoadError, ModelServerUnavailable, VersionState
from scoring.trained_model import TrainedModel
from scoring.version_loading import load_version
from tests.scoring.fake_server import FakeServer
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes
from tests.scoring.test_repository import hosted

UNAVAILABLE = ModelServerUnavailable("Fake does not answer")
REFUSED = ModelLoadError("Fake cannot load version 2 of model taps: no", where="127.0.0.1:1", next="look there")


@pytest.fixture
def repository(tmp_path):
    """Two versions, of which the first is configured."""
    repository = ModelRepository(tmp_path / "models")
    manifest = manifest_of(define(tmp_path, "loading", partitions=1)[1])
    for _ in range(2):
        repository.add("taps", TrainedModel(onnx_bytes(), None, manifest))
    return repository


class RefusingServer(FakeServer):
    """Answers, and refuses to load."""

    def load(self, model):
        super().load(model)
        raise REFUSED


def test_the_newest_version_is_configured_and_loaded(repository):
    server = FakeServer()
    assert load_version(repository, server, "taps").versions == (1, 2)
    assert server.calls == [("versions", "taps"), ("load", repository.metadata("taps"))]
    assert repository.metadata("taps").version == 2


def test_a_server_that_does_not_answer_changes_nothing(repository):
    before = repository.configuration("taps")
    with pytest.raises(ModelServerUnavailable):
        load_version(repository, FakeServer(failure=UNAVAILABLE), "taps")
    assert repository.configuration("taps") == before


def test_after_a_refused_load_the_configuration_is_as_it_was_and_the_error_says_so(repository):
    before = repository.configuration("taps")
    with pytest.raises(PenstockError, match="cannot load version 2") as refused:
        load_version(repository, RefusingServer(), "taps")
    assert repository.configuration("taps") == before
    assert refused.value.where == f"127.0.0.1:1, {repository.root / 'taps'}"
    assert "the configuration is as it was" in refused.value.safe
    assert refused.value.next == "look there"


class HostingServer(FakeServer):
    """Has these versions of each model ready."""

    ready = (3,)

    def versions(self, model):
        super().versions(model)
        return [VersionState(version, "READY", "") for version in self.ready]


@pytest.fixture
def calling(repository):
    """A third version, that calls a model of Triton whose files are in the repository."""
    file = repository.root / "risk" / "3" / "model.plan"
    file.parent.mkdir(parents=True)
    file.write_text("imported")
    made = hosted(repository.manifest("taps", 1).inputs)
    sha256 = files_sha256(repository.root, "risk", 3, "python")
    manifest = made.manifest.model_copy(update={"sha256": sha256})
    repository.add("taps", replace(made, manifest=manifest))
    return repository


def test_a_version_that_calls_a_model_is_loaded_if_that_is_ready_as_it_was_imported(calling):
    assert load_version(calling, HostingServer(), "taps").version == 3


def test_it_is_not_loaded_while_that_exact_version_is_not_ready(calling):
    server = HostingServer()
    server.ready = (4,)
    with pytest.raises(PenstockError, match="model risk version 3 is not ready in Fake, which has version 4 READY"):
        load_version(calling, server, "taps")
    assert calling.metadata("taps").version == 1


def test_it_is_not_loaded_if_the_models_files_are_others_now(calling):
    (calling.root / "risk" / "3" / "model.plan").write_text("replaced")
    with pytest.raises(PenstockError, match="the files of model risk version 3 are not those that were imported"):
        load_version(calling, HostingServer(), "taps")
    assert calling.metadata("taps").version == 1


def test_it_is_loaded_where_the_models_files_are_not_to_be_read(calling):
    shutil.rmtree(calling.root / "risk")
    assert load_version(calling, HostingServer(), "taps").version == 3
