"""How far labels and predictions have come: the clock of the join, made of what was read. Pure.

Labels have reached the latest time at which one became known, or that Kafka gave it if that is earlier. Predictions
have reached the latest time of an event. While a partition still has records to read, as after a start, the clock goes
no further than that partition has come: its records are of the past, and must not come too late.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Self

from penstock.kafka.lag import Partition
from streams.definitions.base import Definition


class Reached(Definition):
    """How far everything has come, epoch ms; None before anything has.

    Args:
        labels_ms: The labels that were read.
        predictions_ms: The predictions that were read.
        mature_ms: Events are mature that are a horizon older than this.
        forget_ms: Events are forgotten that are two horizons older than this.
    """

    labels_ms: int | None = None
    predictions_ms: int | None = None
    mature_ms: int | None = None
    forget_ms: int | None = None


class ReadingClock:
    """Follows what is read.

    Args:
        labels: The partitions of labels.
        everything: All partitions.
        reached: How far everything had come before; None if nothing had.
    """

    def __init__(
        self, labels: Collection[Partition], everything: Iterable[Partition], reached: Reached | None = None
    ) -> None:
        self._labels = frozenset(labels)
        self._behind = set(everything)
        self._come: dict[Partition, int] = {}
        self.reached = reached or Reached()

    def ahead(self, by_ms: int) -> frozenset[Partition]:
        """The partitions that have come further than the last one by more than this: they can wait for it.

        What is read of them would only wait in memory.
        """
        held = [self._come.get(partition) for partition in self._behind]
        if not held or None in held:
            return frozenset()
        last = min(time_ms for time_ms in held if time_ms is not None)
        return frozenset(p for p, time_ms in self._come.items() if time_ms > last + by_ms)

    def read(self, come: Mapping[Partition, int], records: Iterable[Partition], ended: Iterable[Partition]) -> Self:
        """Take in a batch.

        Args:
            come: The latest time in each partition's records.
            records: The partitions that had records.
            ended: The partitions of which nothing more is to be read now.
        """
        for partition, time_ms in come.items():
            self._come[partition] = max(self._come.get(partition, time_ms), time_ms)
        self._behind |= {*records}
        self._behind -= {*ended}
        labels_ms, predictions_ms = self.reached.labels_ms, self.reached.predictions_ms
        for partition, time_ms in come.items():
            if partition in self._labels:
                labels_ms = _latest(labels_ms, time_ms)
            else:
                predictions_ms = _latest(predictions_ms, time_ms)
        mature_ms, forget_ms = self.reached.mature_ms, self.reached.forget_ms
        held = [self._come.get(partition) for partition in self._behind]
        if labels_ms is not None and None not in held:
            mature_ms = _latest(mature_ms, min([labels_ms, *(time_ms for time_ms in held if time_ms is not None)]))
        if mature_ms is not None and predictions_ms is not None:
            forget_ms = _latest(forget_ms, min(mature_ms, predictions_ms))
        self.reached = Reached(
            labels_ms=labels_ms, predictions_ms=predictions_ms, mature_ms=mature_ms, forget_ms=forget_ms
        )
        return self


def _latest(held: int | None, time_ms: int) -> int:
    return time_ms if held is None else max(held, time_ms)
