"""Dead letters of valid events whose feature record is longer than its topic takes.

Such a letter is in the features topic's dead letters. Its value is the feature record with each text cut to its first
256 characters and each list to its first 16 elements. So it can be decoded, and it tells which events each view
counted. Restored from the raw event, it takes the record's place in the other checks.

Of a view with very many texts even that may be longer than the topic takes. Such a letter has no value: it accounts for
its event, and says no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Undecodable, UnknownSchema
from streams.plan.entity_text import entity_text
from streams.plan.feature_records import NO_NAMES, FeaturesDecoder
from streams.plan.model import PipelinePlan
from verify.dead_letters import ALWAYS_FITS, Letter, read_letter
from verify.emissions import JudgedEvent
from verify.findings import Findings
from verify.published import Position, Published, updates_in

_CHARACTERS, _ELEMENTS = 256, 16
# No less than a number takes, and than the fixed parts of a record and of a view take: two texts and some numbers.
_NUMBER_BYTES, _FRAME_BYTES = 16, 3_000
_REASON = ("penstock.FeaturesTooLarge", "encode")


@dataclass
class UnpublishedFindings(Findings):
    """The excerpts, each restored from its event; those of letters without a value are known by their event only.

    ``excerpts`` are the same records as the letters have them, by event.
    """

    records: list[Published] = field(default_factory=list)
    excerpts: dict[Position, Published] = field(default_factory=dict)
    without_value: set[Position] = field(default_factory=set)


def excerpt(value: Any) -> Any:
    """What an excerpt keeps of a value."""
    if isinstance(value, str):
        return value[:_CHARACTERS]
    return [excerpt(each) for each in value[:_ELEMENTS]] if isinstance(value, list | tuple) else value


def check_unpublished(
    plan: PipelinePlan, events: Mapping[Position, JudgedEvent], records: Iterable[Record], decoder: Decoder
) -> UnpublishedFindings:
    """Check the letters of feature records that were too long; ``records`` are the features topic's dead letters.

    Those of services that could not read a feature record are left out, and so are those of timers' records.
    """
    findings = UnpublishedFindings()
    for record in records:
        place = f"{plan.features_topic}.dlq[{record.partition}]@{record.offset}"
        try:
            letter = read_letter(record)
            if letter.topic == plan.features_topic:
                continue
            if record.value is None and _may_lack_value(plan, events, letter):
                findings.without_value.add(_position(plan, letter))
                continue
            found = decoder.decode(record.value or b"")
            updates = updates_in(record)
            if plan.additional_sources and record.key is None and not letter.own_headers:
                updates = dict.fromkeys((view.name for view in plan.views), None)  # left out with the key
        except (ValueError, Undecodable, UnknownSchema) as error:
            findings.mismatch(f"{place}: is not a dead letter with an excerpt: {error}")
            continue
        lacks = decoder.absent_names(record.value or b"") if isinstance(decoder, FeaturesDecoder) else NO_NAMES
        source = _position(plan, letter).source
        published = Published(
            record.partition,
            record.offset,
            record.key,
            found,
            lacks,
            updates,
            record.timestamp,
            is_excerpt=True,
            source=source,
        )
        if published.is_timer:
            continue
        event = events.get(published.position)
        if (letter.reason, letter.stage) != _REASON:
            findings.mismatch(f"{place}: {letter.reason} at {letter.stage} is no reason to publish no features")
        elif event is None or _position(plan, letter) != event.position:
            findings.mismatch(
                f"{place}: {letter.topic}[{letter.position.partition}]@{letter.position.offset} is no valid event of it"
            )
        elif not _is_cut(found) and len(record.key or b"") + len(record.value or b"") < ALWAYS_FITS:
            findings.mismatch(f"{place}: nothing was cut of the feature record of {event.position}, so it was not long")
        else:
            findings.records.append(_restored(plan, published, event))
            findings.excerpts[event.position] = published
    return findings


def _position(plan: PipelinePlan, letter: Letter) -> Position:
    """The event that the letter is of; of no source (-1) if its topic is none of the pipeline's."""
    topics = [source.topic for source in plan.sources]
    return letter.position._replace(source=topics.index(letter.topic) if letter.topic in topics else -1)


def _may_lack_value(plan: PipelinePlan, events: Mapping[Position, JudgedEvent], letter: Letter) -> bool:
    """Whether the letter is of a valid event, and its feature record can be too long even when it is cut."""
    if (letter.reason, letter.stage) != _REASON or _position(plan, letter) not in events or letter.value_bytes is None:
        return False
    columns = [kind for view in plan.views for kind in (feature.type for feature in view.outputs)]
    columns += [kind for _, kind in plan.passthrough]
    longest = _FRAME_BYTES + len(plan.views) * _FRAME_BYTES + sum(map(_longest_cut, columns))
    return min(longest, letter.value_bytes) >= ALWAYS_FITS


def _longest_cut(kind: str) -> int:
    """No less than what a value of this type takes in an excerpt."""
    one = _CHARACTERS * 4 + _NUMBER_BYTES if kind.startswith("string") else _NUMBER_BYTES
    return _ELEMENTS * one + _NUMBER_BYTES if kind.endswith("[]") else one


def _is_cut(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_is_cut, value.values()))
    if isinstance(value, str):
        return len(value) == _CHARACTERS
    return isinstance(value, list | tuple) and (len(value) == _ELEMENTS or any(map(_is_cut, value)))


def _restored(plan: PipelinePlan, record: Published, event: JudgedEvent) -> Published:
    """The excerpt with those texts whole that the event has, where they are an excerpt of them."""
    value = dict(record.value)
    value["event_id"] = _whole(value["event_id"], event.event_id)
    value["event"] = {name: _whole(kept, event.row.get(name)) for name, kept in value["event"].items()}
    for view in plan.views:
        entity, part = event.row[view.key], value[view.name]
        if part is not None and entity is not None:
            value[view.name] = part | {"entity": _whole(part["entity"], entity_text(entity))}
    key = event.key if record.key is None else record.key
    return replace(record, key=key, value=value)


def _whole(kept: Any, value: Any) -> Any:
    return value if excerpt(value) == kept else kept
