"""What Triton has loaded, and loading and unloading it (explicit model control)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from penstock.errors import PenstockError
from penstock.triton import TritonAccess
from scoring.repository import Backend, ModelRepository, Serving

T = TypeVar("T")

_ASK_S = 5.0
# A load returns when the model is ready: each version starts a process that imports numpy and onnxruntime.
_LOAD_S = 60.0


@dataclass(frozen=True)
class VersionState:
    """One version as Triton knows it. ``state`` is READY, LOADING, UNLOADING or UNAVAILABLE, ``reason`` says why."""

    version: int
    state: str
    reason: str


class ModelControl:
    """Loads models of a repository into the Triton server that serves it.

    Args:
        repository: The repository as this process sees it; Triton's must be the same folder.
        access: Where its gRPC endpoint is.
    """

    def __init__(self, repository: ModelRepository, access: TritonAccess) -> None:
        self._repository = repository
        self._url = access.url
        self._client = InferenceServerClient(**access.client())

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def load(self, model: str, version: int | None = None, backend: Backend | None = None) -> Serving:
        """Make a version (default: the newest) the current one, and return what is served when it is ready.

        The version of before is served beside it, so that no request fails meanwhile; with an older version than
        before, the newer ones are retired. If it fails, configuration and server are as they were.

        Raises:
            PenstockError: if there is no such version, Triton cannot be reached, or it cannot load it.
        """
        before = self._repository.configuration(model)
        chosen = self._repository.newest(model) if version is None else version
        self._repository.folder(model, chosen)
        self._ask(self._client.is_server_live)
        serving = self._repository.configure(model, chosen, backend)
        try:
            self._load(model, chosen)
        except BaseException:
            self._repository.restore(model, before)
            raise
        return serving

    def unload(self, model: str) -> None:
        """Stop serving a model, all its versions; what is in the repository stays.

        Raises:
            PenstockError: if Triton cannot be reached or refuses.
        """
        self._ask(lambda: self._client.unload_model(model, client_timeout=_LOAD_S))

    def status(self, model: str) -> list[VersionState]:
        """Every version that Triton has loaded or tried to load, ascending; empty if it knows none.

        Raises:
            PenstockError: if Triton cannot be reached.
        """
        index = self._ask(lambda: self._client.get_model_repository_index(client_timeout=_ASK_S))
        known = [entry for entry in index.models if entry.name == model and entry.version]
        states = [VersionState(int(entry.version), entry.state, _first_line(entry.reason)) for entry in known]
        return sorted(states, key=lambda state: state.version)

    def _load(self, model: str, version: int) -> None:
        try:
            self._client.load_model(model, client_timeout=_LOAD_S)
        except (InferenceServerException, grpc.RpcError) as error:
            raise self._explained(error) or self._refused(model, version, _text(error)) from error
        state = next((state for state in self.status(model) if state.version == version), None)
        if state is None or state.state != "READY":
            raise self._refused(model, version, state.reason if state else "it is not in Triton's repository")

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (InferenceServerException, grpc.RpcError) as error:
            raise self._explained(error) or PenstockError(f"Triton refused: {_text(error)}", where=self._url) from error

    def _explained(self, error: Exception) -> PenstockError | None:
        """The error of a server that does not answer, as against one that answers no."""
        status = error.status() if isinstance(error, InferenceServerException) else None
        if status not in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"):
            return None
        return PenstockError(
            "Triton cannot be reached" if status == "StatusCode.UNAVAILABLE" else "Triton does not answer in time",
            where=self._url,
            safe="the model repository is as it was",
            next="penstock status, then penstock up; or set PENSTOCK_TRITON_GRPC",
        )

    def _refused(self, model: str, version: int, reason: str) -> PenstockError:
        return PenstockError(
            f"Triton cannot load version {version} of model {model}: {_first_line(reason)}",
            where=f"{self._url}, {self._repository.root / model}",
            safe="the configuration is as it was, and what was served goes on",
            next="penstock logs triton; PENSTOCK_MODEL_REPOSITORY must be the folder that Triton serves",
        )


def _text(error: Exception) -> str:
    return str(error.message()) if isinstance(error, InferenceServerException) else repr(error)


def _first_line(reason: str) -> str:
    """The backend's message without the traceback that follows it."""
    return reason.partition("\n")[0].rstrip(" ;")
