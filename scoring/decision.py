"""From a score to a decision: the policy, and the hash by which a prediction names the policy that decided it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property

from streams.definitions.pipeline import Model


@dataclass(frozen=True)
class Policy:
    """A score of at least ``threshold`` is ``positive``, any other is ``negative``."""

    threshold: float
    positive: str
    negative: str

    @classmethod
    def of(cls, model: Model) -> Policy:
        """The policy that a pipeline's model declares."""
        return cls(model.threshold, model.positive, model.negative)

    def decide(self, score: float) -> str:
        """The decision on a score; the score must be a number (:func:`is_score`)."""
        return self.positive if score >= self.threshold else self.negative

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that change with anything that could change a decision."""
        canonical = json.dumps([self.threshold, self.positive, self.negative], separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def is_score(value: float) -> bool:
    """Whether a model's output can be decided upon: NaN and the infinities cannot."""
    return math.isfinite(value)
