"""What Triton runs for a version that calls a hosted model; the backend's own module is a stand-in here."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scoring import hosted_tensors
from tests.scoring.fake_hosted import HOSTED, Tensors, risk

PROBE = {"vectors": [[1.0, None, 2.0], [0.0, 3.0, None]], "scores": [0.3, 0.3]}


class BackendError(Exception):
    """``TritonModelException`` and ``TritonError``."""

    def message(self) -> str:
        return str(self)


class Tensor:
    def __init__(self, name: str, values: np.ndarray) -> None:
        self.name, self.values = name, values

    def as_numpy(self) -> np.ndarray:
        return self.values


class Response:
    def __init__(self, tensors: list[Tensor] = [], error: BackendError | None = None) -> None:  # noqa: B006
        self.tensors, self.failure = {tensor.name: tensor for tensor in tensors}, error

    def has_error(self) -> bool:
        return self.failure is not None

    def error(self) -> BackendError | None:
        return self.failure


class Backend(ModuleType):
    """The backend's module, around a hosted model."""

    TritonModelException = TritonError = BackendError
    InferenceResponse = Response
    Tensor = Tensor
    TRITONSERVER_MEMORY_CPU = 0

    def __init__(self) -> None:
        super().__init__("triton_python_backend_utils")
        self.model: Any = risk
        self.calls: list[dict[str, Any]] = []

    def PreferredMemory(self, *place: int) -> tuple[int, ...]:  # noqa: N802 - the backend's name
        return place

    def InferenceRequest(self, **call: Any) -> Any:  # noqa: N802
        self.calls.append(call)

        async def ask() -> Response:
            try:
                answer = self.model({tensor.name: tensor.values for tensor in call["inputs"]})
            except ZeroDivisionError:
                return Response(error=BackendError("the model fails"))
            return Response([Tensor(name, answer[name]) for name in call["requested_output_names"]])

        return SimpleNamespace(async_exec=ask)

    def get_input_tensor_by_name(self, request: dict[str, Tensor], name: str) -> Tensor:
        return request[name]

    def get_output_tensor_by_name(self, response: Response, name: str) -> Tensor:
        return response.tensors[name]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    found = Backend()
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", found)
    monkeypatch.setitem(sys.modules, "hosted_tensors", hosted_tensors)
    monkeypatch.delitem(sys.modules, "scoring.triton_hosted_model", raising=False)
    return found


def opened(folder: Path, width: int = 3, **changes: Any) -> Any:
    (folder / "2").mkdir(exist_ok=True)
    mapping = HOSTED.model_dump(mode="json") | {"probe": PROBE} | changes
    (folder / "2" / "hosted.json").write_text(json.dumps(mapping))
    model = importlib.import_module("scoring.triton_hosted_model").TritonPythonModel()
    config = json.dumps({"input": [{"dims": [str(width)]}]})
    model.initialize({"model_repository": str(folder), "model_version": "2", "model_config": config})
    return model


def answers(model: Any, *vectors: np.ndarray) -> list[Any]:
    """The scores of each request, or the text of its error."""
    requests = [{"features": Tensor("features", np.asarray(some, np.float32))} for some in vectors]
    return [
        str(response.error()) if response.has_error() else response.tensors["score"].as_numpy()
        for response in asyncio.run(model.execute(requests))
    ]


X = np.array([[1, 2, 3], [4, np.nan, 0]], np.float32)


def test_each_request_gets_a_score_for_each_row_by_the_pinned_version(backend: Backend, tmp_path: Path) -> None:
    first, second = answers(opened(tmp_path), X, X[:1])
    assert first == pytest.approx(np.array([[0.6], [0.4]]))
    assert second == pytest.approx(np.array([[0.6]]))
    assert first.dtype == np.float32
    assert {(call["model_name"], call["model_version"]) for call in backend.calls} == {("risk", 3)}
    assert [len(call["inputs"][0].values) for call in backend.calls] == [4, 3]  # two rows of the probe


def test_calls_keep_to_the_rows_that_the_model_takes(backend: Backend, tmp_path: Path) -> None:
    (scores,) = answers(opened(tmp_path, max_rows=3), X)
    assert scores == pytest.approx(np.array([[0.6], [0.4]]))
    assert [len(call["inputs"][0].values) for call in backend.calls] == [3, 1]


def test_a_model_that_was_replaced_gives_an_error_and_no_score(backend: Backend, tmp_path: Path) -> None:
    def other(tensors: Tensors) -> dict[str, np.ndarray]:
        return {name: values + 0.01 for name, values in risk(tensors).items()}

    backend.model = other
    (text,) = answers(opened(tmp_path), X)
    assert "model risk version 3: it gives other scores than when it was imported" in text


def test_another_shape_is_an_error(backend: Backend, tmp_path: Path) -> None:
    backend.model = lambda tensors: {"probabilities": risk(tensors)["anomaly"]}
    (text,) = answers(opened(tmp_path), X)
    assert "output probabilities is float32 [4, 1], not 2 floating-point numbers for each row" in text


def test_a_request_that_the_model_refuses_fails_alone(backend: Backend, tmp_path: Path) -> None:
    def picky(tensors: Tensors) -> dict[str, np.ndarray]:
        if (tensors["amount"] == 4).any():
            raise ZeroDivisionError
        return risk(tensors)

    backend.model = picky
    first, second = answers(opened(tmp_path), X, X[:1])
    assert first == "model risk version 3: the model fails"
    assert second == pytest.approx(np.array([[0.6]]))


def test_a_row_without_a_number_is_answered_so(backend: Backend, tmp_path: Path) -> None:
    (scores,) = answers(opened(tmp_path), np.array([[np.nan, 1, 1], [1, 1, 1]]))
    assert np.isnan(scores[0, 0])
    assert scores[1, 0] == pytest.approx(0.3)


@pytest.mark.usefixtures("backend")
def test_another_width_than_the_configurations_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"has 3 inputs, config\.pbtxt says \['2'\]"):
        opened(tmp_path, width=2)
