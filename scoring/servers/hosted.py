"""Models that Triton hosts already, under any backend: describes them, and scores vectors with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from penstock.errors import PenstockError
from penstock.triton import TritonAccess
from scoring.hosted_model import HostedModel
from scoring.hosted_tensors import calls_of, scores_of
from scoring.servers.protocol import InferenceError, ModelServer
from scoring.servers.triton import TritonServer
from scoring.vectors import FloatArray

_DEADLINE_S = 60.0


@dataclass(frozen=True)
class TensorMetadata:
    """A tensor as Triton describes it; in its shape -1 stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class HostedMetadata:
    """A version of a model as Triton describes it; ``max_rows`` is 0 for one that Triton does not batch."""

    version: int
    backend: str
    platform: str
    max_rows: int
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class HostedModels(TritonServer):
    """A connection to Triton that knows any of its models.

    Args:
        access: Where its gRPC endpoint is.
    """

    def __init__(self, access: TritonAccess) -> None:
        super().__init__(access)
        self.where = access.url

    def describe(self, name: str, version: int | None = None) -> HostedMetadata:
        """Describe a version; by default the highest that is ready.

        Raises:
            PenstockError: if Triton cannot be asked, the version is not ready, or a request has not one answer.
        """
        version = require_ready(self, name, version)
        where = f"model {name} version {version} at {self.where}"
        metadata = self._request("get_model_metadata", name, str(version), as_json=True)
        config = self._request("get_model_config", name, str(version), as_json=True)["config"]
        for refused, why in (
            (config.get("model_transaction_policy", {}).get("decoupled"), "may give several answers to a request"),
            ("sequence_batching" in config, "keeps a state from request to request"),
            (config.get("response_cache", {}).get("enable"), "has a response cache, which mixes up requests"),
        ):
            if refused:
                raise PenstockError(f"the model {why}", where=where, safe="no version was written")
        platform = str(metadata.get("platform", ""))
        return HostedMetadata(
            version=version,
            backend=str(config.get("backend") or platform),
            platform=platform,
            max_rows=int(config.get("max_batch_size", 0)),
            inputs=_tensors(metadata.get("inputs", ())),
            outputs=_tensors(metadata.get("outputs", ())),
        )

    def ask(
        self, name: str, version: int, tensors: Mapping[str, NDArray[Any]], outputs: Iterable[str]
    ) -> dict[str, NDArray[Any]]:
        """Ask a model for outputs, which are left out if they are no arrays.

        Raises:
            InferenceError: if it gives none.
        """
        wanted = list(outputs)
        try:
            result = self._client.infer(
                name,
                [_input(tensor, values) for tensor, values in tensors.items()],
                model_version=str(version),
                outputs=[InferRequestedOutput(output) for output in wanted],
                client_timeout=_DEADLINE_S,
            )
            answers = {output: result.as_numpy(output) for output in wanted}
        except (InferenceServerException, grpc.RpcError, ValueError, TypeError) as error:
            raise InferenceError(str(error)) from error
        return {output: answer for output, answer in answers.items() if isinstance(answer, np.ndarray)}

    def score(self, hosted: HostedModel, vectors: FloatArray) -> FloatArray:
        """Score vectors, float32 [N, inputs], as the hosted model does; returns float32 [N].

        Raises:
            PenstockError: if it does not give one number for each.
        """
        mapping, name = hosted.model_dump(), hosted.output
        try:
            answers = [self.ask(hosted.name, hosted.version, call, [name]) for call in calls_of(mapping, vectors)]
            scores: FloatArray = scores_of(mapping, [answer.get(name) for answer in answers], len(vectors))
        except (InferenceError, ValueError) as error:
            raise PenstockError(
                f"{hosted} gives no scores: {error}",
                where=self.where,
                safe="nothing was written",
                next=_load(hosted.name),
            ) from error
        return scores


def require_ready(server: ModelServer, name: str, version: int | None = None) -> int:
    """Check that a version of a hosted model is ready, by default the highest; returns its number.

    Raises:
        PenstockError: if it is not.
    """
    states = server.versions(name)
    ready = [state.version for state in states if state.state == "READY"]
    if version is None and ready:
        return max(ready)
    if version in ready:
        return version
    known = ", ".join(f"version {state.version} {state.state}" for state in states) or "no version of it"
    wanted = f"model {name}" if version is None else f"model {name} version {version}"
    raise PenstockError(
        f"{wanted} is not ready in {server.name}, which has {known}",
        safe="what was served goes on",
        next=_load(name),
    )


def _load(name: str) -> str:
    return f"load it in Triton (POST /v2/repository/models/{name}/load), then run the command again"


def _tensors(found: Iterable[Mapping[str, Any]]) -> tuple[TensorMetadata, ...]:
    return tuple(
        TensorMetadata(tensor["name"], tensor["datatype"], tuple(map(int, tensor.get("shape", ())))) for tensor in found
    )


def _input(name: str, values: NDArray[Any]) -> InferInput:
    tensor = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    return tensor
