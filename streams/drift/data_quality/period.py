"""The raw events of a good time, which can be read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from streams.drift.data_quality.raw_events import RawEvent, RawReader, RawRecord


class Period:
    """The events of one topic in a span of event time.

    Args:
        read: Gives all its records, the same ones each time, in the order of each partition's offsets.
        reader: Reads each.
        from_ms: The first event time, epoch ms; those before are left out.
        to_ms: The event time before which they are; None: no bound.
        ends: The offset after the last record, by partition.
    """

    def __init__(
        self,
        read: Callable[[], Iterable[RawRecord]],
        reader: RawReader,
        from_ms: int,
        to_ms: int | None,
        ends: dict[int, int],
    ) -> None:
        self._read, self._reader = read, reader
        self._from_ms, self._to_ms = from_ms, to_ms
        self.start = dict(ends)
        """The first offset of each partition that is not of the time but after it, once all was read."""

    def events(self) -> Iterator[RawEvent]:
        """The events; a record without an event time is of the time in which it stands."""
        within: dict[int, bool] = {}
        for record in self._read():
            event, number = self._reader.read(record), record.partition
            if event is None:
                continue
            time = event.event_time
            if time is not None:
                within[number] = self._from_ms <= time and (self._to_ms is None or time < self._to_ms)
                if self._to_ms is not None and time >= self._to_ms:
                    self.start[number] = min(self.start.get(number, record.offset), record.offset)
            if within.get(number, False):
                yield event
