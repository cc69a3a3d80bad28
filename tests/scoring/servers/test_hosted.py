"""Triton's descriptions of its models. tests/integration/test_hosted_model.py uses the real server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from penstock.errors import PenstockError
from penstock.triton import TritonAccess
from scoring.servers.hosted import HostedMetadata, HostedModels, TensorMetadata, require_ready
from scoring.servers.protocol import InferenceError, ModelServerUnavailable, VersionState
from tests.scoring.fake_hosted import HOSTED
from tests.scoring.fake_server import FakeServer

X = np.array([[1, 2, 3]], np.float32)


class Client:
    """Has versions 3 and 4 of a model, of which 4 is not ready."""

    def __init__(self, **config: Any) -> None:
        self.config = {"max_batch_size": 100, "backend": "onnxruntime", **config}
        self.given: dict[str, Any] = {}
        self.answer: Any = np.array([[0.4, 0.6]])

    def get_model_repository_index(self, **_: Any) -> dict[str, Any]:
        states = {"3": "READY", "4": "UNAVAILABLE"}
        return {"models": [{"name": "risk", "version": one, "state": state} for one, state in states.items()]}

    def get_model_metadata(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}],
            "outputs": [{"name": "y", "datatype": "FP64"}],
        }

    def get_model_config(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"config": self.config}

    def infer(self, name: str, inputs: list[Any], **options: Any) -> Any:
        self.given = {"name": name, "inputs": inputs, **options}
        if isinstance(self.answer, Exception):
            raise self.answer
        return self

    def as_numpy(self, _: str) -> Any:
        return self.answer


def server(client: Client) -> HostedModels:
    made = HostedModels(TritonAccess(url="127.0.0.1:1"))
    made._client.close()
    made._client = client
    return made


@pytest.mark.parametrize("version", [None, 3])
def test_the_highest_version_that_is_ready_is_described(version: int | None) -> None:
    assert server(Client()).describe("risk", version) == HostedMetadata(
        version=3,
        backend="onnxruntime",
        platform="onnxruntime_onnx",
        max_rows=100,
        inputs=(TensorMetadata("x", "FP32", (-1, 3)),),
        outputs=(TensorMetadata("y", "FP64", ()),),
    )


@pytest.mark.parametrize(("name", "version"), [("risk", 4), ("risk", 5), ("other", None)])
def test_a_version_that_is_not_ready_is_refused_with_what_there_is(name: str, version: int | None) -> None:
    with pytest.raises(PenstockError, match=f"model {name}.* is not ready in Triton") as refused:
        server(Client()).describe(name, version)
    assert "version 3 READY, version 4 UNAVAILABLE" in refused.value.what or name == "other"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_transaction_policy": {"decoupled": True}}, "several answers to a request"),
        ({"sequence_batching": {}}, "keeps a state"),
        ({"response_cache": {"enable": True}}, "response cache"),
    ],
)
def test_a_model_whose_requests_have_not_one_answer_each_is_refused(config: dict[str, Any], why: str) -> None:
    with pytest.raises(PenstockError, match=why):
        server(Client(**config)).describe("risk")


def test_a_score_is_asked_of_the_pinned_version_with_the_tensors_of_the_mapping() -> None:
    client = Client()
    assert server(client).score(HOSTED, X).tolist() == pytest.approx([0.6])
    given = [(tensor.name(), tensor.datatype(), tensor.shape()) for tensor in client.given["inputs"]]
    assert given == [("amount", "FP32", [1, 1]), ("amount_sum_1h", "FP64", [1]), ("count_1h", "INT64", [1, 1])]
    assert (client.given["name"], client.given["model_version"]) == ("risk", "3")


@pytest.mark.parametrize("answer", [np.zeros((1, 3)), None, InferenceServerException("it fails"), ValueError("bytes")])
def test_anything_but_the_output_of_the_import_is_an_error_that_names_the_model(answer: Any) -> None:
    client = Client()
    client.answer = answer
    with pytest.raises(PenstockError, match="model risk version 3 gives no scores"):
        server(client).score(HOSTED, X)


def test_an_error_of_a_call_is_an_inference_error() -> None:
    client = Client()
    client.answer = InferenceServerException("it fails")
    with pytest.raises(InferenceError, match="it fails"):
        server(client).ask("risk", 3, {"x": X}, ["y"])


class Versions(FakeServer):
    def versions(self, model: str) -> list[VersionState]:
        super().versions(model)
        return [VersionState(1, "READY", ""), VersionState(2, "READY", "")]


def test_a_version_is_ready_or_the_highest_is() -> None:
    assert require_ready(Versions(), "risk") == 2
    assert require_ready(Versions(), "risk", 1) == 1


def test_a_server_that_cannot_be_asked_is_its_own_error() -> None:
    with pytest.raises(ModelServerUnavailable):
        require_ready(FakeServer(failure=ModelServerUnavailable("down")), "risk")
