"""The oracle of lookups: what an event gets from reference data, given all of its records.

The kernel's ``LookupTable`` is compared with it; that one also has a bound of rows. docs/guides/reference-data.md
describes the semantics.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, decode_event, event_row
from schemas.committed import writer_schemas
from schemas.contract import Contract, Pii, pii_hash
from schemas.feature_types import Value
from streams.oracle.reference import Row
from streams.plan.entity_text import composite_text, entity_text
from streams.plan.model import LookupPlan, PipelinePlan
from streams.plan.project import Project

_NO_TEXT = "\uffff"
LookedUp: TypeAlias = Mapping[str, Value]
"""The values of the columns that an event gets from lookups."""


@dataclass(frozen=True)
class Change:
    """A valid record of a topic of reference data.

    Args:
        topic: The topic.
        key: Its Kafka key as :func:`key_token` gives it; None if it has none.
        row: The fields of its contract, personal data protected; None for a tombstone.
    """

    topic: str
    key: str | None
    row: Row | None


class LookupHistory:
    """The rows of all lookups of a plan, at each time.

    A record replaces the row of its key fields, and the row that an earlier record of its Kafka key gave. A tombstone
    deletes the row that the newest record of its Kafka key gave.

    Attributes:
        is_whole: Whether every record that the topics ever had is known: compaction and retention have deleted none.
    """

    def __init__(self, plan: PipelinePlan) -> None:
        self.is_whole = True
        self._lookups = plan.lookups
        # By lookup and key: the rows with the times from which on they were there; None: from then on there was none.
        self._rows: dict[tuple[str, str], list[tuple[int, Row | None]]] = defaultdict(list)
        # By lookup: the key of the row that a Kafka key gave, and which Kafka key gave a row that is there.
        self._named: dict[str, dict[str, str]] = {lookup.name: {} for lookup in plan.lookups}
        self._owners: dict[str, dict[str, str]] = {lookup.name: {} for lookup in plan.lookups}

    def apply(self, at: int, change: Change) -> None:
        """Take the next record; ``at`` never decreases."""
        for lookup in self._lookups:
            if lookup.topic != change.topic:
                continue
            named, owners = self._named[lookup.name], self._owners[lookup.name]
            name = None if change.row is None else key_text(change.row[field] for field in lookup.key)
            owner = name if change.key is None else change.key
            if owner is None:
                continue  # a tombstone without a key
            before = named.pop(owner, None)
            if before is not None and before != name and owners.get(before) == owner:
                del owners[before]
                self._rows[lookup.name, before].append((at, None))
            if name is not None:
                named[owner], owners[name] = name, owner
                self._rows[lookup.name, name].append((at, change.row))

    def columns(self, at: int, row: Row, *, triggers: bool) -> dict[str, Value]:
        """The columns that an event with these fields gets at a time; null for all, if it triggers no record."""
        found: dict[str, Value] = {}
        for lookup in self._lookups:
            known = None
            if triggers and (rows := self._of(lookup, row, found)):
                place = bisect_right(rows, at, key=lambda one: one[0])
                known = rows[place - 1][1] if place else None
            found |= {column: None if known is None else known[field] for field, column in lookup.columns}
        return found

    def explains(self, row: Row, given: LookedUp) -> bool:
        """Whether an event with these fields could have been given these columns at some time.

        A row that nobody knows any more may have been there, unless :attr:`is_whole`.
        """
        found: dict[str, Value] = {}
        for lookup in self._lookups:
            own = {column: given[column] for _, column in lookup.columns}
            possible = [known for _, known in self._of(lookup, row, found) if known is not None]
            values: list[dict[str, Any]] = [{c: known[f] for f, c in lookup.columns} for known in possible]
            is_null = all(value is None for value in own.values())
            if not is_null and own not in values and (self.is_whole or self._name(lookup, row, found) is None):
                return False
            found |= own
        return True

    def _name(self, lookup: LookupPlan, row: Row, found: LookedUp) -> str | None:
        return key_text(found[column] if column in found else row.get(column) for column in lookup.on)

    def _of(self, lookup: LookupPlan, row: Row, found: LookedUp) -> list[tuple[int, Row | None]]:
        name = self._name(lookup, row, found)
        return [] if name is None else self._rows.get((lookup.name, name), [])


def read_history(
    project: Project, read: Callable[[str], Iterable[Record]], pii_key: bytes, registry: Registry | None = None
) -> LookupHistory:
    """The history of a pipeline's reference data, at Kafka's timestamps in the order of a replay.

    Args:
        project: The pipeline.
        read: The records of a topic, in offset order within each partition.
        pii_key: The key that hashes personal data.
        registry: Finds schemas of a registry.
    """
    plan, history = project.plan, LookupHistory(project.plan)
    changes: list[tuple[tuple[int, ...], Change]] = []
    for number, topic in enumerate(plan.reference_topics):
        index = next(i for i, lookup in enumerate(plan.lookups) if lookup.topic == topic)
        lookup, contract = plan.lookups[index], project.pipeline.lookups[index].contract
        writers = Decoder(*writer_schemas(contract, project.schemas))
        clocks: dict[int, int] = {}
        following: dict[int, int] = {}
        for record in read(topic):
            history.is_whole &= record.offset == following.get(record.partition, 0)
            following[record.partition] = record.offset + 1
            clock = clocks[record.partition] = max(clocks.get(record.partition, record.timestamp), record.timestamp)
            key, row = key_token(lookup, record.key, pii_key), None
            if record.value is not None:
                valid = decode_event(
                    record.value,
                    contract,
                    writers,
                    kafka_timestamp_ms=-1,
                    max_future_ms=0,
                    max_bytes=lookup.max_bytes,
                    registry=registry,
                )
                if not isinstance(valid, Contract):
                    continue
                row = event_row(valid, contract, pii_key)
            # As in the kernel, the topics are before all events of their time, the last one first.
            changes.append(((clock, -number, record.partition, record.offset), Change(topic, key, row)))
    for turn, change in sorted(changes, key=lambda item: item[0]):
        history.apply(turn[0], change)
    return history


def key_text(values: Iterable[Value]) -> str | None:
    r"""The key of a row as one text; None if a part of it is null.

    >>> key_text(["m1"]), key_text([7, "a|b"]), key_text([None])
    ('m1', '7|a\\|b', None)
    """
    parts = list(values)
    if len(parts) > 1:
        return composite_text(parts)
    return None if parts[0] is None else entity_text(parts[0])


def key_token(lookup: LookupPlan, key: bytes | None, pii_key: bytes) -> str | None:
    """A Kafka key as text: hashed if the row's key is personal data, so that nothing keeps it."""
    if key is None:
        return None
    fields: Mapping[str, Pii | None] = {field.name: field.pii for field in lookup.fields}
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = _NO_TEXT + key.decode("latin-1")
    return pii_hash(pii_key, text) if any(fields[name] is Pii.HASH for name in lookup.key) else text
