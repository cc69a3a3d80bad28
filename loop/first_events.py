"""Finds the first event with a fault, and what its producer says of itself, in all that topics still have."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice

from backfill.topic_reading import Topics
from loop.gathering import SLACK_MS, Inputs, Place, Scored, predictions
from loop.onsets import Mark, Onset
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.names import PRODUCER_VERSION_HEADER
from streams.plan.project import Project

_log = logging.getLogger(__name__)

_BATCH = 1_000
# So many raw records before the first one say who produced them.
_BEFORE = 500


def first_event(
    project: Project,
    topics: Topics,
    version: str,
    inputs: Inputs,
    column: str,
    mark: Mark,
    *,
    well_ms: int,
    since_ms: int,
) -> Place | None:
    """The raw event with which a fault began, in memory for one batch; None if it is not told from chance.

    Each partition has an order of its own, so each is followed by itself; the first of them by event time counts. A
    fault that had ended before the first alarm, as of an earlier incident, is another one.

    Args:
        project: The pipeline.
        topics: Where topics are read.
        version: The version whose predictions are looked at.
        inputs: Its inputs.
        column: The input with the fault.
        mark: Which of its values have the fault.
        well_ms: An event time at which all was well, epoch ms.
        since_ms: The event time of the first alarm, epoch ms.

    Raises:
        PenstockError: if the topic cannot be read.
    """
    topic = project.pipeline.predictions_topic
    onsets: dict[tuple[str, int], Onset[Scored]] = {}
    records = topics.read(topic, start=topics.starts(topic, well_ms - SLACK_MS))
    wanted = (one for one in predictions(project, records) if one.version == version and inputs.fit(one))
    for batch in _batches(wanted):
        values = inputs.columns([one.vector for one in batch])[column].tolist()
        for one, value in zip(batch, values, strict=True):
            onset = onsets.setdefault(one.place[:2], Onset(mark))
            if onset.place is None or one.event_time < since_ms:
                onset.add(one, is_marked=mark.has(value))
    found = [onset.place for onset in onsets.values() if onset.place is not None]
    return min(found, key=lambda one: (one.event_time, one.place)).place if found else None


def producer_at(topics: Topics, place: Place) -> tuple[str, str] | None:
    """The version of the producer of a raw event, by its header, and a sentence on it; None if it cannot be read."""
    topic, partition, offset = place
    try:
        first, end = topics.ranges(topic).get(partition, (0, 0))
        if not first <= offset < end:
            return None
        start = max(first, offset - _BEFORE)
        found = [
            (record.offset, said)
            for record in topics.read(topic, start={partition: start}, end={partition: offset + 1})
            if (said := dict(record.headers).get(PRODUCER_VERSION_HEADER)) is not None
        ]
    except PenstockError as error:  # deleted meanwhile, or there is no right to read it; the cause is known anyhow
        _log.warning("the producer of the first event is not named: %s", error)
        return None
    versions = {at: said.decode(errors="replace") for at, said in found}
    version = versions.pop(offset, None)
    if version is None:
        return None
    text = f"it begins with an event of {PRODUCER_VERSION_HEADER} {version}"
    if versions:
        others = ", ".join(sorted({*versions.values()}))
        text += f"; the {counted(len(versions), 'event')} before it are of {others}"
    return version, text


def _batches(scored: Iterable[Scored]) -> Iterator[list[Scored]]:
    rest = iter(scored)
    while batch := list(islice(rest, _BATCH)):
        yield batch
