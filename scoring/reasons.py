"""The reasons of scores: which inputs pushed each one up, and by how much, of a version that has ``reasons.onnx``.

:mod:`scoring.attribution` makes this file and says what a contribution is. The file is an ONNX model that takes the
vectors of the version, follows the same branches for nulls, and costs little more than scoring. This module needs none
of the libraries that train.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from onnxruntime import InferenceSession

from scoring.model_metadata import INPUT
from scoring.onnx_session import open_session
from scoring.vectors import FloatArray

FILE = "reasons.onnx"
CONTRIBUTIONS = "contributions"


class Reason(NamedTuple):
    """An input, and by how much it moved the margin up."""

    input: str
    contribution: float


@dataclass(frozen=True)
class Attribution:
    """The reasons of a version. ``content`` are the bytes of its file ``reasons.onnx``."""

    content: bytes

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of the vector, in order."""
        return tuple(json.loads(self._metadata["inputs"]))

    @property
    def base(self) -> float:
        """The mean margin of the background rows: what a score starts from."""
        return float(self._metadata["base"])

    def contributions(self, vectors: FloatArray) -> FloatArray:
        """What each input adds to the base.

        Args:
            vectors: Float32 [N, inputs], with NaN for null.

        Returns:
            Float32 [N, inputs]. With the base, a row's sum is the margin of its score, but for float32 rounding.
        """
        found: FloatArray
        (found,) = self._session.run([CONTRIBUTIONS], {INPUT: np.ascontiguousarray(vectors, dtype=np.float32)})
        return found

    def top(self, vectors: FloatArray, count: int = 3) -> list[tuple[Reason, ...]]:
        """The inputs that pushed each score up most, the greatest first.

        A decision is positive because its score is high, so inputs that pulled the score down are no reasons for it: a
        row has fewer reasons if fewer inputs pushed. Of equal contributions, the earlier input comes first.
        """
        contributions = self.contributions(vectors)
        order = np.argsort(-contributions, axis=1, kind="stable")[:, :count]
        values = np.take_along_axis(contributions, order, axis=1)
        names = self.inputs
        return [
            tuple(Reason(names[place], value) for place, value in zip(places, row, strict=True) if value > 0)
            for places, row in zip(order.tolist(), values.tolist(), strict=True)
        ]

    @cached_property
    def _session(self) -> InferenceSession:
        return open_session(self.content)

    @cached_property
    def _metadata(self) -> dict[str, str]:
        found: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return found
