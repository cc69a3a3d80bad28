"""A cascade: a second, stronger model that decides what the pipeline's model leaves unclear."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from streams.definitions.base import Definition, Name


class Cascade(Definition):
    """The pipeline's model is the fast one; ``strong`` names a model that decides the events in the band.

    Both take the same vector, and both scores are held against the same threshold. The band are the fast scores from
    its lower bound up to, but not including, its upper one. ``"auto"`` is a band that ``penstock model band`` chose for
    the two versions that are served, such that surely at most ``differing`` of the decisions are not the strong
    model's.

    Of the clear cases, the share ``audit`` gets both scores, so that the regret of the cascade is known; the decision
    stays the fast model's.
    """

    strong: Name
    band: Literal["auto"] | tuple[float, float] = "auto"
    differing: float = Field(default=0.001, gt=0, lt=1)
    audit: float = Field(default=0.01, ge=0, le=1)

    @model_validator(mode="after")
    def _band_is_an_interval(self) -> Self:
        if self.band != "auto" and not (all(map(math.isfinite, self.band)) and self.band[0] < self.band[1]):
            raise ValueError(f"band {self.band} is no interval: give a lower and a greater upper bound, or 'auto'")
        return self
