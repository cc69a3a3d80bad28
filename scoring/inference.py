"""Inference on a batch with a fallback: the primary model server first, else the same model version on the fallback.

This module decides when the primary gets a request and what happens when it fails. Both servers are given as a
:class:`~scoring.servers.protocol.ModelServer`; it opens no connection itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from penstock.errors import PenstockError
from schemas.columns import Integers, Mask, Numbers
from scoring.breaker import Breaker, State
from scoring.model_metadata import ModelMetadata
from scoring.servers.protocol import InferenceError, ModelServer
from scoring.vectors import FloatArray

_log = logging.getLogger(__name__)

PRIMARY, FALLBACK = "primary", "fallback"

Ids: TypeAlias = Callable[[], Sequence[str]]
"""Returns the ids of the events of a batch."""

# Both servers run the same file; their libraries may sum a tree ensemble's leaves in different orders. The large values
# of a regression are compared relatively.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class CascadeScores:
    """How a cascade scored n vectors.

    Args:
        fast: (n,) The scores of the fast model.
        strong: (n,) Those of the strong model; NaN where it was not asked, or has none.
        in_band: (n,) Where the strong model decides.
        audited: (n,) Where it was asked, and the fast one decides.
    """

    fast: Numbers
    strong: Numbers
    in_band: Mask
    audited: Mask

    def rows(self, mask: Mask) -> CascadeScores:
        """Those of some rows."""
        return CascadeScores(self.fast[mask], self.strong[mask], self.in_band[mask], self.audited[mask])


@dataclass(frozen=True)
class Scores:
    """The scores of n vectors.

    Args:
        values: (n,) The scores; anything but a finite number is no score.
        kept: (n, k) The outputs that are kept beside the score, of any value.
        by_fallback: (n,) Whether the fallback returned it.
        failed: (n,) Whether the model fails on the vector.
        cascade: How a cascade came to them.
    """

    values: Numbers
    kept: Numbers
    by_fallback: Mask
    failed: Mask
    cascade: CascadeScores | None = None

    @property
    def finite(self) -> Mask:
        """(n,) Where there is a score."""
        return np.isfinite(self.values)

    def routes(self) -> list[str]:
        """The route of each score."""
        return [FALLBACK if by_fallback else PRIMARY for by_fallback in self.by_fallback.tolist()]

    def rows(self, mask: Mask) -> Scores:
        """Those of some rows."""
        cascade = None if self.cascade is None else self.cascade.rows(mask)
        return Scores(self.values[mask], self.kept[mask], self.by_fallback[mask], self.failed[mask], cascade)

    def put(self, rows: Integers, others: Scores) -> None:
        """Take the scores of some rows from others, one for each row."""
        self.values[rows], self.kept[rows] = others.values, others.kept
        self.by_fallback[rows], self.failed[rows] = others.by_fallback, others.failed


def no_scores(count: int) -> Scores:
    """Of as many vectors, of which none has a score."""
    nothing = np.zeros(count, np.bool_)
    return Scores(np.full(count, np.nan), np.empty((count, 0)), nothing, nothing.copy())


def ask(server: ModelServer, model: ModelMetadata, vectors: FloatArray, deadline_s: float | None) -> FloatArray:
    """The answer of a server that has the version: (n, 1 + kept outputs).

    Raises:
        InferenceError: if it fails, is late, or answers with another number of outputs.
    """
    answer = server.infer(model.name, model.version, vectors, deadline_s)
    if answer.shape[1] != model.outputs:
        raise InferenceError(f"{answer.shape[1]} numbers came for each row, the version has {model.outputs}")
    return answer


class Inference:
    """One model version on a primary server, and on a fallback for when the primary fails or is late.

    Anything but one finite number for each row is a failure of the primary, unless the fallback has no number for
    the same rows either: then it is the model that has none.

    Args:
        primary: Asked first.
        fallback: Has loaded the same version.
        model: The version that every result comes from.
        deadline_s: How long the primary may take for a batch, in seconds.
        clock: Monotonic seconds.
        on_fallback: Called with the reason whenever the primary was asked and returned no scores.
    """

    def __init__(
        self,
        primary: ModelServer,
        fallback: ModelServer,
        model: ModelMetadata,
        *,
        deadline_s: float,
        clock: Callable[[], float],
        on_fallback: Callable[[str], None],
    ) -> None:
        self._primary = primary
        self._fallback = fallback
        self._model = model
        self._deadline_s = deadline_s
        self._clock = clock
        self._on_fallback = on_fallback
        self._breaker = Breaker()
        self._primary_failed = False

    def waits(self) -> bool:
        """Whether no scores are to be had now: never, as the fallback has them."""
        return False

    def infer(self, vectors: FloatArray, ids: Ids | None = None) -> Scores:  # noqa: ARG002 - a cascade needs them
        """The scores of ``vectors`` (n, inputs).

        Raises:
            PenstockError: if the model fails on any input, so that no row is to blame.
        """
        state = self._breaker.state(self._clock())
        if state is State.OPEN:
            return self._scores_of_fallback(vectors)
        answer = self._infer_on_primary(vectors)
        if answer is None:
            return self._scores_of_fallback(vectors)
        scores = scores_of_answer(answer, by_fallback=False)
        if state is State.HALF_OPEN:
            copy = self._scores_of_fallback(vectors)
            is_same = np.isclose(scores.values, copy.values, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
            differing = int((~is_same).sum())
            if differing:
                self._primary_has_failed(f"{differing} of {len(vectors)} scores are not those of the same model here")
                return copy
        doubtful = np.flatnonzero(~scores.finite)
        if len(doubtful):
            second = self._scores_of_fallback(vectors[doubtful])
            wrong = int(second.finite.sum())
            scores.put(doubtful, second)
            if wrong:
                self._primary_has_failed(
                    f"it returned no finite number for {wrong} of {len(vectors)} rows that have one"
                )
                return scores
        self._primary_has_succeeded()
        return scores

    def _scores_of_fallback(self, vectors: FloatArray) -> Scores:
        return scores_of_copy(self._fallback, self._model, vectors, by_fallback=True)

    def _infer_on_primary(self, vectors: FloatArray) -> FloatArray | None:
        try:
            return ask(self._primary, self._model, vectors, self._deadline_s)
        except InferenceError as error:
            self._primary_has_failed(str(error), late=error.late)
            return None

    def _primary_has_succeeded(self) -> None:
        self._breaker.succeeded()
        if self._primary_failed:
            _log.info("%s answers again", self._primary.name)
        self._primary_failed = False

    def _primary_has_failed(self, reason: str, *, late: bool = False) -> None:
        self._breaker.failed(self._clock(), late=late)
        self._on_fallback(reason)
        if not self._primary_failed:
            _log.warning(
                "%s fails; scoring with %s and the same model: %s", self._primary.name, self._fallback.name, reason
            )
        self._primary_failed = True


def scores_of_copy(server: ModelServer, model: ModelMetadata, vectors: FloatArray, *, by_fallback: bool) -> Scores:
    """The scores of a server in this process, which answers for every row that the model does not fail on.

    Raises:
        PenstockError: if the model fails on any input, so that no row is to blame.
    """

    def ask_copy(some: FloatArray) -> FloatArray:
        return ask(server, model, some, None)

    try:
        return scores_of_answer(ask_copy(vectors), by_fallback=by_fallback)
    except InferenceError as failure:
        try:
            ask_copy(np.zeros_like(vectors[:1]))
        except InferenceError as error:
            raise PenstockError(
                f"model {model.name} version {model.version} fails on any input: {error}",
                safe="nothing of the batch was written, and its offsets are not committed",
                next="penstock model load PIPELINE --version N, of a version that works",
            ) from error
        _log.warning("the model fails on a batch of %d (%s); looking for the rows", len(vectors), failure)
        return score_in_halves(ask_copy, vectors, model.outputs, by_fallback=by_fallback)


def score_in_halves(
    ask: Callable[[FloatArray], FloatArray], vectors: FloatArray, outputs: int, *, by_fallback: bool
) -> Scores:
    """Score the vectors, of which some make ``ask`` raise an :class:`InferenceError`: these fail.

    They are found in about as many calls as there are such rows, times log2 of all. ``outputs`` is how many numbers
    the model returns for each.
    """
    found = np.full((len(vectors), outputs), np.nan, np.float32)
    failed, failing = np.zeros(len(vectors), np.bool_), [(0, len(vectors))]
    while failing:
        begin, end = failing.pop()
        if end - begin == 1:
            failed[begin] = True
            continue
        middle = (begin + end) // 2
        for part in ((begin, middle), (middle, end)):
            try:
                found[slice(*part)] = ask(vectors[slice(*part)])
            except InferenceError as error:
                # The type only: the runtime's message may hold values of the record.
                cause = type(error.__cause__ or error).__name__
                _log.warning("the model fails on rows %d to %d of the batch: %s", part[0], part[1] - 1, cause)
                failing.append(part)
    return replace(scores_of_answer(found, by_fallback=by_fallback), failed=failed)


def scores_of_answer(answer: FloatArray, *, by_fallback: bool) -> Scores:
    """The scores in a server's answer (n, 1 + kept outputs)."""
    rows = len(answer)
    columns = answer.astype(np.float64)
    return Scores(columns[:, 0].copy(), columns[:, 1:], np.full(rows, by_fallback), np.zeros(rows, np.bool_))
