"""What `penstock model train`, `import` and `rebuild` derive from a model: its drift reference, and its reasons."""

from __future__ import annotations

from typing import NamedTuple

from scoring.reasons import FILE as REASONS
from scoring.reasons import Attribution
from scoring.trained_model import NewVersion
from scoring.training_set import TrainingSet
from scoring.vectors import FloatArray
from streams.drift.drift_reference import DriftReference
from streams.plan.project import Project


class Derived(NamedTuple):
    """What is derived from a model and data: the reference for drift, if any; what finds reasons, or why none does."""

    reference: DriftReference | None
    reasons: Attribution | str

    def artifacts(self) -> dict[str, str | bytes]:
        """The files of the version that have it."""
        files: dict[str, str | bytes] = {} if self.reference is None else {**self.reference.artifacts()}
        return files | ({REASONS: self.reasons.content} if isinstance(self.reasons, Attribution) else {})


def derive(project: Project, made: NewVersion, seed: int, data: TrainingSet | None, vectors: FloatArray) -> Derived:
    """Derive what a version has beside its model.

    Args:
        project: The pipeline.
        made: The model.
        seed: For the detectors' calibration.
        data: The labelled events of the drift reference; None for no reference.
        vectors: Vectors like those that it was trained on, float32 [N, inputs], as the background of reasons.
    """
    from streams.drift.training_reference import build_reference  # noqa: PLC0415 - slow to import

    reference = None if data is None else build_reference(project, data, made, seed)
    return Derived(reference, _reasons(made.files().get("model.onnx"), vectors))


def _reasons(onnx: bytes | None, background: FloatArray) -> Attribution | str:
    """What finds the reasons of a model's scores, or why nothing does; ``background`` are vectors like its own."""
    from scoring.attribution import NoReasons, explain  # noqa: PLC0415 - slow to import

    if onnx is None:
        return "only Triton has the model"
    found = explain(onnx, background)
    return found.why if isinstance(found, NoReasons) else found
