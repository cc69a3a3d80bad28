"""Inference on a batch with one server and no copy to fall back on: for candidates of a rollout, and in shadow.

It never takes longer than its deadline. So a version that is being tried delays a batch by that much at most, until its
breaker opens; its copy in this process, which may be as slow, is not asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from penstock.errors import PenstockError
from scoring.breaker import Breaker, State
from scoring.inference import Ids, Scores, ask, scores_of_answer
from scoring.model_metadata import ModelMetadata
from scoring.servers.protocol import InferenceError, ModelServer
from scoring.vectors import FloatArray

_log = logging.getLogger(__name__)


class NoScoresInTime(PenstockError):  # noqa: N818 - nothing is wrong with the batch
    """The version gives no scores for a batch: the champion scores its events, or nobody does in shadow."""


class UnbackedInference:
    """One model version on one server, without a fallback.

    Args:
        server: Has the version.
        model: The version that every result comes from.
        deadline_s: How long the server may take for a batch, in seconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self, server: ModelServer, model: ModelMetadata, *, deadline_s: float, clock: Callable[[], float]
    ) -> None:
        self._server = server
        self._model = model
        self._deadline_s = deadline_s
        self._clock = clock
        self._breaker = Breaker()
        self._has_failed = False

    def waits(self) -> bool:
        """Whether :meth:`infer` would raise without asking the server."""
        return self._breaker.state(self._clock()) is State.OPEN

    def infer(self, vectors: FloatArray, ids: Ids | None = None) -> Scores:  # noqa: ARG002 - a cascade needs them
        """The scores of ``vectors`` (n, inputs); of a row without a number, NaN.

        Raises:
            NoScoresInTime: if the server gives none, or failed so often that it is not asked.
        """
        if self.waits():
            raise NoScoresInTime(f"{self._server.name} failed before, and is not asked")
        try:
            answer = ask(self._server, self._model, vectors, self._deadline_s)
        except InferenceError as error:
            self._breaker.failed(self._clock(), late=error.late)
            if not self._has_failed:
                where = f"model {self._model.name} version {self._model.version}"
                _log.warning("%s gives no scores: %s", where, error)
            self._has_failed = True
            raise NoScoresInTime(str(error)) from error
        self._breaker.succeeded()
        self._has_failed = False
        return scores_of_answer(answer, by_fallback=False)
