"""Judges raw records by their contract: which events must be published, and which records are dead letters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Reason, Registry, Rejection, decode_event, event_row
from schemas.committed import writer_schemas
from schemas.contract import Contract
from schemas.envelopes import Ignored
from streams.definitions.base import EVENT_TYPE
from streams.oracle.derived_columns import derive
from streams.oracle.event_time_order import Arrival
from streams.oracle.reference import Row, accept_rows
from streams.plan.entity_text import entity_text
from streams.plan.model import PipelinePlan, SourcePlan
from streams.plan.project import Project
from verify.dead_letters import ALWAYS_FITS, Letter, read_letter
from verify.emissions import JudgedEvent, LookUp
from verify.findings import MAX_EXAMPLES
from verify.published import Position, clocks
from verify.replays import replay_in, without_replay

_FUTURE: Reason = "penstock.FutureEvent"
# What a letter keeps of a value that its topic would not take.
_LETTER_EXCERPT = 16 * 1024


@dataclass(frozen=True)
class Judged:
    """The judged records of a raw topic, by position: events, event times of duplicates, and rejections.

    ``ignored`` holds valid events that the source's filter does not accept, and records that are no events in its
    envelope.

    ``timestamps`` holds the Kafka timestamp of every record, in offset order within each partition. ``refused`` holds
    the records of the rejections, ``refused_by_clock`` the positions of those that only the time explains at which a
    live job read them: they were ahead of its clock, or its contract was another. ``taken`` holds the events and the
    duplicates, in offset order within each partition. ``source`` is the number of the source.
    """

    events: dict[Position, JudgedEvent]
    duplicates: dict[Position, int]
    rejections: dict[Position, Rejection]
    timestamps: dict[Position, int]
    ignored: set[Position] = field(default_factory=set)
    refused: dict[Position, Record] = field(default_factory=dict)
    refused_by_clock: set[Position] = field(default_factory=set)
    taken: Sequence[JudgedEvent] = ()
    source: int = 0

    def arrivals(self) -> list[Arrival]:
        """The valid events, including duplicates, in offset order within each partition."""
        times = {position: event.time for position, event in self.events.items()} | self.duplicates
        return [Arrival(times[p], *p[:2], timestamp) for p, timestamp in self.timestamps.items() if p in times]


def judge_source(
    project: Project,
    number: int,
    records: Iterable[Record],
    pii_key: bytes,
    registry: Registry | None = None,
    published: Collection[Position] = (),
    letters: Iterable[Record] = (),
    look_up: LookUp | None = None,
) -> Judged:
    """Judge the records of the pipeline's source with this number; see :func:`judge_events`."""
    contract, source = project.pipeline.sources[number].contract, project.plan.sources[number]
    writers = Decoder(*writer_schemas(contract, project.schemas))
    return judge_events(
        project.plan,
        source,
        contract,
        records,
        writers,
        pii_key,
        registry,
        published=published,
        letters=letters,
        look_up=look_up,
    )


def judge_events(
    plan: PipelinePlan,
    source: SourcePlan,
    contract: type[Contract],
    records: Iterable[Record],
    writers: Decoder,
    pii_key: bytes,
    registry: Registry | None = None,
    *,
    published: Collection[Position] = (),
    letters: Iterable[Record] = (),
    look_up: LookUp | None = None,
) -> Judged:
    """Judge every raw record of a source by the reference semantics; records are in offset order per partition.

    ``published`` are the events that the job took. They say which copy of an event came first if a producer without
    keys sent it to several partitions.

    A live job also refuses events that are ahead of its own clock, which nobody knows afterwards. Its dead letters
    (``letters``) say which; such a refusal is right if the event is later than the broker received the letter. If the
    job failed after it and took the event when it read it again, the event counts. Without letters, the result is that
    of a replay, which goes by the raw records alone.

    ``look_up`` gives events their columns from lookups, and a pipeline with lookups needs it.

    An event that was refused, and put back to its topic when its contract had changed, counts where it was put back.
    """
    letters, records, number = list(letters), list(records), plan.sources.index(source)
    refusals = _refused_by_clock(plan.pipeline, letters)
    put_back = _put_back(source.topic, records, letters)
    event_type = {EVENT_TYPE: source.contract} if plan.additional_sources else {}
    reserved = plan.reserved_ids(number)
    rejections: dict[Position, Rejection] = {}
    refused: dict[Position, Record] = {}
    by_clock: set[Position] = set()
    no_events: set[Position] = set()
    timestamps: dict[Position, int] = {}
    valid: list[tuple[Record, Row]] = []
    clocks: dict[int, int] = {}
    for record in records:
        position = Position(record.partition, record.offset, number)
        timestamps[position] = record.timestamp
        clocks[record.partition] = max(clocks.get(record.partition, record.timestamp), record.timestamp)
        decoded = decode_event(
            record.value,
            contract,
            writers,
            kafka_timestamp_ms=record.timestamp,
            max_future_ms=source.max_future_ms,
            max_bytes=source.max_bytes,
            registry=registry,
            headers=record.headers,
            envelope=source.envelope,
            reserved_ids=reserved,
        )
        if isinstance(decoded, Ignored):
            no_events.add(position)
            continue
        letter_ms = refusals.get(position[:2])
        is_taken = position in published
        if letter_ms is not None and not is_taken and not isinstance(decoded, Rejection):
            time = getattr(decoded, source.event_time)
            if time > letter_ms:
                by_clock.add(position)
                why = f"{source.event_time}: ahead of the job's clock"
                decoded = Rejection(_FUTURE, "validate", why)
        letter = put_back.get(position[:2])
        if letter is not None and not is_taken and not isinstance(decoded, Rejection):
            by_clock.add(position)
            decoded = Rejection(cast("Any", letter.reason), cast("Any", letter.stage), "put back later")
        if isinstance(decoded, Rejection):
            rejections[position] = decoded
            refused[position] = record
        else:
            row = event_row(decoded, contract, pii_key) | event_type
            if look_up is not None:
                row |= look_up(position, clocks[record.partition], row)
            valid.append((record, row))
    rows = derive(plan, [row for _, row in valid])
    judged = [_event(plan, number, record, row) for (record, _), row in zip(valid, rows, strict=True)]
    taken = [event for event in judged if source.filter is None or event.row[source.filter] is True]
    events, duplicates = _first_seen(source, taken, published)
    accepted_positions = {event.position for event in taken}
    return Judged(
        events=events,
        duplicates=duplicates,
        rejections=rejections,
        timestamps=timestamps,
        ignored=no_events | ({event.position for event in judged} - accepted_positions),
        refused=refused,
        refused_by_clock=by_clock,
        taken=taken,
        source=number,
    )


def with_shared_ids(plan: PipelinePlan, judged: Sequence[Judged], published: Collection[Position]) -> list[Judged]:
    """The judged records of all sources, with duplicates found across the topics of one contract that are scored.

    ``published`` are the events that the job took: between topics the order of arrival is not known. A replay has an
    order of its own, so of its events none is given.
    """
    found = list(judged)
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, source in enumerate(plan.sources):
        if source.triggers and source.event_id is not None:
            numbers[source.contract].append(number)
    for sharing in numbers.values():
        if len(sharing) > 1:
            clock = clocks(item for number in sharing for item in judged[number].timestamps.items())
            everything = [event for number in sharing for event in judged[number].taken]
            everything.sort(key=lambda event: (clock[event.position], event.source, event.position))
            events, _ = _first_seen(plan.sources[sharing[0]], everything, published)
            for number in sharing:
                taken = judged[number].taken
                of_source = {event.position: event for event in taken if event.position in events}
                duplicates = {event.position: event.time for event in taken if event.position not in events}
                found[number] = replace(judged[number], events=of_source, duplicates=duplicates)
    return found


def _first_seen(
    source: SourcePlan, taken: list[JudgedEvent], published: Collection[Position]
) -> tuple[dict[Position, JudgedEvent], dict[Position, int]]:
    """The events that are no duplicates, and the times of those that are."""
    arrived = _possible_arrivals(source, taken, published)
    verdicts = accept_rows(source, [event.row for event in arrived])
    firsts = {event.position for event, is_first in zip(arrived, verdicts, strict=True) if is_first}
    events = {event.position: event for event in taken if event.position in firsts}
    return events, {event.position: event.time for event in taken if event.position not in events}


def _possible_arrivals(
    source: SourcePlan, events: list[JudgedEvent], published: Collection[Position]
) -> list[JudgedEvent]:
    """The events in an order in which they may have arrived, given which of them the job took.

    Copies of one event in several partitions, or topics, arrive in any order. Those that the job did not take came
    right after the one that it took.
    """
    if source.event_id is None:
        return events
    taken: dict[tuple[Any, Any], JudgedEvent] = {}
    for event in events:
        if event.position in published:
            taken.setdefault(_identity(source, event), event)
    behind: dict[Position, list[JudgedEvent]] = defaultdict(list)
    order = []
    for event in events:
        first = taken.get(_identity(source, event))
        if event.position in published or first is None or _lane(first) == _lane(event):
            order.append(event)
        else:
            behind[first.position].append(event)
    return [one for event in order for one in (event, *behind[event.position])]


def _lane(event: JudgedEvent) -> tuple[int, int]:
    """Its source and partition, whose events arrive in the order of their offsets."""
    return event.source, event.position.partition


def _identity(source: SourcePlan, event: JudgedEvent) -> tuple[Any, Any]:
    assert source.event_id is not None
    return None if source.key is None else event.row[source.key], event.row[source.event_id]


def check_dead_letters(
    judged: Judged, pipeline: str, topic: str, records: Iterable[Record]
) -> tuple[int, int, list[str]]:
    """Return the number of dead letters, the number of mismatches with the rejections, and mismatches as text.

    ``records`` are those of the dead letter topic. The letters of other pipelines that read the topic do not count. The
    job may write a dead letter again after a failure, so each position counts once, and every copy is compared with the
    raw record.
    """
    found: dict[str, Position] = {}
    wrong: list[str] = []
    for record in records:
        try:
            letter = read_letter(record)
        except ValueError as error:
            wrong.append(f"dead letter [{record.partition}]@{record.offset} cannot be read: {error}")
            continue
        if letter.pipeline not in (pipeline, None):
            continue
        position = letter.position._replace(source=judged.source)
        accepted = judged.events.get(position)
        if accepted is not None and letter.reason == _FUTURE and accepted.time > record.timestamp:
            continue  # refused by the clock of a job that failed; the next run read it later, and took it
        found[f"{topic}.dlq[{record.partition}]@{record.offset}"] = position
        replay = replay_in(letter.own_headers)
        is_kept_again = replay is not None and found.get(replay.of) == position
        where = f"{topic}[{position.partition}]@{position.offset}"
        rejection = judged.rejections.get(position)
        if rejection is None:
            wrong.append(f"{where} is a dead letter ({letter.reason}), the contract accepts it")
        elif (letter.reason, letter.stage) != (rejection.reason, rejection.stage):
            wrong.append(f"{where} was refused as {letter.reason}, the contract says {rejection.reason}")
        elif differences := _letter_differences(
            letter, record, topic, judged.refused[position], is_kept_again=is_kept_again
        ):
            wrong.append(f"{where}: {', '.join(differences)} of its dead letter differ from the raw record")
    wrong += [
        f"{topic}[{position.partition}]@{position.offset} should be a dead letter: {judged.rejections[position].reason}"
        for position in judged.rejections.keys() - set(found.values())
    ]
    return len(set(found.values())), len(wrong), wrong[:MAX_EXAMPLES]


def _refused_by_clock(pipeline: str, letters: Iterable[Record]) -> dict[tuple[int, ...], int]:
    """When the broker received the first dead letter of each event that the pipeline refused for its time.

    By partition and offset.
    """
    received: dict[tuple[int, ...], int] = {}
    for record in letters:
        try:
            letter = read_letter(record)
        except ValueError:
            continue  # `check_dead_letters` reports it
        if letter.reason == _FUTURE and letter.pipeline in (pipeline, None):
            received.setdefault(letter.position[:2], record.timestamp)
    return received


def _put_back(topic: str, records: Iterable[Record], letters: Iterable[Record]) -> dict[tuple[int, ...], Letter]:
    """The letters of events that were refused and put back, by partition and offset.

    :mod:`verify.check_replays` checks what was put back.
    """
    replayed = {replay.of for record in records if (replay := replay_in(record.headers)) is not None}
    found: dict[tuple[int, ...], Letter] = {}
    for record in letters if replayed else ():
        if f"{topic}.dlq[{record.partition}]@{record.offset}" in replayed:
            with suppress(ValueError):  # `check_dead_letters` reports it
                letter = read_letter(record)
                found[letter.position[:2]] = letter
    return found


def _letter_differences(letter: Letter, kept: Record, topic: str, raw: Record, *, is_kept_again: bool) -> list[str]:
    """The parts of a dead letter, the record ``kept``, that differ from the raw record, which it keeps verbatim.

    If the raw record has more bytes than any topic for letters takes at least, the letter may have the value's
    beginning only, and neither key nor headers. The letter of an event that could not be put back is ``kept again``: it
    also has the headers of that replay.
    """
    value, headers, own = raw.value or b"", tuple(raw.headers), letter.own_headers
    if is_kept_again:
        headers, own = without_replay(headers), without_replay(own)
    found = (kept.key, kept.value, own)
    whole = (raw.key, raw.value, headers)
    if letter.value_bytes is None:
        allowed = [whole]
    else:
        cut = value[:_LETTER_EXCERPT] if raw.value is not None else None
        allowed = [(raw.key, cut, headers), (None, cut, ())]
    length = len(value) + len(raw.key or b"") + sum(len(name) + len(of or b"") for name, of in headers)
    wanted = next((each for each in allowed if each == found), allowed[0])
    pairs = {
        "topic": (letter.topic, topic),
        "key": (kept.key, wanted[0]),
        "value": (kept.value, wanted[1]),
        "headers": (own, wanted[2]),
        "value_bytes": (letter.value_bytes, None if letter.value_bytes is None else len(value)),
        "excerpt": (letter.value_bytes is not None and length < ALWAYS_FITS, False),
    }
    return [name for name, (found_part, wanted_part) in pairs.items() if found_part != wanted_part]


def _event(plan: PipelinePlan, number: int, record: Record, row: Row) -> JudgedEvent:
    source = plan.sources[number]
    position = Position(record.partition, record.offset, number)
    event_id = f"{source.topic}/{record.partition}/{record.offset}"
    if source.event_id:
        own = row[source.event_id]
        assert isinstance(own, str)
        # An id is unique in its contract only; that of the pipeline's own contract stands alone.
        event_id = f"{source.contract}:{own}" if source.triggers and source.contract != plan.source.contract else own
    time = row[source.event_time]
    assert isinstance(time, int)
    key = _published_key(plan, source, record, row)
    return JudgedEvent(position, record.timestamp, key, event_id, time, row, updates=not source.triggers)


def _published_key(plan: PipelinePlan, source: SourcePlan, record: Record, row: Row) -> bytes | None:
    """The key that the job publishes: the raw key, or the protected key column if any contract has personal data."""
    if all(field.pii is None for each in plan.sources for field in each.fields):
        return record.key
    value = None if source.key is None else row[source.key]
    return None if value is None else entity_text(value).encode()
