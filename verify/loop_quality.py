"""The area under the ROC curve before drift, in it, and after a retrained version took over, by final labels. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

from streams.definitions.labels import Labels
from verify.labels import LabelHistory
from verify.published import Published

Stage: TypeAlias = Literal["before", "in", "after"]
_NORMAL_95 = 1.96


class Area(BaseModel):
    """An area under the ROC curve with its 95 % interval; ``events`` had a final label, ``positives`` of them are so.

    Source: Hanley and McNeil, Radiology 1982.
    """

    auc: float
    low: float
    high: float
    events: int
    positives: int


def area_of(truth: Sequence[bool], scores: Sequence[float]) -> Area | None:
    """The area of scores by labels; None if a class is missing."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - slow to import

    positives = sum(truth)
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    auc = float(roc_auc_score(truth, scores))
    both, other = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (both - auc * auc) + (negatives - 1) * (other - auc * auc)
    error = math.sqrt(max(variance, 0.0) / (positives * negatives))
    return Area(
        auc=round(auc, 4),
        low=round(max(0.0, auc - _NORMAL_95 * error), 4),
        high=round(min(1.0, auc + _NORMAL_95 * error), 4),
        events=len(truth),
        positives=positives,
    )


def with_final_labels(
    predictions: Iterable[Mapping[str, Any]], labels: Labels, history: LabelHistory
) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """The predictions whose label is final, by the declaration, and whether it is positive.

    Without a horizon, the label that is known in the end counts.

    Args:
        predictions: Decoded predictions.
        labels: The declaration of labels, of two classes.
        history: The labels.
    """
    positive = 1 if labels.positive is None else str(labels.positive)
    for value in predictions:
        if history.reached_ms is None or not math.isfinite(value["score"]):
            continue
        final_ms = history.reached_ms if labels.horizon is None else value["event_time"] + labels.horizon
        if final_ms > history.reached_ms:
            continue
        label = history.at(value["event_id"], final_ms)
        if label is None and labels.absent == "negative":
            label = 0 if positive == 1 else ""
        if label is not None:
            yield value, label == positive


def loop_quality(
    predictions: Iterable[Published],
    labels: Labels,
    history: LabelHistory,
    *,
    trained_until_ms: int,
    drift_from_ms: int,
    replaced: int,
    retrained: int,
) -> dict[Stage, Area]:
    """The area of each stage that has labels of both classes.

    Args:
        predictions: Those that were served.
        labels: The declaration of labels, of two classes.
        history: The labels.
        trained_until_ms: The event time up to which the replaced version was trained.
        drift_from_ms: The event time at which the drift begins.
        replaced: The version that scored before.
        retrained: The version that took over.
    """
    found: dict[Stage, tuple[list[bool], list[float]]] = {"before": ([], []), "in": ([], []), "after": ([], [])}
    for value, is_positive in with_final_labels((one.value for one in predictions), labels, history):
        version, time = value["model_version"], value["event_time"]
        if version == str(retrained):
            stage: Stage = "after"
        elif version == str(replaced) and time > trained_until_ms:
            stage = "in" if time >= drift_from_ms else "before"
        else:
            continue
        truth, scores = found[stage]
        truth.append(is_positive)
        scores.append(value["score"])
    areas = {stage: area_of(*of) for stage, of in found.items()}
    return {stage: area for stage, area in areas.items() if area is not None}
