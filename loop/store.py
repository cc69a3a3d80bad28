"""Reads and extends the log of a pipeline's incidents in Kafka."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from loop.entries import Entry, decode, encode
from loop.proposals import cloud_event
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import group_of
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.records import Produced
from penstock.kafka.single_writer import start_writer
from penstock.kafka.topics import require_topics
from penstock.kafka.transactions import OutcomeUnknownError, TransactionAbortedError
from streams.definitions.pipeline import Pipeline

_log = logging.getLogger(__name__)

_WRITE_S = 20.0
_ATTEMPTS = 8

Decide = Callable[[Sequence[Entry]], Sequence[Entry]]
"""What to add to a log. It may be asked again, with the log as it is then, and must not add what is there already."""


def read_entries(kafka: KafkaAccess, pipeline: Pipeline) -> list[Entry]:
    """Every entry of the log, in its order; see :func:`entries_in`.

    Raises:
        PenstockError: if the topic is missing, or it cannot be read.
    """
    topic = pipeline.incidents_topic
    return entries_in(topic, read_topic(kafka, topic))


def entries_in(topic: str, records: Iterable[Record]) -> list[Entry]:
    """The entries in records of a log. One of a later release, or garbage, is passed over with a warning."""
    found = []
    for one in records:
        try:
            found.append(decode(one.value, f"{topic}[{one.partition}]@{one.offset}"))
        except PenstockError as error:
            _warn(str(error))
    return found


@lru_cache  # once for each record: a watch reads the log again at each look
def _warn(text: str) -> None:
    _log.warning("passed over, as if it were not there: %s", text)


def extend(kafka: KafkaAccess, pipeline: Pipeline, decide: Decide) -> list[Entry]:
    """Read the log and add what ``decide`` chooses, in one transaction with its CloudEvents; returns the log then.

    If another writer comes in between, the log is read and ``decide`` is asked again.

    Raises:
        PenstockError: if a topic is missing, Kafka does not answer, or no attempt succeeded.
    """
    require_topics([pipeline.incidents_topic, pipeline.retrain_topic], kafka, partitions=1, pipeline="PIPELINE")
    for attempt in range(1, _ATTEMPTS + 1):
        writer = start_writer(kafka, group_of(pipeline.name, "incidents"))
        entries = read_entries(kafka, pipeline)
        added = list(decide(entries))
        if not added:
            return entries
        try:
            writer.write(_records(pipeline, added), [], None, _WRITE_S)
        except (TransactionAbortedError, OutcomeUnknownError) as error:
            # Whether it was written, the next reading shows.
            _log.info("reading and deciding again, as another writer came in between or Kafka failed: %s", error)
            why = str(error)
            time.sleep(random.uniform(0, min(2.0, 0.1 * 2**attempt)))  # noqa: S311 - no secret
        else:
            return [*entries, *added]
    raise PenstockError(
        f"the log of incidents could not be extended in {counted(_ATTEMPTS, 'attempt')}: {why}",
        where=f"{pipeline.incidents_topic} at {kafka}",
        safe="the entries before",
        next="penstock incidents list PIPELINE, then try again",
    )


def _records(pipeline: Pipeline, entries: Sequence[Entry]) -> list[Produced]:
    records = []
    for entry in entries:
        key = entry.incident.encode()
        records.append(Produced(pipeline.incidents_topic, 0, key, encode(entry), [], entry.time_ms, entry.kind))
        event = cloud_event(entry, pipeline.name)
        if event is not None:
            headers: list[tuple[str, bytes | None]] = [("content-type", b"application/cloudevents+json")]
            records.append(Produced(pipeline.retrain_topic, 0, key, event, headers, entry.time_ms, entry.kind))
    return records
