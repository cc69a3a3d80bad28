"""A version of a model and its manifest. Whoever loads a model needs these, and not the libraries that train it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from penstock.counts import counted
from scoring.encodings import Encoding
from scoring.hosted_model import HostedModel, Probe
from scoring.recipe import Recipe
from scoring.vectors import FloatArray
from streams.definitions.labels import Absent, Task

if TYPE_CHECKING:
    from onnx import ModelProto

CHECKPOINT = "checkpoint.tl"
"""The name under which FIL looks for the trees of a version."""


class Validation(BaseModel):
    """How well a model that was trained on the events before ``from_ms`` scores the latest events of the set.

    Probabilities have an ``auc``, the values of a regression ``r2`` and ``mae``, the mean absolute error.
    ``auc_without_windows`` and ``r2_without_windows`` are the baseline's, if there is one. ``positives`` is 0 for a
    regression.
    """

    model_config = ConfigDict(frozen=True)

    from_ms: int
    rows: int
    positives: int
    auc: float | None = None
    auc_without_windows: float | None = None
    r2: float | None = None
    r2_without_windows: float | None = None
    mae: float | None = None

    @property
    def measure(self) -> str:
        """What the quality is measured by."""
        return "AUC" if self.r2 is None else "R²"

    @property
    def quality(self) -> float | None:
        """The AUC or R²."""
        return self.auc if self.r2 is None else self.r2

    @property
    def quality_without_windows(self) -> float | None:
        """The same of the baseline."""
        return self.auc_without_windows if self.r2 is None else self.r2_without_windows


class Importance(BaseModel):
    """The permutation importance of an input: what AUC or R² the validation part loses when its values are shuffled.

    ``loss`` is the mean over several shuffles, ``spread`` their standard deviation. Correlated inputs share their
    importance, so each of them may seem unimportant.
    """

    model_config = ConfigDict(frozen=True)

    input: str
    loss: float
    spread: float


class Provenance(BaseModel):
    """Who made a version, when, and with what.

    Args:
        made_ms: When, in epoch ms.
        author: Who, as they wish to be named; None if nobody says.
        penstock: The version of Penstock that made it.
        environment: The SHA-256 of the lock of the environment, which is in ``environment.txt``.
        incident: The drift incident that it answers, if it answers one.
    """

    model_config = ConfigDict(frozen=True)

    made_ms: int
    author: str | None
    penstock: str
    environment: str
    incident: str | None = None


class Manifest(BaseModel):
    """What every version says of itself: the vectors that it accepts, and the libraries that made its file.

    ``categories`` are the inputs whose codes the vector has, ``encodings`` what the model makes of each. ``kept`` are
    the outputs beside the score that predictions have. ``importance`` lists every input, the most important first; it
    is empty if it is not known. ``no_fil`` says why Triton's FIL backend cannot run it; None if it can, if an earlier
    build wrote the version, or if only Triton has the model. ``provenance`` is None if a program wrote the version
    without the commands. ``recipe`` is what it takes to make it again, None also if an earlier build wrote it.
    """

    model_config = ConfigDict(frozen=True)

    inputs: tuple[str, ...]
    categories: tuple[str, ...] = ()
    encodings: Mapping[str, Encoding] = {}
    kept: tuple[str, ...] = ()
    views: Mapping[str, str]
    libraries: Mapping[str, str]
    importance: tuple[Importance, ...] = ()
    no_fil: str | None = None
    provenance: Provenance | None = None
    recipe: Recipe | None = None


class ModelManifest(Manifest):
    """How a model was trained: with the recipe, enough to reproduce it byte for byte.

    ``trainer`` is the function that trained it, None for Penstock's own training, which ``iterations`` describes.
    ``last_event_ms`` is the time of the latest event in the set, ``offsets`` are those of each topic that the backfill
    read, by partition; manifests of earlier builds lack both. ``classes`` are those of a model of several, sorted, of
    which ``positive`` is the one whose probability is the score; ``positives`` is 0 for a regression.
    ``with_defaults`` says whether inputs of other pipelines were their defaults in training. ``horizon_ms`` and
    ``absent`` are those of the labels, as they were declared then. ``label_sources`` says how many labels of the set
    were of each topic, if there were several sources.
    """

    kind: Literal["trained"] = "trained"
    baseline_inputs: tuple[str, ...]
    seed: int
    data_hash: str
    until_ms: int | None
    rows: int
    positives: int
    task: Task = "binary"
    classes: tuple[str, ...] = ()
    positive: str | None = None
    iterations: int = 0
    trainer: str | None = None
    read: Mapping[str, int]
    validation: Validation
    last_event_ms: int | None = None
    offsets: Mapping[str, Mapping[int, tuple[int, int]]] = {}
    with_defaults: bool = False
    horizon_ms: int | None = None
    absent: Absent | None = None
    label_sources: Mapping[str, int] = {}

    @property
    def trained_to_ms(self) -> int | None:
        """The event time up to which events may have been trained on, in epoch ms; None if it is not known."""
        return self.until_ms if self.last_event_ms is None else self.last_event_ms


class ImportManifest(Manifest):
    """Where an imported model comes from, and what it was checked with.

    Args:
        file: The name of its file; of a model that Triton hosts, the model and its version there.
        sha256: The hash of the file's bytes, which the version has between nodes of its own; of a model that Triton
            hosts, that of its files, or empty if they could not be read.
        producer: Which program exported it, as the file says; of a model that Triton hosts, its platform.
        output: The output that is the score, and ``column`` its column.
        nulls: What null becomes, for inputs whose tensor has none.
        check_rows: How many vectors with known scores it was checked with.
        check_sha256: The hash of these vectors and scores.
        difference: The greatest difference of a score from the known one.
        trained_until_ms: Up to which event time it was trained, in epoch ms, as the user says; None if nobody says.
        fp16: Whether the version computes in FP16, unlike its file.
        hosted: How the version calls a model that Triton hosts; None for a file.
    """

    kind: Literal["imported"] = "imported"
    file: str
    sha256: str
    producer: str
    output: str
    column: int
    nulls: Mapping[str, float]
    check_rows: int
    check_sha256: str
    difference: float
    trained_until_ms: int | None = None
    fp16: bool = False
    hosted: HostedModel | None = None

    @property
    def trained_to_ms(self) -> int | None:
        """The event time up to which events may have been trained on, in epoch ms; None if it is not known."""
        return self.trained_until_ms


def training_set_of(manifest: ModelManifest) -> str:
    """What a model was trained on, in words."""
    events = counted(manifest.rows, "event")
    defaults = ", with the defaults of inputs from other pipelines" if manifest.with_defaults else ""
    if manifest.task == "regression":
        return f"{events} with values{defaults}"
    if manifest.task == "multiclass":
        classes = counted(len(manifest.classes), "class", "classes")
        return f"{events} of {classes}, {manifest.positives:,} of {manifest.positive!r}{defaults}"
    return f"{events}, {manifest.positives:,} positive{defaults}"


def quality_of(validation: Validation) -> str:
    """How well a model scored its validation, in words."""
    error = "" if validation.mae is None else f", mean absolute error {validation.mae:.4g}"
    return f"{validation.measure} {validation.quality:.4f}{error}"


def read_manifest(content: Mapping[str, Any]) -> ModelManifest | ImportManifest:
    """The manifest in the content of a ``manifest.json``; those of earlier builds name no kind."""
    fields = {name: value for name, value in content.items() if name not in ("model", "version")}
    kind = ImportManifest if fields.get("kind") == "imported" else ModelManifest
    return kind.model_validate(fields)


OfVersion = TypeVar("OfVersion", bound=Manifest)


@dataclass(frozen=True)
class TrainedModel(Generic[OfVersion]):
    """A model as ONNX bytes, its baseline without windowed features (None if it has none), and its manifest.

    ``validated`` are the scores of the latest rows of the set, by a model that was not trained on them. ``checkpoint``
    is the model as a treelite checkpoint, None if it has no such form.
    """

    onnx: bytes
    baseline_onnx: bytes | None
    manifest: OfVersion
    validated: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    checkpoint: bytes | None = None

    def files(self) -> dict[str, bytes]:
        """The files of the version, without its manifest."""
        baseline = {} if self.baseline_onnx is None else {"baseline.onnx": self.baseline_onnx}
        checkpoint = {} if self.checkpoint is None else {CHECKPOINT: self.checkpoint}
        return {"model.onnx": self.onnx, **baseline, **checkpoint, "model.py": _source("triton_model")}

    def score(self, vectors: FloatArray) -> FloatArray:
        """Score vectors, float32 [N, inputs], in this process; returns float32 [N]."""
        from scoring.onnx_session import open_session, scores_of  # noqa: PLC0415 - slow to import

        return scores_of(open_session(self.onnx), vectors)


@dataclass(frozen=True)
class HostedVersion:
    """A version that calls a model which Triton hosts already.

    Args:
        manifest: Its manifest, which says how.
        probe: Rows by which the model is known again.
        score: Scores vectors, float32 [N, inputs], on the server; returns float32 [N].
        validated: As of :class:`TrainedModel`: it has none.
    """

    manifest: ImportManifest
    probe: Probe
    score: Callable[[FloatArray], FloatArray]
    validated: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def files(self) -> dict[str, bytes]:
        """The files of the version, without its manifest."""
        assert self.manifest.hosted is not None
        mapping = {**self.manifest.hosted.model_dump(mode="json"), "probe": self.probe.model_dump(mode="json")}
        return {
            "hosted.json": (json.dumps(mapping, indent=2) + "\n").encode(),
            "hosted_tensors.py": _source("hosted_tensors"),
            "model.py": _source("triton_hosted_model"),
        }


NewVersion = TrainedModel[Any] | HostedVersion


def _source(module: str) -> bytes:
    """What Triton's Python backend runs."""
    return Path(__file__).with_name(f"{module}.py").read_bytes()


@dataclass(frozen=True)
class OnnxModel:
    """A model that a training function returns, where its ONNX alone does not say enough.

    Args:
        onnx: The model, or its bytes.
        output: The output that is the score; None for the only one of floating-point numbers.
        column: Its column; None for the last of two, or the only one.
        nulls: What null becomes, for inputs whose tensor has none.
        vocabularies: For categories the texts that the model knows, in the order of their numbers; the first stands for
            all others. Where the model takes a text, all texts of the training set if it is not given.
        buckets: For categories the number of buckets into which the model hashes them.
        keep: Outputs that predictions have beside the score.
    """

    onnx: ModelProto | bytes
    output: str | None = None
    column: int | None = None
    nulls: Mapping[str, float] = field(default_factory=dict)
    vocabularies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    buckets: Mapping[str, int] = field(default_factory=dict)
    keep: Sequence[str] = ()
