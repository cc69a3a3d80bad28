"""Inference on a batch without a fallback, for a version that calls a model which only the model server has.

Where :mod:`scoring.inference` asks the fallback, this raises: the batch waits, and is scored when the server can. A row
becomes a dead letter only if the server answers, and fails on this row again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from penstock.errors import PenstockError
from scoring.breaker import Breaker, State
from scoring.inference import Ids, Scores, ask, score_in_halves, scores_of_answer
from scoring.model_metadata import ModelMetadata
from scoring.servers.protocol import InferenceError, ModelServer
from scoring.vectors import FloatArray

_log = logging.getLogger(__name__)

# A batch that takes longer than the deadline must get through some time: nobody else can score it.
LONGEST_S = 10.0


class NoScoresNow(PenstockError):  # noqa: N818 - a temporary condition
    """The one server that has the model gives no scores; nothing is wrong with the batch."""


class HostedInference:
    """One model version on the one server that has it.

    After each late answer the deadline is doubled, up to ten seconds. It is the given one again after an answer within
    that.

    Args:
        server: Has the version.
        model: The version that every result comes from.
        deadline_s: How long the server may take for a batch, in seconds.
        clock: Monotonic seconds.
        on_failure: Called with the reason whenever the server was asked and returned no scores.
    """

    def __init__(
        self,
        server: ModelServer,
        model: ModelMetadata,
        *,
        deadline_s: float,
        clock: Callable[[], float],
        on_failure: Callable[[str], None],
    ) -> None:
        self._server = server
        self._model = model
        self._deadline_s = self._patience_s = deadline_s
        self._clock = clock
        self._on_failure = on_failure
        self._breaker = Breaker()
        self._failure: str | None = None

    def waits(self) -> bool:
        """Whether :meth:`infer` would raise without asking the server."""
        return self._breaker.state(self._clock()) is State.OPEN

    def infer(self, vectors: FloatArray, ids: Ids | None = None) -> Scores:  # noqa: ARG002 - a cascade needs them
        """The scores of ``vectors`` (n, inputs).

        Raises:
            NoScoresNow: if the server gives none, or failed so often that it is not asked.
        """
        if self.waits():
            raise self._no_scores(self._failure or "")
        began = self._clock()
        try:
            values = self._ask_twice(vectors)
        except InferenceError as error:
            _log.warning("the model fails on a batch of %d (%s); looking for the rows", len(vectors), error)
            scores = score_in_halves(self._ask_twice, vectors, self._model.outputs, by_fallback=False)
        else:
            scores = scores_of_answer(values, by_fallback=False)
        if self._clock() - began <= self._deadline_s:
            self._patience_s = self._deadline_s
        self._has_succeeded()
        return scores

    def _ask(self, vectors: FloatArray) -> FloatArray:
        return ask(self._server, self._model, vectors, self._patience_s)

    def _ask_twice(self, vectors: FloatArray) -> FloatArray:
        """Ask; an :class:`InferenceError` says that the server answers, and fails on these rows again."""
        try:
            return self._ask(vectors)
        except InferenceError as error:
            self._require_answer(error)
        try:
            return self._ask(vectors)
        except InferenceError as error:
            self._require_answer(error)
            raise

    def _require_answer(self, error: InferenceError) -> None:
        """Check that it was the rows: that the server is not late, and scores a vector of zeros."""
        try:
            if not error.late:
                self._ask(np.zeros((1, len(self._model.inputs)), np.float32))
                return
        except InferenceError as second:
            error = second
        if error.late:
            self._patience_s = min(2 * self._patience_s, max(LONGEST_S, self._deadline_s))
        self._has_failed(str(error), late=error.late)
        raise self._no_scores(str(error)) from error

    def _has_succeeded(self) -> None:
        self._breaker.succeeded()
        if self._failure is not None:
            _log.info("%s answers again", self._server.name)
        self._failure = None

    def _has_failed(self, reason: str, *, late: bool) -> None:
        self._breaker.failed(self._clock(), late=late)
        self._on_failure(reason)
        if reason != self._failure:
            _log.warning("%s fails, and only it has the model; waiting for it: %s", self._server.name, reason)
        self._failure = reason

    def _no_scores(self, reason: str) -> NoScoresNow:
        return NoScoresNow(
            f"{self._server.name} gives no scores, and only it has the model: {reason}",
            where=f"model {self._model.name} version {self._model.version}",
            safe="nothing of the batch was written, and its offsets are not committed",
            next="penstock model list PIPELINE; load the model again that this version calls",
        )
