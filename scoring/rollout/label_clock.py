"""Up to which time a controller has read all labels: only then is an event without a label one that has none. Pure.

What was read of labels does not tell by itself: their partitions are read at different speeds, and one that has had no
label for days is not behind. So where the topic ends is measured now and then. Whoever has read up to there has read
all labels that were written before any label that was read when that was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from penstock.kafka.lag import Partition
from scoring.label_maturity import reached
from scoring.rollout.observations import Label


class LabelCut(NamedTuple):
    """What is known of the topics of labels at a moment.

    Args:
        until_ms: The time that the labels had reached which were read before; None if there was none.
        ends: Where their partitions ended afterwards.
    """

    until_ms: int | None
    ends: Mapping[Partition, int]


class LabelClock:
    """Compares what was read with cuts.

    Attributes:
        reached_ms: The time that the labels have reached which were read so far, whatever is still to be read.
    """

    def __init__(self) -> None:
        self.reached_ms: int | None = None
        self._cut: LabelCut | None = None

    def saw(self, labels: Iterable[Label]) -> None:
        """Labels that were read."""
        newest = reached((one.time_ms, one.received_ms if one.received_ms >= 0 else None) for one in labels)
        if newest is not None:
            self.reached_ms = newest if self.reached_ms is None else max(newest, self.reached_ms)

    def add(self, cut: LabelCut | None) -> None:
        """Take a new cut, unless the last one has not been reached yet."""
        if self._cut is None:
            self._cut = cut

    def complete(self, positions: Mapping[Partition, int]) -> int | None:
        """The time up to which all labels have been read, in epoch ms; None if no cut was reached.

        Args:
            positions: The offset of the next record to read, of each partition of the topics of labels.
        """
        cut = self._cut
        if cut is None or any(positions.get(partition, -1) < end for partition, end in cut.ends.items()):
            return None
        self._cut = None
        return cut.until_ms
