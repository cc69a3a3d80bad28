import pytest

from penstock.errors import PenstockError
from scoring.repository import ModelRepository
from scoring.servers.protocol import ModelLoadError, ModelServerUnavailable
from scoring.trained_model import TrainedModel
from scoring.version_loading import load_version
from tests.scoring.fake_server import FakeServer
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes

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
