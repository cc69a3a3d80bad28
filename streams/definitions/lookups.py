"""Lookups: the columns that an event gets from a topic of reference data, such as customers, merchants or FX rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.contract import Contract, ContractField, Pii, contract_fields
from schemas.envelopes import check_envelope
from schemas.feature_types import FeatureType
from streams.definitions.base import Definition, Name, Topic
from streams.definitions.columns import Derived, PythonColumn
from streams.definitions.expressions import columns_of
from streams.definitions.sources import GENERATED, Source
from streams.definitions.views import Entity

_KEY_TYPES = ("string", "long")


class Lookup(Definition):
    """Reference data that is joined to each event: the row that was known when the event arrived.

    Its columns are called ``<name>_<field>``. They are null for an event without a row, and for the events of sources
    that give no records. Everything may use them but the keys of entities and the filters of sources, and feature
    records keep them.

    Args:
        name: The beginning of its columns' names.
        topic: A compacted topic. A record replaces the row of its Kafka key, a tombstone deletes it. An invalid one is
            counted and changes nothing.
        contract: The contract of its records, with ``reference=True``.
        on: The columns that name a row: fields of the event's contract, or columns of an earlier lookup.
        key: The fields of the reference contract that these must equal, in the same order; by default those of the same
            names.
        columns: The fields that become columns; by default all but the key, lists and dropped personal data.
        partitions: The number of the topic's partitions, if Penstock creates it.
        max_rows: Every task of the job keeps all rows in memory. Keys beyond so many are not taken, and counted.
        max_bytes: A longer record is invalid.
    """

    name: Name
    topic: Topic
    contract: type[Contract]
    on: Name | Annotated[tuple[Name, ...], Field(min_length=2)]
    key: Name | Annotated[tuple[Name, ...], Field(min_length=2)] | None = None
    columns: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    partitions: int = Field(default=1, ge=1)
    max_rows: int = Field(default=100_000, ge=1)
    max_bytes: int = Field(default=1_048_576, ge=1, le=2**31 - 1)

    @property
    def on_columns(self) -> tuple[str, ...]:
        """The columns that name a row."""
        return (self.on,) if isinstance(self.on, str) else self.on

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The fields of the reference contract that name a row."""
        key = self.on if self.key is None else self.key
        return (key,) if isinstance(key, str) else key

    @property
    def fields(self) -> Mapping[str, ContractField]:
        """The field behind each of its columns, by the column's name."""
        fields = {field.name: field for field in contract_fields(self.contract)}
        chosen = self.columns
        if chosen is None:
            possible = (f for f in fields.values() if f.pii is not Pii.DROP and not f.is_list)
            chosen = tuple(field.name for field in possible if field.name not in self.key_fields)
        return {f"{self.name}_{name}": fields[name] for name in chosen}

    @model_validator(mode="after")
    def _fits_its_contract(self) -> Self:
        where, contract = f"lookup {self.name}", self.contract.contract_name
        if not self.contract.is_reference_data:
            raise ValueError(
                f"{where}: {contract} is a contract of events; give that of reference data reference=True, and no "
                "EVENT_TIME"
            )
        fields = {field.name: field for field in contract_fields(self.contract)}
        for name in (*self.key_fields, *(self.columns or ())):
            if name not in fields:
                raise ValueError(f"{where}: {contract} has no field {name!r}; it has {', '.join(fields)}")
        if len(self.key_fields) != len(self.on_columns):
            raise ValueError(f"{where}: on= has {len(self.on_columns)} columns, key= {len(self.key_fields)}")
        for name in self.key_fields:
            if fields[name].type not in _KEY_TYPES or fields[name].nullable:
                raise ValueError(f"{where}: key {name} must be a text or an integer that is never null")
            if fields[name].pii is Pii.DROP:
                raise ValueError(f"{where}: key {name} is personal data that is dropped, so it names no row; hash it")
        self._check_columns(where, fields)
        try:
            check_envelope(None, self.contract)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return self

    def _check_columns(self, where: str, fields: Mapping[str, ContractField]) -> None:
        for name in self.columns or ():
            if fields[name].pii is Pii.DROP:
                raise ValueError(f"{where}: {name} is personal data that is dropped, so it is no column")
            if fields[name].is_list:
                raise ValueError(f"{where}: {name} is a list, and an event gets single values")
        if not self.fields:
            raise ValueError(f"{where}: {self.contract.contract_name} has no field beside its key that can be a column")


def lookup_columns(lookups: Iterable[Lookup]) -> dict[str, FeatureType]:
    """The types of the columns of all lookups."""
    return {name: field.type for lookup in lookups for name, field in lookup.fields.items()}


def check_lookups(
    lookups: Sequence[Lookup], sources: Sequence[Source], derived: Mapping[str, Derived | PythonColumn]
) -> None:
    """Check that each lookup finds the columns that it joins on, and that its own have names of their own.

    Raises:
        ValueError: if one does not fit; names the lookup and the reason.
    """
    events = {f.name: f for source in sources if source.triggers for f in contract_fields(source.contract)}
    taken = {f.name for source in sources for f in contract_fields(source.contract)} | set(derived)
    readings: dict[str, tuple[type[Contract], int]] = {}
    for number, lookup in enumerate(lookups):
        where = f"lookup {lookup.name}"
        if lookup.name in {other.name for other in lookups[:number]}:
            raise ValueError(f"{where}: two lookups have this name")
        reading = lookup.contract, lookup.max_bytes
        if readings.setdefault(lookup.topic, reading) != reading:
            raise ValueError(f"{where}: another lookup reads topic {lookup.topic} by another contract or max_bytes")
        fields = {field.name: field for field in contract_fields(lookup.contract)}
        for column, name in zip(lookup.on_columns, lookup.key_fields, strict=True):
            if column not in events:
                what = (
                    "is derived: derived columns are computed after lookups" if column in derived else "does not exist"
                )
                raise ValueError(f"{where}: column {column!r} {what}; there are {', '.join(events)}")
            for what in ("type", "pii"):
                theirs, ours = getattr(fields[name], what), getattr(events[column], what)
                if theirs != ours:
                    raise ValueError(f"{where}: the {what} of key {name} is {theirs}, that of {column} is {ours}")
        for column, field in lookup.fields.items():
            if GENERATED.match(column):
                raise ValueError(f"{where}: {column} could be a generated column; give the lookup another name=")
            if column in taken:
                raise ValueError(
                    f"{where}: there is a column {column!r} already; give the lookup another name=, or choose columns="
                )
            taken.add(column)
            events[column] = field


def check_uses(
    lookups: Sequence[Lookup],
    sources: Sequence[Source],
    entities: Sequence[Entity],
    derived: Mapping[str, Derived | PythonColumn],
) -> None:
    """Check that no entity and no filter depends on a lookup: parity could not tell which events count where.

    Raises:
        ValueError: for the first that does.
    """
    found = set(lookup_columns(lookups))
    for name, column in derived.items():
        if found.intersection(columns_of(column.sql) if isinstance(column, Derived) else column.columns):
            found.add(name)
    for entity in entities:
        if used := found.intersection(entity.columns):
            raise ValueError(
                f"entity {entity.name}: {min(used)} comes from a lookup, and a changed reference would move events to "
                "another entity; let producers write it into the event, or use it in where= and in columns"
            )
    for source in sources:
        if source.filter is not None and (used := found.intersection(columns_of(source.filter))):
            raise ValueError(
                f"filter of source {source.topic}: {min(used)} comes from a lookup, and events without a row would "
                "be lost; use it in where="
            )
