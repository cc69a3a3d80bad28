"""The profile: what the counts of features say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from backfill.profiling.bins import MINUS_INFINITY, NULL, Bar, Bins, Number, Scale
from backfill.profiling.columns import Column
from backfill.profiling.counting import Count, Counted
from backfill.profiling.statistics import (
    NO_INTERVAL,
    Counts,
    Information,
    Numbers,
    alike,
    auc,
    information,
    merged,
    neighbours,
    pairs_beyond,
    psi,
    psi_by_chance,
    rank_correlation,
    spearman,
)
from scoring.gates.statistics import Interval
from streams.definitions.labels import Task

QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
REFERENCE = 5
"""So many slices, the first, are what the later ones are compared with."""
LEAST_ROWS = 100
"""Nothing is said of the change in a slice with fewer rows."""
SMALL, LARGE = 0.1, 0.25
"""The usual limits of the index: below the first a change is small, from the second on it is large."""
ALIKE = 0.95
MOST_AMONG = 0.5
"""The differences of the first slices among each other excuse no larger ones: what always changes, changes."""
_ALPHA = 0.05
_FALSE_ALARM = 0.01
"""The chance that a page of independent, unchanging features names one as changed."""
_CHANGE_GROUPS, _WORTH_GROUPS = 10, 20
_LEAST_OF_CLASS, _LEAST_LABELLED = 10, 200
_CORRELATED_ROWS = 10_000
_TOO_GOOD, _TOO_MUCH = 0.99, 0.95


class Change(Enum):
    """How a slice differs from the first ones."""

    REFERENCE = "reference"
    TOO_SMALL = "too small"
    SAME = "same"
    MOVED = "moved"
    FAR = "far"


@dataclass(frozen=True)
class Slice:
    """A feature in one slice of time.

    ``psi`` compares it with the first slices. It is a change if it is more than ``limit``, which it exceeds by chance,
    or as the first slices among each other, hardly ever. Both are None where there is nothing to compare. ``worth`` is
    None without labels or with too few.
    """

    rows: int
    null_share: float
    median: Number | None
    p90: Number | None
    psi: float | None
    limit: float | None
    change: Change
    worth: Interval | None


@dataclass(frozen=True)
class Worth:
    """What a feature alone says of the label.

    ``measure`` is what ``value`` is: the AUC of a binary label, Spearman's correlation with a value, or the share of
    information. ``too_good``: nearly the label itself.
    """

    measure: str
    value: Interval
    information: Information
    labelled: int
    too_good: bool

    @property
    def strength(self) -> float:
        """From 0 for none to 1 for all, whatever the direction."""
        value = self.value.estimate
        if np.isnan(value):
            return 0.0
        return abs(2 * value - 1) if self.measure == "AUC" else abs(value)


@dataclass(frozen=True)
class Profile:
    """One feature. ``commonest`` is the value that most rows have, with their number, if it is a common one.

    ``among`` is how far the first slices differ among each other, by the index. ``quantiles`` are those of
    :data:`QUANTILES`, empty for texts. ``top`` has the common texts with their rows, and ``distinct`` their number; of
    personal data ``top`` is empty.
    """

    column: Column
    rows: int
    nulls: int
    not_numbers: int
    least: Number | None
    most: Number | None
    slices: tuple[Slice, ...]
    among: float
    worth: Worth | None
    infinities: tuple[int, int] = (0, 0)
    quantiles: tuple[Number | None, ...] = ()
    bars: tuple[Bar, ...] = ()
    scale: Scale | None = None
    commonest: tuple[Number | str | None, int] | None = None
    distinct: int | None = None
    top: tuple[tuple[str, int], ...] = ()

    @property
    def present(self) -> int:
        """The rows with a value."""
        return self.rows - self.nulls

    @property
    def is_constant(self) -> bool:
        """Whether all values are the same. Lists of one length are not."""
        if self.column.kind == "list" or not self.present:
            return False
        return self.distinct == 1 if self.distinct is not None else self.least == self.most and not any(self.infinities)

    @property
    def common_share(self) -> float:
        """The share of the commonest value among the rows with a value; 0 if none is common."""
        return self.commonest[1] / self.present if self.commonest else 0.0

    @property
    def drifted(self) -> bool:
        """Whether a slice differs from the first ones."""
        return any(one.change in (Change.MOVED, Change.FAR) for one in self.slices)


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlations of the numeric features that are not constant, similar ones next to each other.

    ``groups`` are those that say the same, ``pairs`` the number of pairs with more than :data:`ALIKE`.
    """

    names: tuple[str, ...]
    matrix: Numbers
    rows: int
    groups: tuple[tuple[str, ...], ...]
    pairs: int


@dataclass(frozen=True)
class Profiles:
    """All features of a source. ``begins`` are the begins of the slices and the end of the last, in epoch ms."""

    rows: int
    begins: tuple[int, ...]
    sampled: int
    task: Task | None
    classes: tuple[tuple[str, int], ...]
    features: tuple[Profile, ...]
    correlation: Correlation


def measure(count: Count) -> Profiles:
    """The profile of counted features."""
    task = None if count.classes is None else count.classes.task
    alpha = _FALSE_ALARM / (len(count.features) * (len(count.begins) - 1 - REFERENCE))
    features = tuple(_profile(one, task, alpha) for one in count.features)
    classes: tuple[tuple[str, int], ...] = ()
    if count.classes is not None:
        rows = count.features[0].counts.sum(axis=(0, 1))[1:].tolist()
        classes = tuple(zip(count.classes.names, rows, strict=True))
    return Profiles(count.rows, count.begins, count.sampled, task, classes, features, _correlation(count))


def _profile(counted: Counted, task: Task | None, alpha: float) -> Profile:
    column, coding = counted.column, counted.coding
    by_slice = counted.counts.sum(axis=2)
    values = by_slice.sum(axis=0)
    slices, among = _slices(counted, by_slice, task, alpha)
    profile = Profile(
        column=column,
        rows=int(values.sum()),
        nulls=int(values[NULL]),
        not_numbers=counted.not_numbers,
        least=counted.least,
        most=counted.most,
        slices=slices,
        among=among,
        worth=None if task is None else _worth(counted, task),
    )
    if isinstance(coding, Bins):
        return replace(
            profile,
            infinities=(int(values[MINUS_INFINITY]), int(values[-1])),
            quantiles=tuple(coding.quantile(values, q) for q in QUANTILES),
            bars=coding.histogram(values),
            scale=coding.scale,
            commonest=coding.commonest(values),
        )
    commonest = coding.top[0] if coding.top else None
    if column.personal:
        return replace(profile, distinct=coding.distinct, commonest=commonest and (None, commonest[1]))
    return replace(profile, distinct=coding.distinct, commonest=commonest, top=coding.top)


def _slices(counted: Counted, by_slice: Counts, task: Task | None, alpha: float) -> tuple[tuple[Slice, ...], float]:
    coding, reference = counted.coding, by_slice[:REFERENCE]
    grouped = _grouped(by_slice, _groups(counted, reference.sum(axis=0), _CHANGE_GROUPS))
    known, first = grouped[:REFERENCE].sum(axis=0), grouped[:REFERENCE]
    usable = [part for part in first if part.sum() >= LEAST_ROWS]
    # What a day or the order of rows does without any change.
    among = max((psi(known - part, part) for part in usable if (known - part).sum() >= LEAST_ROWS), default=0.0)
    found = []
    for place, (values, part) in enumerate(zip(by_slice, grouped, strict=True)):
        rows = int(values.sum())
        index = limit = None
        if rows < LEAST_ROWS or known.sum() < LEAST_ROWS:
            change = Change.TOO_SMALL
        elif place < REFERENCE:
            change = Change.REFERENCE
        else:
            index = psi(known, part)
            chance = psi_by_chance(int(known.sum()), rows, len(known), alpha)
            limit = max(SMALL, chance, min(2 * among, MOST_AMONG))
            change = Change.SAME if index <= limit else Change.FAR if index >= LARGE else Change.MOVED
        found.append(
            Slice(
                rows=rows,
                null_share=float(values[NULL] / rows) if rows else 0.0,
                median=coding.quantile(values, 0.5) if isinstance(coding, Bins) else None,
                p90=coding.quantile(values, 0.9) if isinstance(coding, Bins) else None,
                psi=index,
                limit=limit,
                change=change,
                worth=None if task is None else _value(counted, counted.counts[place, :, 1:], task),
            )
        )
    return tuple(found), among


def _groups(counted: Counted, values: Counts, count: int) -> list[int]:
    """For each code its group: null, then the other codes, those of texts each by itself."""
    if isinstance(counted.coding, Bins):
        return [0, *(1 + group for group in merged(values[1:], count))]
    last = len(values) - 1
    return [min(code, count) if code < last else count for code in range(len(values))]


def _grouped(table: Counts, groups: Sequence[int]) -> Counts:
    """Sum the codes of each group, [..., codes] to [..., groups]; groups that are never filled are left out."""
    found = np.stack([table[..., np.array(groups) == group].sum(axis=-1) for group in range(max(groups) + 1)], axis=-1)
    kept: Counts = found[..., found.reshape(-1, found.shape[-1]).sum(axis=0) > 0]
    return kept


def _worth(counted: Counted, task: Task) -> Worth:
    table = counted.counts[:, :, 1:].sum(axis=0)
    groups = _groups(counted, table.sum(axis=1), _WORTH_GROUPS)
    said = information(_grouped(table.T, groups).T, _ALPHA)
    value = _value(counted, table, task)
    measure = _measure(counted, task)
    worth = Worth(measure, NO_INTERVAL if value is None else value, said, int(table.sum()), too_good=False)
    enough = int((table.sum(axis=0) >= _LEAST_OF_CLASS).sum()) >= 2 and worth.labelled >= _LEAST_OF_CLASS
    limit = 2 * _TOO_GOOD - 1 if measure == "AUC" else _TOO_GOOD
    too_good = enough and (worth.strength > limit or said.share.estimate > _TOO_MUCH)
    return Worth(worth.measure, worth.value, said, worth.labelled, too_good)


def _measure(counted: Counted, task: Task) -> str:
    if isinstance(counted.coding, Bins) and task == "binary":
        return "AUC"
    return "Spearman" if isinstance(counted.coding, Bins) and task == "regression" else "information"


def _value(counted: Counted, table: Counts, task: Task) -> Interval | None:
    """The measure on a table of codes and labels; None with too few rows."""
    measure, values = _measure(counted, task), table[1:]
    if measure == "AUC":
        enough = values.sum(axis=0).min(initial=2**62) >= _LEAST_OF_CLASS
        return auc(values[:, 0], values[:, 1], _ALPHA) if enough else None
    if measure == "Spearman":
        found = rank_correlation(values, _ALPHA) if values.sum() >= _LEAST_LABELLED else None
        return None if found is None or np.isnan(found.estimate) else found
    if table.sum() < _LEAST_LABELLED:
        return None
    share = information(_grouped(table.T, _groups(counted, table.sum(axis=1), _WORTH_GROUPS)).T, _ALPHA).share
    return None if np.isnan(share.estimate) else share


def _correlation(count: Count) -> Correlation:
    rows = min(count.sampled, _CORRELATED_ROWS)
    chosen = np.arange(rows) * count.sampled // max(rows, 1)
    names, columns = [], []
    for one in count.features:
        if one.sample is not None and one.column.kind != "list":
            values = one.sample[chosen]
            present = values[~np.isnan(values)]
            if len(present) and present.min() < present.max():
                names.append(one.column.name)
                columns.append(values)
    matrix = spearman(np.stack(columns, axis=1)) if columns else np.empty((0, 0))
    order = neighbours(matrix)
    matrix, names = matrix[np.ix_(order, order)], [names[place] for place in order]
    groups = tuple(tuple(names[place] for place in group) for group in alike(matrix, ALIKE))
    return Correlation(tuple(names), matrix, rows, groups, len(pairs_beyond(matrix, ALIKE)))
