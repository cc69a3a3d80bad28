"""The split of a training set into what a model is fitted to, and the latest events, which validate it. Pure."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from penstock.counts import counted
from penstock.errors import PenstockError
from scoring.training_set import TrainingSet

_VALIDATION_SHARE = 0.2
# With fewer rows an AUC is meaningless; required of both classes on both sides of the split.
_LEAST_PER_CLASS = 10
_LEAST_VALUES = 20
_CLASSES_SHOWN = 10


def split(training_set: TrainingSet) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the earlier and the later rows, the latest fifth; events of the same time stay together.

    Raises:
        PenstockError: if either part has fewer than ten positive or ten other events, or the earlier one fewer than ten
            of any class; for a regression, if either has fewer than twenty events, or one value only, or a value is
            too large for a score.
    """
    rows = len(training_set)
    where = f"{counted(rows, 'labelled event')}; read: {_format_counts(training_set)}"
    more = _advice(training_set)
    if rows == 0:
        raise PenstockError("no event has a label yet", where=where, next=more)
    later = training_set.event_times >= training_set.event_times[int(rows * (1 - _VALIDATION_SHARE))]
    if training_set.task == "regression":
        _require_values(training_set, later, where, more)
    else:
        _require_classes(training_set, later, where, more)
    return ~later, later


def _require_values(training_set: TrainingSet, later: NDArray[np.bool_], where: str, more: str) -> None:
    greatest = int(np.argmax(np.abs(training_set.y)))
    if abs(training_set.y[greatest]) > np.finfo(np.float32).max:
        raise PenstockError(
            f"the label of event {training_set.event_ids[greatest]} is {training_set.y[greatest]:g}, but scores are "
            "float32 and end at 3.4e+38",
            where=where,
            next="withdraw the label by a null one, or train with an earlier --until",
            kept="a label is too large: scores are float32",
        )
    for part, mask in (("earlier", ~later), ("later", later)):
        values = training_set.y[mask]
        if len(values) < _LEAST_VALUES or len(np.unique(values)) < 2:
            raise PenstockError(
                f"too few labels: the {part} part of the set has {counted(len(values), 'event')} with "
                f"{counted(len(np.unique(values)), 'value')}, at least {_LEAST_VALUES} with two are needed",
                where=where,
                next=more,
            )


def _require_classes(training_set: TrainingSet, later: NDArray[np.bool_], where: str, more: str) -> None:
    rows, truth = len(training_set), training_set.truth
    positives = int(truth.sum())
    where = where.replace(";", f", {positives} positive;", 1)
    if training_set.task == "multiclass" and not positives:
        shown = ", ".join(map(repr, training_set.classes[:_CLASSES_SHOWN]))
        others = len(training_set.classes) - _CLASSES_SHOWN
        raise PenstockError(
            f"no label is {training_set.positive!r}, which Labels(positive=...) names; the classes are {shown}"
            + (f" and {counted(others, 'other')}" if others > 0 else ""),
            where=where,
            next=f"correct Labels(positive=...); if {training_set.positive!r} is right, {more}",
            kept="no label is of the class that Labels(positive=...) names",
        )
    if positives in (0, rows):
        raise PenstockError(
            f"all labels are of one class ({'positive' if positives else 'negative'}): there is nothing to tell apart",
            where=where,
            next=more,
        )
    for part, mask in (("earlier", ~later), ("later", later)):
        ones = int(truth[mask].sum())
        zeros = int(mask.sum()) - ones
        if min(ones, zeros) < _LEAST_PER_CLASS:
            raise PenstockError(
                f"too few labels: the {part} part of the set has {ones} positive and {zeros} negative events, "
                f"at least {_LEAST_PER_CLASS} of each are needed",
                where=where,
                next=more,
            )
    for place, name in enumerate(training_set.classes):
        if (number := int((training_set.y[~later] == place).sum())) < _LEAST_PER_CLASS:
            raise PenstockError(
                f"too few labels: the earlier part of the set has {counted(number, 'event')} of class {name!r}, "
                f"at least {_LEAST_PER_CLASS} are needed",
                where=where,
                next=more,
                kept="too few labels: the earlier part of the set has too few events of a class",
            )


def _advice(training_set: TrainingSet) -> str:
    """What to do if labels are missing."""
    more = "let more events and labels arrive, or train with a later --until"
    if training_set.task != "binary" or not training_set.values_refused:
        return more
    refused = counted(training_set.values_refused, "label")
    return (
        f'{refused} left out, as neither 0 nor 1: declare Labels(task="regression") if labels are values, or '
        f'task="multiclass" with positive=... if they are classes; otherwise {more}'
    )


def _format_counts(training_set: TrainingSet) -> str:
    counts = {name: number for name, number in asdict(training_set.counts).items() if number}
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in counts.items()) or "nothing"
