"""The interface of a model server, and the errors that every implementation raises.

The scorer and the ``penstock model`` commands work on this interface alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from penstock.errors import PenstockError
from scoring.model_metadata import ModelMetadata
from scoring.vectors import FloatArray


class ModelServerUnavailable(PenstockError):  # noqa: N818 - a temporary condition
    """The server cannot be reached, does not answer in time, or refuses to answer a question about its state."""


class ModelLoadError(PenstockError):
    """The server cannot load a model version; the message gives the server's reason."""


class InferenceError(Exception):
    """The server returned no scores within the deadline (``late``), or an error; the message says which."""

    def __init__(self, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


def one_row_per_vector(output: Any, rows: int) -> FloatArray:
    """A model's output of shape (n, columns), or (n,) for one column, as float32 of shape (n, columns).

    Raises:
        InferenceError: if the output has another shape, or is no array of numbers.
    """
    found = np.asarray(output)
    if found.ndim not in (1, 2) or len(found) != rows or 0 in found.shape[1:] or found.dtype.kind not in "fiu":
        raise InferenceError(f"{rows} rows were sent, and {found.dtype} of shape {found.shape} came back")
    matrix: FloatArray = found.reshape(rows, found.shape[1] if found.ndim == 2 else 1).astype(np.float32, copy=False)
    return matrix


@dataclass(frozen=True)
class VersionState:
    """The state of one version on a server: READY, LOADING, UNLOADING or UNAVAILABLE, and the server's reason."""

    version: int
    state: str
    reason: str


class ModelServer(Protocol):
    """Serves versions of models, and scores vectors with them.

    Attributes:
        name: The server's name in messages.
    """

    name: str

    def metadata(self, model: str) -> ModelMetadata:
        """Describe the current version of a model, which is ready; others may be ready beside it.

        Raises:
            ModelServerUnavailable: if the server cannot be asked.
            ModelNotLoaded: if no version is ready.
            PenstockError: if Penstock did not write the model, or the current version is not ready.
        """

    def infer(self, model: str, version: int, vectors: FloatArray, deadline_s: float | None) -> FloatArray:
        """Score float32 vectors of shape (n, inputs) in one call.

        The result is float32 of shape (n, 1 + kept outputs); the first column is the score.

        Args:
            model: The model's name.
            version: A version that is ready.
            vectors: The vectors.
            deadline_s: The maximum time in seconds; None for no limit. A server in this process does not enforce it.

        Raises:
            InferenceError: if there is not a row of numbers for each vector within the deadline; they may be NaN.
        """

    def load(self, model: ModelMetadata) -> None:
        """Load a version as the model repository has it, and return when the version is ready.

        Raises:
            ModelServerUnavailable: if the server cannot be reached.
            ModelLoadError: if it cannot load the version.
        """

    def unload(self, model: str) -> None:
        """Stop serving all versions of a model; the model repository keeps them.

        Raises:
            ModelServerUnavailable: if the server cannot be reached, or refuses.
        """

    def keep_only(self, used: Collection[tuple[str, int]]) -> None:
        """Forget all versions but these, by model and number, if they take memory of this process; else do nothing."""

    def versions(self, model: str) -> list[VersionState]:
        """List every version that the server has loaded or has tried to load, ascending.

        Raises:
            ModelServerUnavailable: if the server cannot be reached.
        """

    def close(self) -> None:
        """Close connections and free memory."""
