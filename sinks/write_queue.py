"""The batches of a sink, in their order, from when they are read until the store has acknowledged them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import wait
from typing import Generic

from penstock.kafka.lag import Partition
from sinks.batch import Batch
from sinks.dead_letter_producer import DeadLetterProducer
from sinks.sink_metrics import SinkMetrics
from sinks.store_interface import Decoded, OffsetMark, Store


class WriteQueue(Generic[Decoded]):
    """Writes batches, several at once, and gives them back in their order.

    Attributes:
        expected: Up to where the store must hold each partition before the next write.
    """

    def __init__(self, store: Store[Decoded], dead_letters: DeadLetterProducer, metrics: SinkMetrics) -> None:
        self.expected: dict[Partition, int] = {}
        self._store = store
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._batches: deque[Batch[Decoded]] = deque()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def records(self) -> int:
        """How many records are not acknowledged."""
        return sum(len(batch.records) for batch in self._batches)

    def add(self, batch: Batch[Decoded]) -> None:
        """Put a batch behind the others; its partitions' offsets become known before it is started."""
        self._batches.append(batch)

    def start(self) -> None:
        """Begin the writes that are not begun.

        Raises:
            StoreUnavailable: if the store or Kafka, which takes the dead letters, does not accept one.
        """
        for batch in self._batches:
            if batch.write is None:
                self._start(batch)

    def acknowledged(self, in_flight: int) -> Iterator[tuple[Batch[Decoded], Mapping[Partition, int]]]:
        """The batches of the writes that were begun, each once it is acknowledged, until ``in_flight`` are left.

        With each come the partitions that the store has lost, and up to where it holds them: they are no more part of
        the batch, and must be dropped from the others.

        Raises:
            StoreUnavailable: if a write failed; its batch stays the first.
        """
        while len(self._batches) > in_flight and (write := self._batches[0].write) is not None:
            result = write.result()
            batch = self._batches.popleft()
            lost = {partition: held for partition, held in result.items() if partition in batch.parts}
            batch.drop(lost)
            for (topic, _), part in batch.parts.items():
                self._metrics.count_records(topic, "written", len(part.decoded))
            yield batch, lost

    def withdraw(self) -> None:
        """After a failure: let all writes end, to begin them again. A batch after the failed one may be written."""
        wait([batch.write for batch in self._batches if batch.write is not None])
        for batch in self._batches:
            batch.write = None

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget the records of these partitions; those on their way may be written, but are not acknowledged."""
        for batch in self._batches:
            batch.drop(partitions)

    def _start(self, batch: Batch[Decoded]) -> None:
        self._publish_dead_letters(batch)
        if not batch.marks:
            batch.marks = {p: OffsetMark(self.expected[p], part.end) for p, part in batch.parts.items()}
            self.expected.update({p: part.end for p, part in batch.parts.items()})
        records = batch.records
        stop_clock = self._metrics.start_write(len(records))
        try:
            batch.write = self._store.write(records, batch.marks)
        except BaseException:
            stop_clock()
            raise
        batch.write.add_done_callback(lambda _: stop_clock())

    def _publish_dead_letters(self, batch: Batch[Decoded]) -> None:
        """Publish and count the batch's dead letters; a write that is repeated does not publish them again."""
        self._dead_letters.publish([letter for part in batch.parts.values() for letter in part.dead_letters])
        for (topic, _), part in batch.parts.items():
            self._metrics.count_records(topic, "dead_letter", len(part.dead_letters))
            part.dead_letters.clear()
