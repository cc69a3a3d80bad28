"""Reads topics as they are in Kafka, or as an archive and Kafka have them together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple, Protocol

import numpy as np
from confluent_kafka import KafkaException

from backfill.kafka_offsets import offsets_at
from penstock.errors import PenstockError
from penstock.home import set_or_correct
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag
from penstock.kafka.reading import Record, RecordsGoneError, read_topic
from penstock.kafka.topics import admin_client, partition_counts, topic_ids
from sinks.archive.reading import Archive

_log = logging.getLogger(__name__)

Range = tuple[int, int]
"""The first offset of a partition that can be read, and the end."""


class Topics(Protocol):
    """Where topics are read. All methods raise PenstockError if Kafka or the archive does not answer."""

    def names(self) -> set[str]:
        """The topics that there are."""

    def runs(self, topic: str) -> dict[int, list[Range]]:
        """What can be read of each partition of a topic, as of now: each run of offsets without a gap, in order.

        Raises:
            RecordsGoneError: if there is no such topic.
        """

    def ranges(self, topic: str) -> dict[int, Range]:
        """The last run of each partition: what lies before a gap counts as deleted.

        Raises:
            RecordsGoneError: if there is no such topic.
        """

    def starts(self, topic: str, time_ms: int, within: Mapping[int, Range] | None = None) -> dict[int, int]:
        """The first offset of each partition whose Kafka timestamp is at least this, epoch ms; its end if none is.

        ``within`` has a run of each partition; by default the last one.
        """

    def read(
        self, topic: str, *, start: Mapping[int, int] | None = None, end: Mapping[int, int] | None = None
    ) -> Iterator[Record]:
        """The records of the partitions in ``start``, or of all; see :class:`penstock.kafka.reading.ReadTopic`.

        Raises:
            RecordsGoneError: if a part of what is to be read is not there. What is read by default is the whole
                partition, so a gap between the archive and Kafka is such a part.
        """


def topics_of(kafka: KafkaAccess, archive: str | None = None) -> Topics:
    """The topics that Kafka has; with the folder or URL of an archive, also what only the archive still has.

    Raises:
        PenstockError: if the URL of the archive cannot be used.
    """
    return KafkaTopics(kafka) if archive is None else ArchivedTopics(Archive(archive), kafka)


class KafkaTopics:
    """The topics that Kafka has; see :class:`Topics`."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka

    def names(self) -> set[str]:
        """See :class:`Topics`."""
        return {*partition_counts(admin_client(self._kafka), self._kafka)}

    def runs(self, topic: str) -> dict[int, list[Range]]:
        """See :class:`Topics`."""
        return {number: [of] for number, of in self.ranges(topic).items()}

    def ranges(self, topic: str) -> dict[int, Range]:
        """See :class:`Topics`."""
        try:
            with Lag(self._kafka) as lag:
                first, ends = lag.earliest_offsets(topic), lag.end_offsets(topic)
        except KafkaException as error:
            raise PenstockError(
                f"topic {topic} cannot be read: {error.args[0].str()}", where=str(self._kafka), next="penstock status"
            ) from error
        if not ends:
            raise _no_topic(topic, str(self._kafka))
        return {partition: (first[partition], end) for partition, end in ends.items()}

    def starts(self, topic: str, time_ms: int, within: Mapping[int, Range] | None = None) -> dict[int, int]:
        """See :class:`Topics`."""
        return offsets_at(self._kafka, topic, self.ranges(topic) if within is None else within, time_ms)

    def read(
        self, topic: str, *, start: Mapping[int, int] | None = None, end: Mapping[int, int] | None = None
    ) -> Iterator[Record]:
        """See :class:`Topics`."""
        return read_topic(self._kafka, topic, start=start, end=end)


class ArchivedTopics:
    """Topics of an archive, and after it what only Kafka has; see :class:`Topics`.

    A topic that the archive lacks, such as dead letters, is Kafka's alone; one that Kafka no longer has, the archive's.
    So is one that was made anew since: its offsets mean other records. Kafka is not asked for what the archive has.

    Args:
        archive: The archive.
        kafka: How to reach Kafka.
    """

    def __init__(self, archive: Archive, kafka: KafkaAccess) -> None:
        self._archive, self._kafka, self._of_kafka = archive, kafka, KafkaTopics(kafka)
        self._names: set[str] | None = None
        self._made_anew: dict[str, bool] = {}

    def names(self) -> set[str]:
        """See :class:`Topics`."""
        return self._archived_names() | self._of_kafka.names()

    def runs(self, topic: str) -> dict[int, list[Range]]:
        """See :class:`Topics`."""
        return self._joined(topic, self._archived(topic), self._held(topic))

    def ranges(self, topic: str) -> dict[int, Range]:
        """See :class:`Topics`."""
        return {number: of[-1] for number, of in self.runs(topic).items()}

    def starts(self, topic: str, time_ms: int, within: Mapping[int, Range] | None = None) -> dict[int, int]:
        """See :class:`Topics`."""
        archived, ranges = self._archived(topic), self.ranges(topic) if within is None else within
        if time_ms <= 0:
            return {number: first for number, (first, _) in ranges.items()}
        found = {number: end for number, (_, end) in ranges.items()}
        in_kafka = [number for number, end in found.items() if end > _end(archived.get(number, ()))]
        if in_kafka:
            of_kafka = self._of_kafka.starts(topic, time_ms)
            found |= {number: max(of_kafka[number], _end(archived.get(number, ()))) for number in in_kafka}
        for batch in self._archive.batches(topic, ["_partition", "_offset"], from_ms=time_ms) if archived else ():
            partitions, offsets = batch["_partition"].to_numpy(), batch["_offset"].to_numpy()
            for number in np.unique(partitions).tolist():
                first, end = ranges.get(number, (0, 0))
                of_run = offsets[(partitions == number) & (offsets >= first) & (offsets < end)]
                if len(of_run):
                    found[number] = min(found[number], int(of_run.min()))
        return found

    def read(
        self, topic: str, *, start: Mapping[int, int] | None = None, end: Mapping[int, int] | None = None
    ) -> Iterator[Record]:
        """See :class:`Topics`. The records of a partition come in the order of their offsets."""
        archived = self._archived(topic)
        ranges = {}
        if start is None or end is None:
            held = self._held(topic)
            ranges = {number: of[-1] for number, of in self._joined(topic, archived, held).items()}
            if start is None:
                _require_no_gap_between(topic, archived, held)
        starts = {number: first for number, (first, _) in ranges.items()} if start is None else start
        ends = {number: of[1] for number, of in ranges.items()} | dict(end or {})
        pieces = {
            number: pieces_of(archived.get(number, ()), at, ends.get(number, at))
            for number, at in sorted(starts.items())
        }
        self._require(topic, [(number, one) for number, of in pieces.items() for one in of if not one.is_archived])
        for turn in zip_longest(*([(number, one) for one in of] for number, of in pieces.items())):
            for is_archived in (True, False):
                now = {number: one for number, one in filter(None, turn) if one.is_archived is is_archived}
                if now:
                    bounds = {n: one.begin for n, one in now.items()}, {n: one.end for n, one in now.items()}
                    yield from self._piece(topic, *bounds, is_archived=is_archived)

    def _piece(
        self, topic: str, start: Mapping[int, int], end: Mapping[int, int], *, is_archived: bool
    ) -> Iterator[Record]:
        if is_archived:
            return self._archive.records(topic, start=start, end=end)
        return read_topic(self._kafka, topic, start=start, end=end)

    def _archived(self, topic: str) -> dict[int, list[Range]]:
        """What is archived of each partition; nothing if the archive lacks the topic."""
        return self._archive.ranges(topic) if topic in self._archived_names() else {}

    def _archived_names(self) -> set[str]:
        if self._names is None:
            self._names = {*self._archive.topics()}
            if not self._names:
                raise PenstockError(
                    "there is no archive, or one without topics",
                    where=self._archive.url,
                    safe="nothing was changed",
                    next="penstock archive run PIPELINE --out ARCHIVE; or read from Kafka alone: --source kafka",
                )
        return self._names

    def _held(self, topic: str) -> dict[int, Range]:
        """What Kafka has of each partition; nothing if it lacks the topic, or has another one of its name."""
        if topic not in self._of_kafka.names() or self._is_made_anew(topic):
            return {}
        return self._of_kafka.ranges(topic)

    def _is_made_anew(self, topic: str) -> bool:
        if topic not in self._made_anew:
            archived = self._archive.topic_id(topic) if topic in self._archived_names() else None
            now = None if archived is None else topic_ids(self._kafka, [topic]).get(topic)
            self._made_anew[topic] = now is not None and now != archived
            if self._made_anew[topic]:
                _log.warning("topic %s was made anew since it was archived: only the archive is read", topic)
        return self._made_anew[topic]

    def _joined(
        self, topic: str, archived: Mapping[int, Sequence[Range]], held: Mapping[int, Range]
    ) -> dict[int, list[Range]]:
        """What both have of each partition together, without the borders between adjacent ranges."""
        if not archived and not held:
            raise _no_topic(topic, f"{self._archive.url} and {self._kafka}")
        if not archived and any(first > 0 for first, _ in held.values()):
            _log.warning("the archive has no topic %s: it is read from Kafka, which has deleted a part of it", topic)
        return {
            number: _runs([*archived.get(number, ()), *([held[number]] if number in held else [])])
            for number in sorted({*archived, *held})
        }

    def _require(self, topic: str, wanted: Sequence[tuple[int, Piece]]) -> None:
        """Check that Kafka still has what the archive lacks."""
        held = self._held(topic) if wanted else {}
        for number, piece in wanted:
            first = held[number][0] if number in held else piece.end
            if piece.begin < first:
                raise _in_neither(topic, number, piece.begin, min(first, piece.end))


class Piece(NamedTuple):
    """A part of a partition: the offsets of [begin, end), and whether the archive has them."""

    begin: int
    end: int
    is_archived: bool


def pieces_of(archived: Sequence[Range], first: int, end: int) -> list[Piece]:
    """Part [first, end) into what is in the archive and what is not, in order. Pure."""
    found, at = list[Piece](), first
    for begin, stop in archived:
        if begin >= end or at >= end:
            break
        if stop > at:
            if begin > at:
                found.append(Piece(at, begin, False))
            found.append(Piece(max(at, begin), min(stop, end), True))
            at = min(stop, end)
    return [*found, Piece(at, end, False)] if at < end else found


def _runs(ranges: Sequence[Range]) -> list[Range]:
    """The runs of offsets that ranges cover together, in order; at least one, which may be empty."""
    (first, end), *others = sorted(ranges)
    found = [(first, end)]
    for begin, stop in others:
        first, end = found[-1]
        if begin <= end:
            found[-1] = first, max(end, stop)
        elif begin < stop:
            found.append((begin, stop))
    return found


def _require_no_gap_between(topic: str, archived: Mapping[int, Sequence[Range]], held: Mapping[int, Range]) -> None:
    for number, (first, _) in sorted(held.items()):
        of_archive = archived.get(number, ())
        if of_archive and first > _end(of_archive):
            raise _in_neither(topic, number, _end(of_archive), first)


def _end(archived: Sequence[Range]) -> int:
    return archived[-1][1] if archived else 0


def _no_topic(topic: str, where: str) -> RecordsGoneError:
    return RecordsGoneError(
        f"there is no topic {topic}",
        where=where,
        safe="nothing was changed",
        next=f"penstock topics create PIPELINE, or {set_or_correct('PENSTOCK_KAFKA_BOOTSTRAP')}",
    )


def _in_neither(topic: str, number: int, begin: int, end: int) -> RecordsGoneError:
    return RecordsGoneError(
        f"offsets {begin} to {end} are neither in the archive nor in Kafka",
        where=f"{topic}[{number}]",
        safe="nothing was changed",
        next="for a range after them: --source kafka; or penstock archive run PIPELINE --out ARCHIVE --skip-deleted, "
        "which archives what Kafka still has: what lies before the gap then counts as deleted",
    )
