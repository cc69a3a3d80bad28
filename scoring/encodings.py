"""Encodings: what a model makes of a category, whose code the vector has. They are part of the model's version.

Pure: the nodes that apply them are in :mod:`scoring.onnx_wrapping`; here is what these must equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from penstock.counts import counted
from penstock.errors import PenstockError
from schemas.categories import code_of
from scoring.vectors import FloatArray

# As many as there are codes.
_MOST_BUCKETS = 1 << 24
_MOST_VALUES = 1 << 20
OTHERS = "(others)"
"""The first entry of a vocabulary that training makes."""


class Vocabulary(BaseModel):
    """A category is the position of its text among ``values``; the first stands for all other texts, and for null."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["vocabulary"] = "vocabulary"
    values: Annotated[tuple[str, ...], Field(min_length=1, max_length=_MOST_VALUES)]

    @model_validator(mode="after")
    def _codes_differ(self) -> Self:
        by_code: dict[float, str] = {}
        for value, code in zip(self.values, self.codes, strict=True):
            other = by_code.get(code)
            if other is not None:
                same = "is named twice" if other == value else f"has the code of {other!r}: leave one of them out"
                raise ValueError(f"{value!r} {same}")
            by_code[code] = value
        return self

    @property
    def codes(self) -> list[float]:
        """The code of each value."""
        return [code_of(value.encode()) for value in self.values]

    def numbers(self, codes: FloatArray) -> NDArray[np.int64]:
        """The position of each of the codes [N], NaN for null."""
        position = {code: place for place, code in enumerate(self.codes)}
        return np.array([position.get(code, 0) for code in codes.tolist()], np.int64)

    def __str__(self) -> str:
        return f"a vocabulary of {counted(len(self.values), 'entry', 'entries')}"


class Buckets(BaseModel):
    """A category is its code modulo ``number``; null is bucket 0."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["buckets"] = "buckets"
    number: Annotated[int, Field(ge=2, le=_MOST_BUCKETS)]

    def numbers(self, codes: FloatArray) -> NDArray[np.int64]:
        """The bucket of each of the codes [N], NaN for null."""
        found: NDArray[np.int64] = np.nan_to_num(codes).astype(np.int64) % self.number
        return found

    def __str__(self) -> str:
        return f"{self.number:,} buckets"


Encoding: TypeAlias = Annotated[Vocabulary | Buckets, Field(discriminator="kind")]


def encodings_of(
    vocabularies: Mapping[str, Sequence[str]], buckets: Mapping[str, int], where: str
) -> dict[str, Vocabulary | Buckets]:
    """The encodings that a user names, for inputs.

    Raises:
        PenstockError: if one is none; ``where`` says who named it.
    """
    found: dict[str, Vocabulary | Buckets] = {}
    if both := [name for name in vocabularies if name in buckets]:
        raise _no_encoding(both[0], "it has both a vocabulary and buckets", where)
    try:
        for name, values in vocabularies.items():
            found[name] = Vocabulary(values=tuple(values))
        for name, number in buckets.items():
            found[name] = Buckets(number=number)
    except ValidationError as error:
        raise _no_encoding(name, error.errors()[0]["msg"].removeprefix("Value error, "), where) from error
    return found


def _no_encoding(name: str, what: str, where: str) -> PenstockError:
    return PenstockError(
        f"{name} cannot be encoded: {what}",
        where=where,
        safe="no version was written",
        next="give each category a vocabulary of distinct texts, or at least 2 buckets",
        kept=f"{name} cannot be encoded",
    )


def encoded(vectors: FloatArray, inputs: Sequence[str], encodings: Mapping[str, Vocabulary | Buckets]) -> FloatArray:
    """A copy of the vectors [N, inputs] with the number of each category instead of its code."""
    result = vectors.copy()
    for name, encoding in encodings.items():
        place = inputs.index(name)
        result[:, place] = encoding.numbers(vectors[:, place])
    return result


def learned(
    codes: FloatArray, labels: NDArray[np.float64], texts: Mapping[float, str], *, most: int, least_rows: int
) -> Vocabulary:
    """The vocabulary of a category in training data: its ``most`` frequent texts with at least ``least_rows`` rows.

    They are in order of their share of positive labels, so that few splits of a tree tell the good from the bad (for
    two classes and one split, the best such order: Breiman et al., Classification and Regression Trees, 1984, 9.4).
    Shares of few rows are drawn towards that of all rows.

    Args:
        codes: (N,) The codes, NaN for null.
        labels: (N,) 0 or 1; of a regression the values, of which a text has a mean in place of a share.
        texts: The text of each code.
        most: How many texts it has at most.
        least_rows: How many rows a text needs.
    """
    known = ~np.isnan(codes)
    found, at, rows = np.unique(codes[known], return_inverse=True, return_counts=True)
    positives = np.bincount(at, weights=labels[known], minlength=len(found))
    frequent = np.lexsort((found, -rows))[:most]
    chosen = frequent[rows[frequent] >= least_rows]
    share = float(labels.mean()) if len(labels) else 0.0
    shares = (positives[chosen] + least_rows * share) / (rows[chosen] + least_rows)
    order = chosen[np.lexsort((found[chosen], shares))]
    values = [text for text in (texts[code] for code in found[order].tolist()) if text != OTHERS]
    return Vocabulary(values=(OTHERS, *values))
