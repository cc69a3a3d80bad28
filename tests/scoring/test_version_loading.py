import shutil
from dataclasses import replace

import pytest

from penstock.errors import PenstockError
from scoring.alias_history import read_history
from scoring.hosted_files import files_sha256
from scoring.repository import ModelRepository
from scoring.servers.protocol import ModelLoadError, ModelServerUnavailable, VersionState
from scoring.trained_model import TrainedModel
from scoring.version_loading import load_version, load_versions
from tests.scoring.fake_server import FakeServer, LoadingServer
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


@pytest.fixture
def five(repository):
    """Five versions, of which the first is configured."""
    manifest = repository.manifest("taps", 1)
    for _ in range(3):
        repository.add("taps", TrainedModel(onnx_bytes(), None, manifest))
    return repository


def test_a_champion_is_loaded_with_the_others_of_its_rollout_and_each_scores_a_vector(five):
    server = LoadingServer(five)
    config = load_versions(five, server, "taps", 2, [4, 5])
    assert (config.version, config.versions, server.loaded) == (2, (1, 2, 4, 5), (1, 2, 4, 5))
    inferred = [call[:3] for call in server.calls if call[0] == "taps"]
    assert inferred == [("taps", version, 1) for version in (1, 2, 4, 5)]
    assert five.metadata("taps").version == 2


def test_the_history_says_that_a_rollout_made_the_champion_the_current_version(five):
    load_versions(five, LoadingServer(five), "taps", 2, [4])
    *_, champion = (change for change in read_history(five, "taps") if change.alias == "champion")
    assert (champion.before, champion.after, champion.command, champion.loads) == (1, 2, "rollout", True)


def test_loading_another_version_does_not_unload_those_of_a_rollout(five):
    server = LoadingServer(five)
    load_versions(five, server, "taps", 2, [4])
    load_version(five, server, "taps", 5)
    load_version(five, server, "taps", 3)
    assert server.loaded == (2, 3, 4)


def test_a_version_of_a_rollout_that_does_not_exist_changes_nothing(five):
    before, server = five.configuration("taps"), LoadingServer(five)
    with pytest.raises(PenstockError, match="model taps has no version 9"):
        load_versions(five, server, "taps", 2, [9])
    assert (five.configuration("taps"), server.loaded) == (before, ())


def test_if_one_version_is_not_ready_after_a_load_the_server_gets_what_it_had(five):
    server = LoadingServer(five, unready=(4,))
    load_versions(five, server, "taps", 2, [3])
    before = five.configuration("taps")
    with pytest.raises(PenstockError, match="Fake cannot load version 4 of model taps") as refused:
        load_versions(five, server, "taps", 2, [4])
    assert (five.configuration("taps"), server.loaded) == (before, (1, 2, 3))
    assert "what was served goes on" in refused.value.safe


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
