"""A fake model server: returns the first input plus a constant, or fails as configured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from penstock.errors import PenstockError
from scoring.model_metadata import ModelMetadata, ModelNotLoaded
from scoring.repository import ModelRepository
from scoring.servers.protocol import InferenceError, VersionState
from scoring.vectors import FloatArray


@dataclass
class FakeServer:
    """Records its calls.

    Attributes:
        name: As of :class:`ModelServer`.
        added: The score of a vector is its first value plus this.
        described: What `metadata` returns; None for a model that is not loaded.
        failure: Raised by everything but `infer`.
        infers: Whether `infer` returns scores.
        late: Whether an `infer` that returns none exceeded the deadline.
        refused_value: `infer` fails on a batch that contains it.
        numberless: The score of a vector that begins with one of these values is `nothing`.
        nothing: See `numberless`.
    """

    name: str = "Fake"
    added: float = 0.0
    described: ModelMetadata | None = None
    failure: PenstockError | None = None
    infers: bool = True
    late: bool = False
    refused_value: float | None = None
    numberless: tuple[float, ...] = ()
    nothing: float = float("nan")
    calls: list[tuple[object, ...]] = field(default_factory=list)

    def metadata(self, model: str) -> ModelMetadata:
        self._record("metadata", model)
        if self.described is None:
            raise ModelNotLoaded(f"model {model} is not loaded")
        return self.described

    def infer(self, model: str, version: int, vectors: FloatArray, deadline_s: float | None) -> FloatArray:
        self.calls.append((model, version, len(vectors), deadline_s))
        if not self.infers:
            raise InferenceError("StatusCode.UNAVAILABLE", late=self.late)
        if self.refused_value is not None and (vectors == self.refused_value).any():
            raise InferenceError(f"the value {self.refused_value} is refused")
        scores: FloatArray = vectors[:, 0] + np.float32(self.added)
        scores[np.isin(vectors[:, 0], self.numberless)] = self.nothing
        return scores.reshape(-1, 1)

    def load(self, model: ModelMetadata) -> None:
        self._record("load", model)

    def unload(self, model: str) -> None:
        self._record("unload", model)

    def keep_only(self, used: Collection[tuple[str, int]]) -> None:
        self._record("keep_only", *sorted(used))

    def versions(self, model: str) -> list[VersionState]:
        self._record("versions", model)
        return []

    def close(self) -> None:
        self._record("close")

    def _record(self, *call: object) -> None:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure


class LoadingServer(FakeServer):
    """Has ready what the configuration named at the last load, but for ``unready`` versions."""

    def __init__(self, repository: ModelRepository, unready: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.repository = repository
        self.unready = unready
        self.loaded: tuple[int, ...] = ()

    def load(self, model: ModelMetadata) -> None:
        super().load(model)
        config = self.repository.serving_config(model.name)
        assert config is not None
        self.loaded = config.versions

    def versions(self, model: str) -> list[VersionState]:
        super().versions(model)
        return [VersionState(version, "READY", "") for version in self.loaded if version not in self.unready]

    def close(self) -> None:
        """A client closes although its server does not answer."""
