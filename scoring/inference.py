"""Scores for a batch, whatever Triton does: Triton first, else the same model file in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from penstock.errors import PenstockError
from scoring.predictions import Answer
from scoring.triton import INPUT, OUTPUT, ServedModel, Triton, TritonError
from scoring.vectors import FloatArray

_log = logging.getLogger(__name__)

PRIMARY, FALLBACK = "primary", "fallback"

# After a failure Triton is left alone this long: a batch in an outage must not wait for the deadline each time.
_COOL_DOWN_S = 1.0


class Session(Protocol):
    """A model in this process."""

    def scores(self, vectors: FloatArray) -> FloatArray:
        """Scores of shape (n,) for vectors of shape (n, inputs); raises whatever the runtime raises."""


class OnnxSession:
    """A model version's ONNX file, loaded on the CPU.

    Raises:
        PenstockError: if the file is missing, is no model, or cannot score a vector of ``inputs`` values.
    """

    def __init__(self, path: Path, inputs: int) -> None:
        options = onnxruntime.SessionOptions()
        # One thread: micro-batches are small, and a scorer shares its machine with others.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.scores(np.zeros((1, inputs), dtype=np.float32))
        except Exception as error:  # the runtime's exceptions share no base but Exception
            raise PenstockError(
                f"the model cannot be loaded as the fallback: {error}",
                where=str(path),
                next="set PENSTOCK_MODEL_REPOSITORY to the folder that Triton serves, or penstock model train PIPELINE",
            ) from error

    def scores(self, vectors: FloatArray) -> FloatArray:
        """Scores of shape (n,) for vectors of shape (n, inputs)."""
        (scores,) = self._session.run([OUTPUT], {INPUT: vectors})
        flat: FloatArray = np.asarray(scores, dtype=np.float32).reshape(len(vectors))
        return flat


class Inference:
    """One model version behind Triton, with its in-process copy for when Triton fails or is late.

    Args:
        triton: The server.
        model: The version that every answer comes from.
        fallback: The same version in this process.
        deadline_s: How long Triton may take for a batch, in seconds.
        clock: Monotonic seconds.
        on_fallback: Called with the reason whenever Triton was asked and did not answer.
    """

    def __init__(
        self,
        triton: Triton,
        model: ServedModel,
        fallback: Session,
        *,
        deadline_s: float,
        clock: Callable[[], float],
        on_fallback: Callable[[str], None],
    ) -> None:
        self._triton = triton
        self._model = model
        self._fallback = fallback
        self._deadline_s = deadline_s
        self._clock = clock
        self._on_fallback = on_fallback
        self._again_at = 0.0
        self._away = False

    def answers(self, vectors: FloatArray) -> list[Answer | None]:
        """One answer per row of ``vectors`` (n, inputs); None for a row that the model itself cannot take.

        Raises:
            PenstockError: if the model fails whatever it is given, so that no row is to blame.
        """
        scores = self._primary(vectors)
        if scores is not None:
            return [Answer(float(score), PRIMARY) for score in scores]
        try:
            return [Answer(float(score), FALLBACK) for score in self._fallback.scores(vectors)]
        except Exception as error:  # noqa: BLE001 - the runtime's exceptions share no base but Exception
            _log.warning("the model fails on a batch of %d (%s); looking for the row to blame", len(vectors), error)
            return self._row_by_row(vectors)

    def _primary(self, vectors: FloatArray) -> FloatArray | None:
        now = self._clock()
        if now < self._again_at:
            return None
        try:
            scores = self._triton.scores(self._model.name, self._model.version, vectors, self._deadline_s)
        except TritonError as error:
            self._again_at = self._clock() + _COOL_DOWN_S
            self._on_fallback(str(error))
            if not self._away:
                _log.warning("Triton fails, scoring in this process with the same model: %s", error)
            self._away = True
            return None
        if self._away:
            _log.info("Triton answers again")
        self._away = False
        return scores

    def _row_by_row(self, vectors: FloatArray) -> list[Answer | None]:
        try:
            self._fallback.scores(np.zeros_like(vectors[:1]))
        except Exception as error:
            raise PenstockError(
                f"model {self._model.name} version {self._model.version} fails on any input: {error}",
                safe="nothing of the batch was written, and its offsets are not committed",
                next="penstock model load PIPELINE --version N, of a version that works",
            ) from error
        answers: list[Answer | None] = []
        for row in range(len(vectors)):
            try:
                answers.append(Answer(float(self._fallback.scores(vectors[row : row + 1])[0]), FALLBACK))
            except Exception as error:  # noqa: BLE001 - as above
                _log.warning("the model fails on row %d of the batch: %s", row, type(error).__name__)
                answers.append(None)
        return answers
