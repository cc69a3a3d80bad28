"""Reads all rows twice, in batches: first for a sample and the extremes, then to count every value in its bin.

Memory is that of one batch, the sample and the counts: it does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backfill.profiling.bins import Bins, Number, Values, choose_bins, number
from backfill.profiling.columns import Column
from backfill.profiling.labels import Classes, Labels, choose_classes
from backfill.profiling.source import Source, epoch_ms
from backfill.profiling.statistics import Counts
from backfill.profiling.texts import Texts, count_texts
from streams.definitions.labels import Task

SLICES = 20
SAMPLE = 50_000

Coding = Bins | Texts


@dataclass(frozen=True)
class Counted:
    """One feature, counted.

    ``counts`` is int64 [slices, codes, classes]: its rows by time, by value as :class:`Bins` or :class:`Texts` code
    it, and by label. ``sample`` has its values in the sampled rows, as float64 with NaN for null, in an order-keeping
    form; None for texts. ``least`` and ``most`` are its extremes, infinities left out; ``not_numbers`` counts NaN.
    """

    column: Column
    coding: Coding
    counts: Counts
    sample: NDArray[np.float64] | None
    least: Number | None
    most: Number | None
    not_numbers: int


@dataclass(frozen=True)
class Count:
    """All features, counted.

    ``begins`` are the first moments of the slices of event time, and at last the moment after all, in epoch ms.
    ``classes`` are those of labels; None without labels. ``sampled`` is the number of rows in the sample.
    """

    rows: int
    begins: tuple[int, ...]
    classes: Classes | None
    sampled: int
    features: tuple[Counted, ...]


@dataclass
class _Survey:
    """What the first reading finds of one numeric feature."""

    values: list[Values] = field(default_factory=list)
    valid: list[NDArray[np.bool_]] = field(default_factory=list)
    least: Number | None = None
    most: Number | None = None
    not_numbers: int = 0

    def add(self, values: Values, valid: NDArray[np.bool_], chosen: NDArray[np.int64]) -> None:
        self.values.append(values[chosen])
        self.valid.append(valid[chosen])
        if values.dtype.kind == "f":
            self.not_numbers += int((np.isnan(values) & valid).sum())
            valid = valid & np.isfinite(values)
        present = values[valid]
        if len(present):
            least, most = number(present.min()), number(present.max())
            self.least = least if self.least is None else min(least, self.least)
            self.most = most if self.most is None else max(most, self.most)

    def bins(self) -> Bins:
        values, valid = np.concatenate(self.values), np.concatenate(self.valid)
        if values.dtype.kind == "f":
            valid = valid & np.isfinite(values)
        return choose_bins(values[valid], self.least, self.most)

    def in_order(self) -> NDArray[np.float64]:
        """The sampled values, as numbers of the same order: those of integers beyond 2^53 would not be."""
        values, valid = np.concatenate(self.values), np.concatenate(self.valid)
        if values.dtype.kind == "f":
            valid = valid & ~np.isnan(values)
        places = np.full(len(values), np.nan)
        places[valid] = np.unique(values[valid], return_inverse=True)[1]
        return places


def count(source: Source, columns: Sequence[Column], labels: Labels | None, task: Task | None, seed: int) -> Count:
    """Count the features of a source.

    Args:
        source: The rows.
        columns: The features.
        labels: The labels of the rows, if they have any.
        task: What the labels are; None without labels.
        seed: Of the sample: the same rows and seed give the same sample.

    Raises:
        PenstockError: if a file cannot be read.
    """
    sampled = min(SAMPLE, source.rows)
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.choice(source.rows, sampled, replace=False, shuffle=False))
    read = list(dict.fromkeys(["event_time", *(labels.columns if labels else ()), *(one.name for one in columns)]))
    surveys = {one.name: _Survey() for one in columns if not one.is_text}
    truths: list[Any] = []
    first, last, row = np.iinfo(np.int64).max, np.iinfo(np.int64).min, 0
    for batch in source.batches(read):
        times = epoch_ms(batch.column("event_time"))
        first, last = min(first, pc.min(times).as_py()), max(last, pc.max(times).as_py())
        begin, end = chosen.searchsorted([row, row + batch.num_rows])
        inside = chosen[begin:end] - row
        for name, survey in surveys.items():
            survey.add(*numbers(batch.column(name)), inside)
        if labels is not None:
            truths += [one for one in labels.of(batch.take(pa.array(inside))) if one is not None]
        row += batch.num_rows
    with TemporaryDirectory(prefix="penstock-profile-") as spill:
        texts = count_texts(source.files, [one.name for one in columns if one.is_text], Path(spill))
    codings: dict[str, Coding] = {**{name: survey.bins() for name, survey in surveys.items()}, **texts}
    classes = None if task is None else choose_classes(task, truths)
    begins = (*(first + (last - first + 1) * place // SLICES for place in range(SLICES)), last + 1)
    counts = _counts(source, read, codings, begins, labels, classes)
    features = []
    for column in columns:
        survey = surveys.get(column.name) or _Survey()
        sample = survey.in_order() if column.name in surveys else None
        coding, counted = codings[column.name], counts[column.name]
        features.append(Counted(column, coding, counted, sample, survey.least, survey.most, survey.not_numbers))
    return Count(source.rows, begins, classes, sampled, tuple(features))


def numbers(values: pa.Array) -> tuple[Values, NDArray[np.bool_]]:
    """The numbers of a column, int64 or float64, and which are not null: of a list its length, of a boolean 0 or 1."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = pc.list_value_length(values)
    whole = not pa.types.is_floating(values.type)
    valid: NDArray[np.bool_] = values.is_valid().to_numpy(zero_copy_only=False)
    plain = pc.cast(values, pa.int64() if whole else pa.float64()).fill_null(0)
    return plain.to_numpy(zero_copy_only=False), valid


def _counts(
    source: Source,
    read: Sequence[str],
    codings: dict[str, Coding],
    begins: Sequence[int],
    labels: Labels | None,
    classes: Classes | None,
) -> dict[str, Counts]:
    kinds = 1 if classes is None else classes.size
    shapes = {name: (SLICES, coding.size, kinds) for name, coding in codings.items()}
    found = {name: np.zeros(shape, np.int64) for name, shape in shapes.items()}
    for batch in source.batches(read):
        times = epoch_ms(batch.column("event_time")).to_numpy(zero_copy_only=False)
        # Empty slices, of a range shorter than 20 ms, begin where the next one does.
        slices = np.searchsorted(np.array(begins[1:]), times, side="right")
        truth = 0 if labels is None or classes is None else classes.codes(labels.of(batch))
        for name, coding in codings.items():
            column = batch.column(name)
            codes = coding.codes(column) if isinstance(coding, Texts) else coding.codes(*numbers(column))
            flat = (slices * coding.size + codes) * kinds + truth
            found[name] += np.bincount(flat, minlength=found[name].size).reshape(shapes[name])
    return found
