from __future__ import annotations

import io
import json
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import EVENT_ID, EVENT_TIME
from schemas.avro import contract_schema
from schemas.codec import Decoder, Encoder, Rejection, decode_event
from schemas.compatibility import Break, breaks, reader_breaks
from schemas.constraints import has_values
from schemas.contract import ColumnType, Compatibility, Contract, ContractField, ListType, Pii, contract_fields
from schemas.event_time import EARLIEST_MS
from tests.schemas.samples import contract_of

FOUND_BY_HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=150)


def field(kind: ColumnType | ListType, **constraints: Any) -> ContractField:
    return ContractField(name="x", type=kind, **constraints)


def read(value: bytes, reader: type[Contract], writer: type[Contract]) -> Contract | Rejection:
    writers = Decoder(contract_schema(writer))
    return decode_event(value, reader, writers, kafka_timestamp_ms=0, max_future_ms=0, max_bytes=1 << 20)


def readings(event: dict[str, Any], writer: type[Contract], reader: type[Contract]) -> list[Contract | Rejection]:
    """Read the event as the reader does: from JSON and, if it has every field, from Avro."""
    values = [json.dumps(event).encode()]
    if {"t", "x"} <= event.keys() and all(field.is_plain for field in contract_fields(writer)):
        values.append(Encoder(contract_schema(writer)).encode(event))
    assert all(not isinstance(read(value, writer, writer), Rejection) for value in values), (
        "the writer refuses its own event"
    )
    return [read(value, reader, writer) for value in values]


# Old field, new field, an event that the old one accepts and the new one refuses, and part of the message.
BREAKING: dict[str, tuple[ContractField | None, ContractField | None, dict[str, Any], str]] = {
    "a required field is added": (None, field("long"), {}, "never written"),
    "null is forbidden": (field("long", nullable=True), field("long"), {"x": None}, "null"),
    "an optional field becomes required": (
        field("long", nullable=True, required=False),
        field("long", nullable=True),
        {},
        "left out",
    ),
    "a double becomes a long": (field("double"), field("long"), {"x": 1.5}, "written as double, read as long"),
    "a long becomes a string": (field("long"), field("string"), {"x": 1}, "written as long, read as string"),
    "a string becomes a boolean": (field("string"), field("boolean"), {"x": "a"}, "read as boolean"),
    "a minimum appears": (field("long"), field("long", minimum=0), {"x": -1}, ">= 0"),
    "a minimum rises": (field("long", minimum=0), field("long", minimum=1), {"x": 0}, ">= 1"),
    "a minimum becomes exclusive": (
        field("double", minimum=0),
        field("double", minimum=0, minimum_exclusive=True),
        {"x": 0.0},
        "> 0",
    ),
    "a maximum appears": (field("double"), field("double", maximum=1), {"x": 2.0}, "<= 1"),
    "a maximum falls": (field("long", maximum=9), field("long", maximum=8), {"x": 9}, "<= 8"),
    "a maximum becomes exclusive": (
        field("long", maximum=9),
        field("long", maximum=9, maximum_exclusive=True),
        {"x": 9},
        "< 9",
    ),
    "a longest length appears": (field("string"), field("string", max_length=2), {"x": "abc"}, "at most 2"),
    "a longest length shrinks": (
        field("string", max_length=3),
        field("string", max_length=2),
        {"x": "abc"},
        "at most 2",
    ),
    "a shortest length grows": (field("string"), field("string", min_length=1), {"x": ""}, "at least 1"),
    "a pattern appears": (field("string"), field("string", pattern="^a"), {"x": "b"}, "^a"),
    "a pattern changes": (field("string", pattern="^b"), field("string", pattern="^a"), {"x": "b"}, "^a"),
    "an allowed value is removed": (
        field("string", enum=("a", "b")),
        field("string", enum=("a",)),
        {"x": "b"},
        "value b",
    ),
    "any text becomes a few values": (field("string"), field("string", enum=("a",)), {"x": "b"}, "one of a"),
    "unknown values are no longer replaced": (
        field("string", enum=("a",), otherwise="a"),
        field("string", enum=("a",)),
        {"x": "b"},
        "one of a",
    ),
    "unknown values of any length were replaced": (
        field("string", enum=("a",), otherwise="a"),
        field("string", max_length=1),
        {"x": "bcd"},
        "at most 1",
    ),
    "it is read elsewhere": (field("long", at=("a", "x")), field("long", at=("b", "x")), {"a": {"x": 1}}, "never wri"),
    "it becomes an object": (
        field("string"),
        field("string", at=("x", "y"), nullable=True, required=False),
        {"x": "a"},
        "written as an object or within one that is a field (x)",
    ),
    "it was an object": (
        field("string", at=("x", "y")),
        field("string", nullable=True, required=False),
        {"x": {"y": "a"}},
        "(x.y)",
    ),
    "seconds become text": (
        field("long", written="seconds"),
        field("long", written="iso8601"),
        {"x": 1},
        "written as seconds, read as iso8601",
    ),
    "a decimal gets fewer places": (
        field("string", written="decimal", scale=3, precision=9),
        field("string", written="decimal", scale=2, precision=9),
        {"x": "1.255"},
        "written as decimal(9, 3), read as decimal(9, 2)",
    ),
    "a value becomes a list": (field("long"), field("long[]", max_elements=9), {"x": 1}, "within one that is a field"),
    "a list becomes a value": (
        field("long[]", max_elements=9),
        field("long"),
        {"x": [1]},
        "within one that is a field",
    ),
    "a list gets other elements": (
        field("long[]", max_elements=9),
        field("string[]", max_elements=9),
        {"x": [1]},
        "written as long[], read as string[]",
    ),
    "a list gets shorter": (
        field("long[]", max_elements=2),
        field("long[]", max_elements=1),
        {"x": [1, 2]},
        "at most 1 elements",
    ),
    "elements must have a value": (
        field("long[]", max_elements=9, nullable_elements=True),
        field("long[]", max_elements=9),
        {"x": [1, None]},
        "elements may be written as null",
    ),
    "elements get a bound": (
        field("long[]", max_elements=9),
        field("long[]", max_elements=9, minimum=0),
        {"x": [0, -1]},
        ">= 0",
    ),
    "elements are read elsewhere": (
        field("long[]", max_elements=9, at=("i",), each=("x",)),
        field("long[]", max_elements=9, at=("i",), each=("y",)),
        {"i": [{"x": 1}]},
        "never written",
    ),
    "a list of an array that is written has no default there": (
        field("long[]", max_elements=9, at=("i",), each=("x",)),
        field("long[]", max_elements=9, at=("i",), each=("y",), nullable=True, required=False),
        {"i": [{"x": 1}]},
        "never written",
    ),
    "a new list has a shorter array": (
        field("long[]", max_elements=2, at=("i",), each=("x",)),
        field("long[]", max_elements=1, at=("i",), each=("y",), nullable=True, required=False, nullable_elements=True),
        {"i": [{"x": 1}, {"x": 1}]},
        "at most 1 elements",
    ),
    "a new list has an array that may be null": (
        field("long[]", max_elements=2, at=("i",), each=("x",), nullable=True),
        field("long[]", max_elements=2, at=("i",), each=("y",), nullable_elements=True),
        {"i": None},
        "the array may be written as null",
    ),
    "a new list has an array that may be left out": (
        field("long[]", max_elements=2, at=("i",), each=("x",), nullable=True, required=False),
        field("long[]", max_elements=2, at=("i",), each=("y",), nullable=True, nullable_elements=True),
        {},
        "the array may be left out",
    ),
    "an allowed value is too long": (
        field("string", enum=("a", "bcd")),
        field("string", max_length=2),
        {"x": "bcd"},
        "at most 2",
    ),
}

COMPATIBLE: dict[str, tuple[ContractField | None, ContractField | None]] = {
    "nothing changes": (field("long", minimum=0), field("long", minimum=0)),
    "a field with a default is added": (None, field("long", required=False, default=3)),
    "a nullable field with a default is added": (None, field("string", nullable=True, required=False)),
    "a field is removed": (field("long"), None),
    "a long becomes a double": (field("long"), field("double")),
    "null is allowed": (field("long"), field("long", nullable=True)),
    "a required field becomes optional": (field("long"), field("long", required=False, default=0)),
    "a range widens": (field("long", minimum=0, maximum=5), field("long", minimum=-1, maximum=6)),
    "an exclusive minimum becomes inclusive": (
        field("long", minimum=0, minimum_exclusive=True),
        field("long", minimum=0),
    ),
    "a length widens": (field("string", max_length=2), field("string", max_length=3)),
    "a pattern is dropped": (field("string", pattern="^a"), field("string")),
    "an allowed value is added": (field("string", enum=("a",)), field("string", enum=("a", "b"))),
    "unknown values are replaced": (field("string", enum=("a", "b")), field("string", enum=("a",), otherwise="a")),
    "the column of a nested value gets another name": (
        field("long", at=("a", "b")),
        ContractField(name="y", type="long", at=("a", "b")),
    ),
    "a decimal becomes a number": (
        field("string", written="decimal", scale=2, precision=9),
        field("double", written="decimal", scale=2, precision=9),
    ),
    "a list may be longer and have elements without a value": (
        field("long[]", max_elements=2, at=("i",), each=("x",)),
        field("double[]", max_elements=3, at=("i",), each=("x",), nullable_elements=True),
    ),
    "a list without values in some elements is added to an array": (
        field("long[]", max_elements=2, at=("i",), each=("x",)),
        field("long[]", max_elements=2, at=("i",), each=("y",), nullable_elements=True),
    ),
    "a few values become any text": (field("string", enum=("a",)), field("string")),
    "a few short values become short text": (field("string", enum=("a",)), field("string", max_length=1, min_length=1)),
}


def versions(old: ContractField | None, new: ContractField | None) -> tuple[type[Contract], type[Contract]]:
    return contract_of(*([old] if old else [])), contract_of(*([new] if new else []), version=2)


@pytest.mark.parametrize("name", BREAKING)
def test_a_change_that_breaks_readers_is_found_and_named(name: str) -> None:
    old, new, _, says = BREAKING[name]
    writer, reader = versions(old, new)
    found = reader_breaks(reader=contract_fields(reader), writer=contract_fields(writer))
    assert [b.field for b in found] == [new.path if new else "x"]
    assert says in found[0].what


@pytest.mark.parametrize("name", BREAKING)
def test_readers_do_refuse_events_after_a_breaking_change(name: str) -> None:
    old, new, event, _ = BREAKING[name]
    writer, reader = versions(old, new)
    assert all(isinstance(reading, Rejection) for reading in readings({"t": 0, **event}, writer, reader))


@pytest.mark.parametrize("name", COMPATIBLE)
def test_a_compatible_change_has_no_breaks(name: str) -> None:
    writer, reader = versions(*COMPATIBLE[name])
    assert reader_breaks(reader=contract_fields(reader), writer=contract_fields(writer)) == []


@pytest.mark.parametrize(
    ("compatibility", "new_reads_old", "old_reads_new"),
    [("BACKWARD", True, False), ("FORWARD", False, True), ("FULL", True, True), ("NONE", False, False)],
)
def test_each_compatibility_covers_its_direction(compatibility: Any, new_reads_old: bool, old_reads_new: bool) -> None:
    narrow, wide = [field("long", minimum=0)], [field("long")]
    assert bool(breaks(compatibility, old=wide, new=narrow)) == new_reads_old
    assert bool(breaks(compatibility, old=narrow, new=wide)) == old_reads_new


@pytest.mark.parametrize(("role", "name"), [(EVENT_ID, "event_id"), (EVENT_TIME, "event_time")])
def test_moving_the_event_id_or_event_time_to_another_field_is_a_break(role: Any, name: str) -> None:
    old = [field("long", minimum=0, roles=(role,)), ContractField(name="y", type="long", minimum=0)]
    new = [field("long", minimum=0), ContractField(name="y", type="long", minimum=0, roles=(role,))]
    assert breaks("BACKWARD", old=old, new=new) == [Break("x", f"the {name} was x, and is now y")]
    assert breaks("NONE", old=old, new=new) == []


@pytest.mark.parametrize(("minimum", "breaks_readers"), [(0, False), (EARLIEST_MS, False), (EARLIEST_MS + 1, True)])
def test_a_bound_on_event_time_breaks_readers_only_if_it_is_later_than_the_default(
    minimum: int, breaks_readers: bool
) -> None:
    old, new = [field("long", roles=(EVENT_TIME,))], [field("long", minimum=minimum, roles=(EVENT_TIME,))]
    assert bool(reader_breaks(reader=new, writer=old)) == breaks_readers


def test_another_unit_of_a_time_breaks_readers_even_if_no_event_is_refused() -> None:
    old, new = [field("long", written="microseconds")], [field("long", written="nanoseconds")]
    assert reader_breaks(reader=new, writer=old) == [Break("x", "written as microseconds, read as nanoseconds")]


def test_every_break_is_reported_not_only_the_first() -> None:
    old = [field("long"), ContractField(name="y", type="string")]
    new = [field("long", minimum=0, maximum=9), ContractField(name="y", type="long")]
    assert [b.field for b in breaks("BACKWARD", old=old, new=new)] == ["x", "x", "y"]


shapes = st.lists(
    st.builds(
        ContractField,
        name=st.sampled_from(["x", "y", "z"]),
        type=st.sampled_from(["string", "long", "double", "boolean"]),
        nullable=st.booleans(),
    ),
    unique_by=lambda made: made.name,
    max_size=3,
)
VALUES: dict[str, Any] = {"string": "a", "long": 7, "double": 1.5, "boolean": True}


def with_some_defaults(fields: list[ContractField], optional: set[str]) -> list[ContractField]:
    return [
        f.model_copy(update={"required": False, "default": VALUES[f.type]}) if f.name in optional else f for f in fields
    ]


@FOUND_BY_HYPOTHESIS
@given(shapes, shapes, st.sets(st.sampled_from(["x", "y", "z"])))
def test_structural_rules_agree_with_fastavros_resolution(
    written: list[ContractField], read_as: list[ContractField], optional: set[str]
) -> None:
    writer, reader = contract_of(*written), contract_of(*with_some_defaults(read_as, optional))
    events = [
        {"t": 0, **{f.name: None if f.nullable and f.name == null else VALUES[f.type] for f in written}}
        for null in ("none", "x", "y", "z")
    ]
    found = reader_breaks(reader=contract_fields(reader), writer=contract_fields(writer))
    assert (found == []) == all(fastavro_resolves(event, writer, reader) for event in events)


def fastavro_resolves(event: dict[str, Any], writer: type[Contract], reader: type[Contract]) -> bool:
    buffer, schema = io.BytesIO(), parse_schema(contract_schema(writer))
    schemaless_writer(buffer, schema, event)
    buffer.seek(0)
    try:
        schemaless_reader(buffer, schema, parse_schema(contract_schema(reader)))
    except Exception:  # noqa: BLE001 - fastavro has more than one way to say no
        return False
    return True


bounds = st.none() | st.integers(-2, 2)
ranges = st.builds(
    ContractField,
    name=st.just("x"),
    type=st.sampled_from(["long", "double"]),
    nullable=st.booleans(),
    minimum=bounds,
    minimum_exclusive=st.booleans(),
    maximum=bounds,
    maximum_exclusive=st.booleans(),
).filter(lambda f: has_values(f.type, f.minimum, f.minimum_exclusive, f.maximum, f.maximum_exclusive))


@FOUND_BY_HYPOTHESIS
@given(ranges, ranges, st.none() | st.integers(-4, 4))
def test_without_breaks_readers_accept(written: ContractField, read_as: ContractField, value: int | None) -> None:
    writer, reader = contract_of(written), contract_of(read_as)
    event = {"t": 0, "x": value}
    valid = not isinstance(read(json.dumps(event).encode(), writer, writer), Rejection)
    if valid and not reader_breaks(reader=contract_fields(reader), writer=contract_fields(writer)):
        assert not any(isinstance(reading, Rejection) for reading in readings(event, writer, reader))


@pytest.mark.parametrize("compatibility", ["BACKWARD", "FORWARD", "FULL"])
@pytest.mark.parametrize(("before", "after"), [(Pii.HASH, None), (Pii.DROP, None), (Pii.HASH, Pii.DROP)])
def test_personal_data_stays_protected_in_the_same_way(
    compatibility: Compatibility, before: Pii, after: Pii | None
) -> None:
    old, new = (ContractField(name="card", type="string", pii=pii) for pii in (before, after))
    (found,) = breaks(compatibility, old=[old], new=[new])
    assert str(found).startswith(f"card: was protected as personal data ({before.value}), and is ")
    assert breaks(compatibility, old=[old], new=[old]) == breaks("NONE", old=[old], new=[new]) == []


def test_personal_data_cannot_lose_its_protection_at_another_place() -> None:
    old = [field("string", pii=Pii.HASH)]
    new = [ContractField(name=old[0].name, type="string", at=("user", old[0].name))]
    assert Break(old[0].path, "was protected as personal data (hash), and is no longer") in breaks(
        "BACKWARD", old=old, new=new
    )


def test_personal_data_cannot_lose_its_protection_under_another_name() -> None:
    old = [field("string", at=("card", "number"), pii=Pii.HASH)]
    new = [ContractField(name="other", type="string", at=("card", "number"))]
    assert breaks("BACKWARD", old=old, new=new) == [
        Break("card.number", "was protected as personal data (hash), and is no longer")
    ]
