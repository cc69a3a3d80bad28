"""What has become of the labels of each source, of several: how many count, and how many give way to others. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backfill.label_status.reading import LabelColumns


@dataclass(frozen=True)
class SourceCounts:
    """What has come of a source of labels.

    Args:
        topic: Its topic.
        read: All its labels that could be read, of whatever event.
        refused: Records that are no label.
        reached_ms: The time that its labels have reached; None without any.
        events: Events of the range whose label is of this source.
        overruled: Events of the range that have a label of this source, and one of a source before it.
        differs: Those of them of which the two say different things.
    """

    topic: str
    read: int
    refused: int
    reached_ms: int | None
    events: int
    overruled: int
    differs: int


def first_known(finals: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Of each event the value of the first source that has one; NaN if none has."""
    found = finals[0]
    for final in finals[1:]:
        found = np.where(np.isnan(found), final, found)
    return found


def source_counts(finals: Sequence[NDArray[np.float64]], labels: Sequence[LabelColumns]) -> tuple[SourceCounts, ...]:
    """The counts of each source; ``finals`` are what each says of the events."""
    found = []
    before = np.full(len(finals[0]), np.nan)
    for final, of in zip(finals, labels, strict=True):
        says = ~np.isnan(final)
        overruled = says & ~np.isnan(before)
        found.append(
            SourceCounts(
                topic=of.topic,
                read=len(of.rows),
                refused=of.refused,
                reached_ms=of.reached_ms,
                events=int((says & ~overruled).sum()),
                overruled=int(overruled.sum()),
                differs=int((overruled & (final != before)).sum()),
            )
        )
        before = first_known([before, final])
    return tuple(found)
