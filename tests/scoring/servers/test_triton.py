"""Errors of Triton's client become those of the protocol. tests/integration/test_model.py uses the real server."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from penstock.errors import PenstockError
from penstock.triton import TritonAccess
from scoring.model_metadata import ModelMetadata, ModelNotLoaded
from scoring.servers.protocol import (
    InferenceError,
    ModelLoadError,
    ModelServerUnavailable,
    VersionState,
)
from scoring.servers.triton import TritonServer

MODEL = ModelMetadata("taps", 2, ("event.amount",), {}, 4096)


class FakeClient:
    """Answers with an index, or raises the error of a method."""

    def __init__(self, models=(), **errors):
        self.models = models
        self.errors = errors

    def __getattr__(self, method):
        def call(*_arguments, **_options):
            if method in self.errors:
                raise self.errors[method]
            return {"models": list(self.models)}

        return call


def server(*models, **errors):
    server = TritonServer(TritonAccess(url="127.0.0.1:1"))
    server._client.close()
    server._client = FakeClient(models, **errors)
    return server


def entry(version, state, reason="", name="taps"):
    return {"name": name, "version": version, "state": state, "reason": reason}


UNAVAILABLE = InferenceServerException("failed to connect", status="StatusCode.UNAVAILABLE")
LATE = InferenceServerException("Deadline Exceeded", status="StatusCode.DEADLINE_EXCEEDED")
EXPIRED = InferenceServerException("Request timeout expired", status="StatusCode.UNAVAILABLE")
INTERNAL = InferenceServerException("backend not found;\nTraceback", status="StatusCode.INTERNAL")


@pytest.mark.parametrize("error", [UNAVAILABLE, LATE, INTERNAL], ids=lambda error: error.status())
def test_an_error_of_a_call_is_an_inference_error_that_names_the_status(error):
    with pytest.raises(InferenceError, match=f"{error.status()}: {error.message().splitlines()[0]}"):
        server(infer=error).infer("taps", 2, np.zeros((1, 1), dtype=np.float32), 0.2)


@pytest.mark.parametrize(
    ("error", "is_late"), [(LATE, True), (EXPIRED, True), (UNAVAILABLE, False), (INTERNAL, False)], ids=str
)
def test_a_deadline_that_passed_on_the_way_or_in_tritons_queue_is_late(error, is_late):
    with pytest.raises(InferenceError) as caught:
        server(infer=error).infer("taps", 2, np.zeros((1, 1), dtype=np.float32), 0.2)
    assert caught.value.late is is_late


class Answer:
    """What Triton returned: an array, None for no output, or an error if it cannot be read."""

    def __init__(self, output):
        self._output = output

    def as_numpy(self, _name):
        if isinstance(self._output, Exception):
            raise self._output
        return self._output


def answering(output):
    client = FakeClient()
    client.infer = lambda *_arguments, **_options: Answer(output)
    made = server()
    made._client = client
    return made


@pytest.mark.parametrize("output", [np.array([0.5, np.nan]), np.array([[0.5], [np.nan]], dtype=np.float32)])
def test_one_number_for_each_row_is_returned_as_it_is_even_if_it_is_no_finite_one(output):
    scores = answering(output).infer("taps", 2, np.zeros((2, 1), dtype=np.float32), 0.2)
    assert (scores.shape, scores.dtype, scores[0, 0]) == ((2, 1), np.float32, 0.5)
    assert np.isnan(scores[1, 0])


@pytest.mark.parametrize(
    "output",
    [
        None,
        np.zeros(1, dtype=np.float32),
        np.zeros((1, 2), dtype=np.float32),
        np.zeros((2, 0), dtype=np.float32),
        np.zeros((2, 1, 1), dtype=np.float32),
        np.array(0.5),
        np.array(["0.5", "0.5"], dtype=object),
        ValueError("cannot reshape array of size 1 into shape (2,)"),
    ],
    ids=["nothing", "a row less", "transposed", "no column", "a third axis", "a scalar", "text", "too few bytes"],
)
def test_anything_else_than_one_number_for_each_row_is_an_inference_error(output):
    with pytest.raises(InferenceError):
        answering(output).infer("taps", 2, np.zeros((2, 1), dtype=np.float32), 0.2)


@pytest.mark.parametrize("error", [UNAVAILABLE, LATE], ids=lambda error: error.status())
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("get_model_repository_index", lambda server: server.metadata("taps")),
        ("get_model_repository_index", lambda server: server.versions("taps")),
        ("load_model", lambda server: server.load(MODEL)),
        ("unload_model", lambda server: server.unload("taps")),
    ],
)
def test_a_triton_that_does_not_answer_is_unavailable(method, call, error):
    with pytest.raises(ModelServerUnavailable, match="Triton does not answer") as unavailable:
        call(server(**{method: error}))
    assert "penstock up" in unavailable.value.next


def test_a_refusal_and_an_outage_are_different_errors():
    with pytest.raises(ModelServerUnavailable, match=r"Triton refuses: StatusCode\.INTERNAL"):
        server(unload_model=INTERNAL).unload("taps")


def test_a_refused_load_gives_the_servers_reason_without_its_traceback():
    with pytest.raises(ModelLoadError) as refused:
        server(load_model=INTERNAL).load(MODEL)
    assert refused.value.what == "Triton cannot load version 2 of model taps: backend not found"


def test_a_version_that_cannot_be_loaded_beside_the_current_one_is_named():
    message = "load failed for model 'taps': version 3 is at UNAVAILABLE state: Internal: no model;\nTraceback"
    failed = InferenceServerException(message, status="StatusCode.INVALID_ARGUMENT")
    with pytest.raises(ModelLoadError, match="Triton cannot load version 3 of model taps: load failed"):
        server(load_model=failed).load(MODEL)


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ([entry("1", "READY")], "it is not in Triton's repository"),
        ([entry("2", "UNAVAILABLE", "Protobuf parsing failed;\nmore")], "Protobuf parsing failed"),
    ],
)
def test_a_load_that_does_not_make_the_version_ready_is_a_load_error(models, reason):
    with pytest.raises(ModelLoadError, match=reason):
        server(*models).load(MODEL)


def test_a_loaded_version_is_ready():
    server(entry("2", "READY")).load(MODEL)


def test_versions_are_those_of_the_model_in_ascending_order():
    models = [
        entry("10", "READY"),
        entry("9", "UNAVAILABLE", "unloaded"),
        entry("1", "READY", name="other"),
        {"name": "taps"},
    ]
    assert server(*models).versions("taps") == [
        VersionState(9, "UNAVAILABLE", "unloaded"),
        VersionState(10, "READY", ""),
    ]


def test_without_a_ready_version_the_model_is_not_loaded_and_the_states_are_named():
    with pytest.raises(ModelNotLoaded, match=r"model taps is not loaded \(version 1 UNAVAILABLE\)"):
        server(entry("1", "UNAVAILABLE")).metadata("taps")


def test_a_model_whose_responses_are_cached_is_refused():
    texts = {"feature_names": '["event.amount"]', "views": "{}", "model_version": "2"}
    parameters = {name: {"string_value": text} for name, text in texts.items()}
    found = server(entry("2", "READY"))
    found._client.get_model_config = lambda *_, **__: {
        "config": {"parameters": parameters, "response_cache": {"enable": True}}
    }
    with pytest.raises(PenstockError, match="caches this model's responses"):
        found.metadata("taps")


def test_the_current_version_is_described_although_newer_ones_are_ready():
    triton = of_backend("features", "score")
    triton._client.ready = ("1", "2", "10")
    assert triton.metadata("taps").version == 2


def test_a_current_version_that_is_not_ready_is_an_error_that_names_the_ready_ones():
    triton = of_backend("features", "score")
    triton._client.ready = ("3", "10")
    with pytest.raises(PenstockError, match="describes version 2, but Triton serves 3, 10"):
        triton.metadata("taps")


class ClientOfOneBackend:
    """Takes only requests whose tensors have the names of its backend, and says what these are."""

    def __init__(self, name, output):
        self.name, self.output, self.calls = name, output, 0

    ready = ("2",)

    def get_model_repository_index(self, **_options):
        return {"models": [entry(version, "READY") for version in self.ready]}

    def get_model_config(self, *_arguments, **_options):
        parameters = {"feature_names": '["event.amount"]', "views": "{}", "model_version": "2"}
        strings = {name: {"string_value": value} for name, value in parameters.items()}
        return {"config": {"parameters": strings, "max_batch_size": 4096}}

    def get_model_metadata(self, *_arguments, **_options):
        def tensor(name):
            return {"name": name, "datatype": "FP32", "shape": ["-1", "1"]}

        return {"inputs": [tensor(self.name)], "outputs": [tensor(self.output)]}

    def infer(self, _model, inputs, outputs, **_options):
        self.calls += 1
        if (inputs[0].name(), outputs[0].name()) != (self.name, self.output):
            raise InferenceServerException("unexpected inference input", status="StatusCode.INVALID_ARGUMENT")
        return Answer(np.full((inputs[0].shape()[0], 1), 0.25, np.float32))


def of_backend(name, output):
    made = server()
    made._client = ClientOfOneBackend(name, output)
    return made


ROWS = np.zeros((3, 1), dtype=np.float32)


@pytest.mark.parametrize("names", [("features", "score"), ("input__0", "output__0")])
def test_a_model_is_asked_by_the_names_of_its_backend(names):
    triton = of_backend(*names)
    assert triton.metadata("taps").inputs == ("event.amount",)
    assert triton.infer("taps", 2, ROWS, 0.2).tolist() == [[0.25]] * 3
    assert triton._client.calls == 1


def test_a_model_that_was_loaded_under_another_backend_is_asked_by_the_other_names_from_then_on():
    triton = of_backend("features", "score")
    triton.metadata("taps")
    for names in (("input__0", "output__0"), ("features", "score")):
        triton._client = ClientOfOneBackend(*names)
        assert triton.infer("taps", 2, ROWS, 0.2).tolist() == [[0.25]] * 3
        assert triton.infer("taps", 2, ROWS, 0.2).tolist() == [[0.25]] * 3
        assert triton._client.calls == 3


def test_a_request_that_is_refused_under_both_names_is_the_first_error():
    triton = of_backend("neither", "nor")
    with pytest.raises(InferenceError, match="unexpected inference input"):
        triton.infer("taps", 2, ROWS, 0.2)


def test_tensors_that_are_of_no_backend_are_refused():
    with pytest.raises(PenstockError, match=r"the model's inputs are not features FP32 \[-1, 1\] but other FP32"):
        of_backend("other", "score").metadata("taps")
