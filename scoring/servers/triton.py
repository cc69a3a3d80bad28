"""Triton Inference Server over gRPC, with explicit model control."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from penstock.errors import PenstockError
from penstock.home import set_or_correct
from penstock.triton import TritonAccess
from scoring.model_metadata import FIL_INPUT, FIL_OUTPUT, INPUT, OUTPUT, ModelMetadata, ModelNotLoaded
from scoring.servers.protocol import (
    InferenceError,
    ModelLoadError,
    ModelServerUnavailable,
    VersionState,
    one_row_per_vector,
)
from scoring.vectors import FloatArray

_REQUEST_S = 5.0
# A load returns when the model is ready: each version starts a process that imports numpy and onnxruntime.
_LOAD_S = 60.0
_LATE = "StatusCode.DEADLINE_EXCEEDED"
_QUEUED_TOO_LONG = "Request timeout expired"
_INVALID = "StatusCode.INVALID_ARGUMENT"
# The output of a model by the name of its input.
_OUTPUTS = {INPUT: OUTPUT, FIL_INPUT: FIL_OUTPUT}
_UNANSWERED = ("StatusCode.UNAVAILABLE", _LATE)
_FAILED_VERSION = re.compile(r"version (\d+) is at UNAVAILABLE state")
_CHANNEL = [
    # A batch is limited by max_batch_size, not by gRPC's default of 4 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default gRPC waits up to two minutes after an outage before it connects again; use a restarted Triton at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Also the time that an attempt to connect may take: on a busy machine, a healthy Triton may need most of it.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Detects within seconds a peer that vanished without closing (a pulled cable, a frozen host).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
]


class _RefusedError(InferenceError):
    """Triton does not take the request."""


class TritonServer:
    """A connection to one Triton server. It connects on first use, and again after an outage.

    Triton must serve the folder of the model repository (``--model-repository``).

    Args:
        access: Where its gRPC endpoint is.
    """

    name = "Triton"

    def __init__(self, access: TritonAccess) -> None:
        self._url = access.url
        self._client = InferenceServerClient(**access.client(), channel_args=_CHANNEL)
        self._inputs: dict[tuple[str, int], str] = {}

    def metadata(self, model: str) -> ModelMetadata:
        """See :meth:`ModelServer.metadata`; also checks the model's tensors."""
        ready = self._ready_versions(model)
        # All versions have the configuration of the last load.
        config = self._request("get_model_config", model, str(ready[-1]), as_json=True)["config"]
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        try:
            version = int(parameters["model_version"])
            inputs = tuple(map(str, json.loads(parameters["feature_names"])))
            # Configurations of earlier builds have neither.
            categories = tuple(map(str, json.loads(parameters.get("categories", "[]"))))
            kept = tuple(map(str, json.loads(parameters.get("kept_outputs", "[]"))))
            views = {str(view): str(identity) for view, identity in json.loads(parameters["views"]).items()}
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise PenstockError(
                f"the model's config.pbtxt lacks a parameter, or it is not JSON: {error!r}",
                where=f"model {model} at {self._url}",
                next="penstock model train PIPELINE --backfill FOLDER, then penstock model load PIPELINE",
            ) from error
        where = f"model {model} version {version} at {self._url}"
        if version not in ready:
            raise PenstockError(
                f"the model's config.pbtxt describes version {version}, but Triton serves "
                + ", ".join(map(str, ready)),
                where=where,
                next="penstock model load PIPELINE, so that Triton reads both anew",
            )
        if config.get("response_cache", {}).get("enable"):
            raise PenstockError(
                "Triton caches this model's responses: of two requests with one hash, one gets the other's scores",
                where=where,
                safe="nothing was read or scored",
                next="take response_cache out of config.pbtxt, then: penstock model load PIPELINE",
            )
        self._check_tensors(model, version, (len(inputs), 1 + len(kept)), where)
        largest = int(config.get("max_batch_size", 0))
        return ModelMetadata(model, version, inputs, views, largest, categories=categories, kept=kept)

    def infer(self, model: str, version: int, vectors: FloatArray, deadline_s: float | None) -> FloatArray:
        """See :meth:`ModelServer.infer`."""
        name = self._inputs.get((model, version), INPUT)
        try:
            return self._infer(model, version, name, vectors, deadline_s)
        except _RefusedError as refused:
            # Perhaps the version was loaded again under another backend, which has other names.
            name = FIL_INPUT if name == INPUT else INPUT
            try:
                scores = self._infer(model, version, name, vectors, deadline_s)
            except InferenceError:
                raise refused from refused.__cause__
            self._inputs[model, version] = name
            return scores

    def load(self, model: ModelMetadata) -> None:
        """Make Triton read the model's configuration again and load the versions that it names."""
        try:
            self._client.load_model(model.name, client_timeout=_LOAD_S)
        except (InferenceServerException, grpc.RpcError) as error:
            if _status(error) in _UNANSWERED:
                raise self._unavailable(error) from error
            raise self._load_error(model, _message(error)) from error
        state = next((state for state in self.versions(model.name) if state.version == model.version), None)
        if state is None or state.state != "READY":
            raise self._load_error(model, state.reason if state else "it is not in Triton's repository")

    def unload(self, model: str) -> None:
        """See :meth:`ModelServer.unload`."""
        try:
            self._client.unload_model(model, client_timeout=_LOAD_S)
        except (InferenceServerException, grpc.RpcError) as error:
            raise self._unavailable(error) from error

    def keep_only(self, used: Collection[tuple[str, int]]) -> None:
        """Nothing: other processes may use what Triton has, and its configuration says what that is."""

    def versions(self, model: str) -> list[VersionState]:
        """See :meth:`ModelServer.versions`."""
        found = [
            VersionState(int(entry["version"]), entry.get("state", "UNAVAILABLE"), _first_line(entry.get("reason", "")))
            for entry in self._index(model)
            if entry.get("version", "").isdigit()
        ]
        return sorted(found, key=lambda state: state.version)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _infer(self, model: str, version: int, name: str, vectors: FloatArray, deadline_s: float | None) -> FloatArray:
        """Score vectors with a model whose input has this name."""
        tensor = InferInput(name, list(vectors.shape), "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(vectors))
        try:
            result = self._client.infer(
                model,
                [tensor],
                model_version=str(version),
                outputs=[InferRequestedOutput(_OUTPUTS[name])],
                client_timeout=deadline_s,
                timeout=None if deadline_s is None else round(deadline_s * 1e6),
            )
        except (InferenceServerException, grpc.RpcError) as error:
            kind = _RefusedError if _status(error) == _INVALID else InferenceError
            raise kind(_describe(error), late=_is_late(error)) from error
        try:
            output = result.as_numpy(_OUTPUTS[name])
        except (ValueError, TypeError) as error:  # its bytes are not what its shape says
            raise InferenceError(f"the answer cannot be read: {error}") from error
        return one_row_per_vector(output, len(vectors))

    def _ready_versions(self, model: str) -> list[int]:
        """The versions that are ready, ascending; at least one."""
        states = {entry.get("version", ""): entry.get("state", "UNAVAILABLE") for entry in self._index(model)}
        ready = [int(version) for version, state in states.items() if state == "READY" and version.isdigit()]
        if not ready:
            known = ", ".join(f"version {version or '-'} {state}" for version, state in states.items())
            raise ModelNotLoaded(
                f"model {model} is not loaded" + (f" ({known})" if known else ": it is not in Triton's repository"),
                where=self._url,
                next="penstock model load PIPELINE",
            )
        return sorted(ready)

    def _check_tensors(self, model: str, version: int, widths: tuple[int, int], where: str) -> None:
        metadata = self._request("get_model_metadata", model, str(version), as_json=True)
        names = [tensor["name"] for tensor in metadata.get("inputs", [])]
        input_name = FIL_INPUT if names == [FIL_INPUT] else INPUT
        self._inputs[model, version] = input_name
        expected = (input_name, _OUTPUTS[input_name])
        for kind, name, width in zip(("inputs", "outputs"), expected, widths, strict=True):
            tensors = {tensor["name"]: tensor for tensor in metadata.get(kind, [])}
            shape = [int(size) for size in tensors.get(name, {}).get("shape", [])]
            if list(tensors) != [name] or tensors[name]["datatype"] != "FP32" or shape != [-1, width]:
                found = ", ".join(f"{t['name']} {t['datatype']} {t.get('shape')}" for t in tensors.values()) or "none"
                raise PenstockError(
                    f"the model's {kind} are not {name} FP32 [-1, {width}] but {found}",
                    where=where,
                    next="penstock model train PIPELINE --backfill FOLDER, which writes a model of this form",
                )

    def _index(self, model: str) -> Iterable[dict[str, Any]]:
        """The entries of a model in Triton's repository index; fields with a default value are absent."""
        index = self._request("get_model_repository_index", as_json=True).get("models", [])
        return [entry for entry in index if entry["name"] == model]

    def _request(self, method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, method)(*arguments, client_timeout=_REQUEST_S, **options)
        except (InferenceServerException, grpc.RpcError) as error:
            raise self._unavailable(error) from error
        return answer

    def _unavailable(self, error: Exception) -> ModelServerUnavailable:
        verb = "does not answer" if _status(error) in (None, *_UNANSWERED) else "refuses"
        return ModelServerUnavailable(
            f"Triton {verb}: {_describe(error)}",
            where=self._url,
            safe="the model repository is as it was",
            next=f"penstock status, then penstock up; or {set_or_correct('PENSTOCK_TRITON_GRPC')}",
        )

    def _load_error(self, model: ModelMetadata, reason: str) -> ModelLoadError:
        failed = _FAILED_VERSION.search(reason)  # perhaps another one, that is loaded beside it
        return ModelLoadError(
            f"Triton cannot load version {failed[1] if failed else model.version} of model {model.name}: "
            + _first_line(reason),
            where=self._url,
            next="penstock logs triton; PENSTOCK_MODEL_REPOSITORY must be the folder that Triton serves",
        )


def _status(error: Exception) -> str | None:
    return error.status() if isinstance(error, InferenceServerException) else None


def _is_late(error: Exception) -> bool:
    """Whether the deadline passed on the way, or in Triton's queue: then Triton has not computed the scores."""
    return _status(error) == _LATE or _QUEUED_TOO_LONG in _message(error)


def _message(error: Exception) -> str:
    return str(error.message()) if isinstance(error, InferenceServerException) else repr(error)


def _describe(error: Exception) -> str:
    return f"{error.status()}: {error.message()}" if isinstance(error, InferenceServerException) else repr(error)


def _first_line(reason: str) -> str:
    """The backend's message without the traceback that follows it."""
    return reason.partition("\n")[0].rstrip(" ;")
