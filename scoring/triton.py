"""Triton over gRPC: what it serves, and scores with a deadline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from penstock.errors import PenstockError
from penstock.triton import TritonAccess
from scoring.vectors import FloatArray

INPUT, OUTPUT = "features", "score"

_ASK_S = 5.0
_CHANNEL = [
    # A batch is bounded by max_batch_size, not by gRPC's default of 4 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # After an outage gRPC waits up to two minutes before it connects again; a restarted Triton is to be used at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that vanished without closing (a pulled cable, a frozen host) is noticed within seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
]


class TritonError(Exception):
    """Triton did not answer in time, or answered with an error; the message says which."""


@dataclass(frozen=True)
class ServedModel:
    """One model version as Triton has it loaded, with what its repository says about it.

    Attributes:
        name: The model's name.
        version: The version that is READY (the highest, if there are several).
        inputs: The inputs of the vector, in order.
        views: Feature view name to ``version:hash``, as of training.
        max_batch_size: The most rows that one request may have.
    """

    name: str
    version: int
    inputs: tuple[str, ...]
    views: Mapping[str, str]
    max_batch_size: int


class TritonUnavailable(PenstockError):  # noqa: N818 - a condition that passes
    """Triton could not be asked."""


class Triton:
    """A connection to one Triton server; it connects when it is used, and again after an outage.

    Args:
        access: Where its gRPC endpoint is.
    """

    def __init__(self, access: TritonAccess) -> None:
        self._url = access.url
        self._client = InferenceServerClient(**access.client(), channel_args=_CHANNEL)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def served(self, model: str) -> ServedModel:
        """The highest READY version of a model.

        Raises:
            TritonUnavailable: if Triton cannot be asked.
            PenstockError: if the model is not loaded, or it is not one that Penstock wrote.
        """
        version = self._ready_version(model)
        config = self._ask("get_model_config", model, str(version), as_json=True)["config"]
        where = f"model {model} version {version} at {self._url}"
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        try:
            inputs = tuple(map(str, json.loads(parameters["feature_names"])))
            views = {str(view): str(identity) for view, identity in json.loads(parameters["views"]).items()}
            described = parameters["model_version"]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise PenstockError(
                f"the model's config.pbtxt lacks a parameter, or it is not JSON: {error!r}",
                where=where,
                next="penstock model train PIPELINE, then penstock model load PIPELINE",
            ) from error
        if described != str(version):
            raise PenstockError(
                f"the model's config.pbtxt describes version {described}, but Triton serves {version}",
                where=where,
                next="penstock model load PIPELINE, so that Triton reads both anew",
            )
        self._check_tensors(model, version, len(inputs), where)
        return ServedModel(model, version, inputs, views, int(config.get("max_batch_size", 0)))

    def scores(self, model: str, version: int, vectors: FloatArray, deadline_s: float) -> FloatArray:
        """Score the rows of ``vectors`` (shape (n, inputs)) in one call; the result has shape (n,).

        Raises:
            TritonError: if there is no answer within ``deadline_s`` seconds, or it is an error.
        """
        tensor = InferInput(INPUT, list(vectors.shape), "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(vectors))
        try:
            result = self._client.infer(
                model,
                [tensor],
                model_version=str(version),
                outputs=[InferRequestedOutput(OUTPUT)],
                client_timeout=deadline_s,
            )
        except (InferenceServerException, grpc.RpcError) as error:
            raise TritonError(_text(error)) from error
        scores = result.as_numpy(OUTPUT)
        if scores is None or scores.size != len(vectors):
            raise TritonError(f"{len(vectors)} rows were sent, {0 if scores is None else scores.size} scores came back")
        flat: FloatArray = scores.reshape(len(vectors)).astype(np.float32, copy=False)
        return flat

    def _ready_version(self, model: str) -> int:
        index = self._ask("get_model_repository_index", as_json=True).get("models", [])
        states = {
            entry.get("version", ""): entry.get("state", "UNAVAILABLE") for entry in index if entry["name"] == model
        }
        ready = [int(version) for version, state in states.items() if state == "READY" and version.isdigit()]
        if not ready:
            known = ", ".join(f"version {version or '-'} {state}" for version, state in states.items())
            raise PenstockError(
                f"model {model} is not loaded" + (f" ({known})" if known else ": it is not in Triton's repository"),
                where=self._url,
                next="penstock model load PIPELINE",
            )
        return max(ready)

    def _check_tensors(self, model: str, version: int, inputs: int, where: str) -> None:
        metadata = self._ask("get_model_metadata", model, str(version), as_json=True)
        for kind, name, width in (("inputs", INPUT, inputs), ("outputs", OUTPUT, 1)):
            tensors = {tensor["name"]: tensor for tensor in metadata.get(kind, [])}
            shape = [int(size) for size in tensors.get(name, {}).get("shape", [])]
            if list(tensors) != [name] or tensors[name]["datatype"] != "FP32" or shape != [-1, width]:
                found = ", ".join(f"{t['name']} {t['datatype']} {t.get('shape')}" for t in tensors.values()) or "none"
                raise PenstockError(
                    f"the model's {kind} are not {name} FP32 [-1, {width}] but {found}",
                    where=where,
                    next="penstock model train PIPELINE, which writes a model of this form",
                )

    def _ask(self, method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, method)(*arguments, client_timeout=_ASK_S, **options)
        except (InferenceServerException, grpc.RpcError) as error:
            raise TritonUnavailable(
                f"Triton does not answer: {_text(error)}",
                where=self._url,
                next="penstock status, then penstock up; or set PENSTOCK_TRITON_GRPC",
            ) from error
        return answer


def _text(error: Exception) -> str:
    if isinstance(error, InferenceServerException):
        return f"{error.status()}: {error.message()}"
    return repr(error)
