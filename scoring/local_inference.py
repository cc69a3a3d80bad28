"""Inference in this process alone, with the file of a version: to score many events, for which nobody waits.

Triton is not asked, so what is served is not disturbed. Both run the same file.
"""

from __future__ import annotations

from scoring.inference import Ids, Scores, scores_of_copy
from scoring.model_metadata import ModelMetadata
from scoring.servers.protocol import ModelServer
from scoring.vectors import FloatArray


class LocalInference:
    """One model version on a server in this process.

    Args:
        server: Has the version.
        model: The version that every result comes from.
    """

    def __init__(self, server: ModelServer, model: ModelMetadata) -> None:
        self._server = server
        self._model = model

    def waits(self) -> bool:
        """Whether no scores are to be had now: never."""
        return False

    def infer(self, vectors: FloatArray, ids: Ids | None = None) -> Scores:  # noqa: ARG002 - a cascade needs them
        """The scores of ``vectors`` (n, inputs); the rows on which the model fails are found by halves.

        Raises:
            PenstockError: if the model fails on any input.
        """
        return scores_of_copy(self._server, self._model, vectors, by_fallback=False)
