"""Inference with a cascade: the fast model scores every event, the strong one those in the band and an audit slice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from scoring.audit import in_slice
from scoring.cascade import Band
from scoring.hosted_inference import HostedInference
from scoring.inference import CascadeScores, Ids, Inference, Scores
from scoring.local_inference import LocalInference
from scoring.unbacked_inference import UnbackedInference
from scoring.vectors import FloatArray


@dataclass(frozen=True)
class CascadeRule:
    """Which events the strong model scores.

    Args:
        band: The fast scores that it decides.
        audit: Of the other events, the share that both models score.
        salt: Of the hash that chooses these.
    """

    band: Band
    audit: float
    salt: str


OneModel: TypeAlias = Inference | HostedInference | LocalInference | UnbackedInference


class CascadeInference:
    """A fast and a strong model, each with its own deadline, breaker and fallback. Both take the same vectors.

    An event whose fast score is in the band has the strong model's score, outputs and failure; all others, the audited
    ones too, those of the fast model.
    """

    def __init__(self, fast: OneModel, strong: OneModel, rule: CascadeRule) -> None:
        self._fast = fast
        self._strong = strong
        self._rule = rule

    def waits(self) -> bool:
        """Whether one of the models has no scores now."""
        return self._fast.waits() or self._strong.waits()

    def infer(self, vectors: FloatArray, ids: Ids) -> Scores:
        """The scores of ``vectors`` (n, inputs), which are of the events with these ids.

        Raises:
            NoScoresNow: if one of the models is in Triton alone, and there are none now.
            PenstockError: if one of the models fails on any input.
        """
        scores = self._fast.infer(vectors)
        fast, has_score = scores.values.copy(), scores.finite
        in_band = has_score & self._rule.band.contains(fast)
        audited = has_score & ~in_band & in_slice(self._rule.salt, ids(), self._rule.audit)
        strong = np.full(len(fast), np.nan)
        asked = np.flatnonzero(in_band | audited)
        if len(asked):
            answer = self._strong.infer(vectors[asked])
            strong[asked] = answer.values
            decided = in_band[asked]
            scores.put(asked[decided], answer.rows(decided))
        return replace(scores, cascade=CascadeScores(fast, strong, in_band, audited))
