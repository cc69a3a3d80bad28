"""The manifest of a training set: what it was made of, what is in it, and what its checks say; ``manifest.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from backfill.resumable import write_durably
from penstock.errors import PenstockError
from streams.definitions.labels import Absent, Task

FILE_NAME = "manifest.json"
Features = Literal["recomputed", "served"]
Verdict = Literal["passed", "failed", "inconclusive", "skipped"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _WithoutEmpty(_Frozen):
    """Leaves out what is empty of what only several sources of labels, or of events, have: releases wrote without."""

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        return {
            name: value for name, value in found.items() if value or name not in ("otherwise", "label_sources", "of")
        }


class OtherLabels(_WithoutEmpty):
    """A further source of labels."""

    topic: str
    value: str
    of: str | None = None


class SourceCounts(_Frozen):
    """The labels of a source that were ``read`` and ``refused``, and the ``rows`` of the set whose label is of it."""

    read: int
    refused: int
    rows: int


class LabelRule(_WithoutEmpty):
    """The labels as the definition declared them; durations in milliseconds."""

    topic: str
    value: str
    task: Task
    positive: str | None
    horizon_ms: int | None
    absent: Absent | None
    hidden_by: str | None
    otherwise: tuple[OtherLabels, ...] = ()
    of: str | None = None


class Request(_Frozen):
    """What was asked for; two requests that are equal make the same set of the same inputs.

    Args:
        from_ms: The first event time, epoch ms.
        to_ms: The event time before which events end.
        until_ms: The time up to which things are known, as it was given; None for no limit.
        features: Whether vectors are those of a backfill or of predictions.
        split: The shares of training, validation and test, as they were written.
        embargo: Whether rows whose labels were not final at the next part's first event are in no part.
        seed: For the probe.
        probe: Whether the probe was wanted.
    """

    from_ms: int
    to_ms: int
    until_ms: int | None
    features: Features
    split: tuple[str, str, str]
    embargo: bool
    seed: int
    probe: bool


class SetCounts(_Frozen):
    """How many rows were read, and why some are not in the set.

    ``features_read`` = ``ids_again`` + ``events_out_of_range`` + ``events_after_until`` + ``events_immature`` +
    ``events_unlabelled`` + the rows of the set; the names are those of :class:`scoring.training_set.Counts`.
    ``predictions_refused`` cannot be read, or are of another definition of the model's inputs.
    """

    features_read: int = 0
    ids_again: int = 0
    events_out_of_range: int = 0
    events_after_until: int = 0
    events_immature: int = 0
    events_unlabelled: int = 0
    events_absent: int = 0
    labels_read: int = 0
    labels_refused: int = 0
    labels_after_until: int = 0
    labels_after_horizon: int = 0
    labels_without_event: int = 0
    predictions_refused: int = 0


class SetPart(_Frozen):
    """A file of the set: its rows, and the SHA-256 of its bytes."""

    file: str
    rows: int
    sha256: str


class Split(_Frozen):
    """A part of the set by time: rows, those of the positive class (None for a regression), times of its events."""

    rows: int
    positives: int | None
    from_ms: int
    to_ms: int


class Arrival(_Frozen):
    """How many of the mature events had their label by an age, of all and of those of each class (at most 20)."""

    age_ms: int
    labelled: float
    classes: Mapping[str, float]


class Selection(_Frozen):
    """Outcomes that decisions hide.

    Args:
        hidden_by: The decision after which the outcome cannot be seen.
        declined: Rows with this decision: ``p_observed`` is null.
        declined_unlabelled: Those of them without a label, which are in the set only if that means the negative class.
        explored: Rows that would have been declined, but were explored: ``p_observed`` is the propensity.
        other_policy: Explored rows that were decided by another threshold than the definition has now, so that nobody
            knows whether they would have been declined: ``p_observed`` is null.
        negatives: Rows of the negative class; None unless the task is binary.
        unknown_share: The share of ``declined_unlabelled`` among the negatives.
    """

    hidden_by: str | None
    declined: int
    declined_unlabelled: int
    explored: int
    other_policy: int
    negatives: int | None
    unknown_share: float | None


class Probe(_Frozen):
    """Two small models, of the vectors and of the same moved one event ahead for each entity, on the same later rows.

    ``difference`` is by how much the moved vectors score better (AUC, of a regression R²), ``low`` and ``high`` are its
    interval: 1 % lie below, 1 % above.
    """

    verdict: Verdict
    reason: str | None = None
    measure: Literal["AUC", "R²"] | None = None
    rows: int | None = None
    own: float | None = None
    moved: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


class LeakCheck(_Frozen):
    """Whether features saw their future.

    Args:
        verdict: ``failed`` if a row has, or the probe failed.
        saw_future: Rows whose ``known_at`` is later than any event that could have been there.
        examples: The first of them.
        late: Rows whose ``known_at`` is after their event: events of the entity that happened later had come before.
        latest_ms: By how much at most.
        labels_before_event: Rows whose label was known before the event happened.
        probe: The probe.
    """

    verdict: Verdict
    saw_future: int
    examples: tuple[str, ...]
    late: int
    latest_ms: int
    labels_before_event: int
    probe: Probe


class TrainingSetManifest(_WithoutEmpty):
    """All that is known of a training set; it depends on nothing but its inputs.

    Args:
        pipeline: The pipeline's name.
        model: The name of the model whose inputs the columns are.
        request: What was asked for.
        until_ms: The time up to which things were known; with a horizon at most what the labels had reached.
        labels: The labels' declaration.
        inputs: The columns of inputs, in the model's order.
        categories: Those that hold the codes of categories.
        views: ``version:hash`` of each view.
        plan: The hash of the pipeline's plan.
        rows: The rows.
        classes: The classes of several, sorted.
        data_hash: The SHA-256 of all that a model learns from, as manifests of models have it.
        parts: The files.
        splits: The parts by time.
        counts: What was read and left out.
        label_sources: What was read of each topic of labels, and how many rows have its label, if there are several.
        offsets: Which offsets of each topic were read, by partition: the first, and the end.
        backfill: The identity of the backfill that has the features (:class:`backfill.manifest.BackfillManifest`); None
            for those of predictions, and in sets of releases that did not keep it.
        versions: How many rows each version of the model scored; empty for recomputed features.
        arrival: How fast labels came.
        selection: Outcomes that decisions hide.
        leak_check: The leak check.
        libraries: The versions of what wrote it.
    """

    format: Literal[1] = 1
    pipeline: str
    model: str
    request: Request
    until_ms: int | None
    labels: LabelRule
    inputs: tuple[str, ...]
    categories: tuple[str, ...]
    views: Mapping[str, str]
    plan: str
    rows: int
    classes: tuple[str, ...]
    data_hash: str
    parts: tuple[SetPart, ...]
    splits: Mapping[str, Split]
    counts: SetCounts
    label_sources: Mapping[str, SourceCounts] = {}
    offsets: Mapping[str, Mapping[int, tuple[int, int]]]
    backfill: str | None = None
    versions: Mapping[str, int]
    arrival: tuple[Arrival, ...]
    selection: Selection
    leak_check: LeakCheck
    libraries: Mapping[str, str]

    def save(self, folder: Path) -> None:
        """Write it atomically: a folder with a manifest is complete."""
        write_durably(folder, FILE_NAME, self.model_dump_json(indent=2) + "\n")


def load_set_manifest(folder: Path) -> TrainingSetManifest | None:
    """The manifest in a folder, or None if there is none.

    Raises:
        PenstockError: if the file cannot be read, or is of something else.
    """
    path = folder / FILE_NAME
    try:
        return TrainingSetManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise PenstockError(
            "the folder has a manifest that is not of a training set of this release",
            where=str(path),
            safe="nothing was changed",
            next="give the folder of a training set; or another one with --out, to build a set",
        ) from error
