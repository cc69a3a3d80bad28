"""A trained model and its manifest. Whoever loads a model needs these, and not the libraries that train it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


class Validation(BaseModel):
    """The AUC on the latest events of the set, of a model trained on the events before ``from_ms``."""

    model_config = ConfigDict(frozen=True)

    from_ms: int
    rows: int
    positives: int
    auc: float
    auc_without_windows: float | None


class Importance(BaseModel):
    """The permutation importance of an input: the AUC that the validation part loses when its values are shuffled.

    ``loss`` is the mean over several shuffles, ``spread`` their standard deviation. Correlated inputs share their
    importance, so each of them may seem unimportant.
    """

    model_config = ConfigDict(frozen=True)

    input: str
    loss: float
    spread: float


class ModelManifest(BaseModel):
    """How a model was trained: enough to reproduce it byte for byte, and to know which vectors it accepts.

    ``importance`` lists every input, the most important first.
    """

    model_config = ConfigDict(frozen=True)

    inputs: tuple[str, ...]
    baseline_inputs: tuple[str, ...]
    views: Mapping[str, str]
    seed: int
    data_hash: str
    until_ms: int | None
    rows: int
    positives: int
    iterations: int
    read: Mapping[str, int]
    validation: Validation
    importance: tuple[Importance, ...] = ()
    libraries: Mapping[str, str]


@dataclass(frozen=True)
class TrainedModel:
    """A model as ONNX bytes, its baseline without windowed features (None if all are windowed), and its manifest.

    ``validated`` are the scores of the latest rows of the set, by a model that was not trained on them.
    """

    onnx: bytes
    baseline_onnx: bytes | None
    manifest: ModelManifest
    validated: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
