"""A version of a model that is called for the gates: whatever it raises is told, and does not end the check."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial

import numpy as np

from penstock.settings import Settings
from scoring.gates.statistics import Numbers
from scoring.onnx_session import open_session, scores_of
from scoring.repository import ModelRepository
from scoring.servers.hosted import HostedModels
from scoring.vectors import FloatArray

_ROWS = 4_096

Call = Callable[[FloatArray], FloatArray]


class RunningVersion:
    """A version, called in this process, or in Triton if it calls a model that only Triton has.

    Args:
        repository: Has the version.
        settings: Say where Triton is.
        model: The model's name.
        version: The version.
        connections: Close the connection to Triton.

    ``failures`` has what it raised so far, a line each.
    """

    def __init__(
        self, repository: ModelRepository, settings: Settings, model: str, version: int, connections: ExitStack
    ) -> None:
        self.failures: list[str] = []
        self._call: Call | None = None
        hosted = repository.hosted(model, version)
        self.is_hosted = hosted is not None
        try:
            if hosted is None:
                self._call = partial(scores_of, open_session(repository.model_file(model, version)))
            else:
                server = connections.enter_context(closing(HostedModels(settings.triton.access)))
                self._call = partial(server.score, hosted)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no common base
            self.failures.append(first_line(error))

    def infer(self, vectors: FloatArray) -> FloatArray:
        """Score some vectors; whatever the version raises is raised."""
        assert self._call is not None
        return self._call(vectors)

    def scores(self, vectors: FloatArray) -> tuple[Numbers, str | None]:
        """The score of each vector, NaN for all of a call that fails; and why one failed, if one did."""
        found = np.full(len(vectors), np.nan)
        if self._call is None:
            return found, self.failures[0]
        failure = None
        for begin in range(0, len(vectors), _ROWS):
            try:
                found[begin : begin + _ROWS] = self.infer(vectors[begin : begin + _ROWS])
            except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no common base
                failure = first_line(error)
                self.failures.append(failure)
        return found, failure


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
