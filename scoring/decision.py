"""Decisions: the policy that turns a score into a decision, and the hash that identifies it in a prediction. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property

from schemas.columns import Numbers
from streams.definitions.cascade import Cascade
from streams.definitions.pipeline import Model


@dataclass(frozen=True)
class Policy:
    """Decides ``positive`` for scores of at least ``threshold``, and ``negative`` for all others.

    ``cascade`` says whose scores these are.
    """

    threshold: float
    positive: str
    negative: str
    cascade: Cascade | None = None

    @classmethod
    def of(cls, model: Model) -> Policy:
        """The policy that a pipeline's model declares."""
        return cls(model.threshold, model.positive, model.negative, model.cascade)

    def decide(self, scores: Numbers) -> list[str]:
        """The decisions on scores (n,); what it says of one that is no finite number is meaningless."""
        either = self.negative, self.positive
        return [either[is_positive] for is_positive in (scores >= self.threshold).tolist()]

    @cached_property
    def version(self) -> str:
        """Twelve hex digits, a hash of everything that decisions depend on."""
        content: list[object] = [self.threshold, self.positive, self.negative]
        if self.cascade is not None:
            content += [self.cascade.strong, self.cascade.band, self.cascade.audit]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:12]


def is_score(value: float) -> bool:
    """Whether a model's output is a finite number; there is no decision on NaN and the infinities."""
    return math.isfinite(value)
