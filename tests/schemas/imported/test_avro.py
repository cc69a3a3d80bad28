"""A contract of an Avro schema reads what fastavro writes with that schema."""

from __future__ import annotations

import base64
import io
import uuid
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import AsDecimal, Contract
from penstock.errors import PenstockError
from schemas.avro import contract_schema, fields_of, parse_avro
from schemas.codec import Decoder, Rejection, decode_event
from schemas.contract import contract_fields
from schemas.event_time import EARLIEST_MS

LATEST_MS = 1_800_000_000_000
texts = st.text(st.characters(codec="utf-8"), max_size=5)
longs = st.integers(-(2**63), 2**63 - 1)
days = st.dates(date(1, 1, 1), date(9999, 12, 31))
KINDS: list[tuple[Any, st.SearchStrategy[tuple[Any, Any]]]] = [
    ("string", texts.map(lambda x: (x, x))),
    ("int", st.integers(-(2**31), 2**31 - 1).map(lambda x: (x, x))),
    ("long", longs.map(lambda x: (x, x))),
    ("float", st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: (x, x))),
    ("double", st.floats(allow_nan=False, allow_infinity=False).map(lambda x: (x, x))),
    ("boolean", st.booleans().map(lambda x: (x, x))),
    ("bytes", st.binary(max_size=5).map(lambda x: (x, _base64(x)))),
    (
        {"type": "fixed", "name": "Digest", "size": 2},
        st.binary(min_size=2, max_size=2).map(lambda x: (x, _base64(x))),
    ),
    ({"type": "enum", "name": "Kind", "symbols": ["A", "B"]}, st.sampled_from("AB").map(lambda x: (x, x))),
    ({"type": "int", "logicalType": "date"}, days.map(lambda x: (x, x.isoformat()))),
    ({"type": "string", "logicalType": "uuid"}, st.uuids().map(lambda x: (x, str(x)))),
    ({"type": "long", "logicalType": "timestamp-millis"}, longs.map(lambda x: (x, x))),
    ({"type": "long", "logicalType": "timestamp-micros"}, longs.map(lambda x: (x, x // 1000))),
    ({"type": "long", "logicalType": "timestamp-nanos"}, longs.map(lambda x: (x, x // 1_000_000))),
    (
        {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2},
        st.integers(-(10**10) + 1, 10**10 - 1).map(lambda x: (Decimal(x).scaleb(-2), x / 100)),
    ),
]


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def record(*fields: Any, name: str = "Event", **more: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": name, "type": kind, **rest} for name, kind, rest in ((*f, {})[:3] for f in fields)],
        **more,
    }


def written(schema: Any, datum: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), datum)
    return out.getvalue()


def decoded(contract: type[Contract], schema: Any, datum: Any) -> Contract | Rejection:
    return decode_event(
        b"\0\0\0\0\x01" + written(schema, datum),
        contract,
        Decoder(),
        kafka_timestamp_ms=-1,
        max_future_ms=0,
        max_bytes=1 << 20,
        registry=lambda _: parse_avro(schema),
    )


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.data())
def test_what_fastavro_writes_with_a_schema_is_read_with_its_contract(data: st.DataObject) -> None:
    fields: list[Any] = [("id", "string"), ("time", {"type": "long", "logicalType": "timestamp-millis"})]
    datum: dict[str, Any] = {"id": "e", "time": data.draw(st.integers(EARLIEST_MS, LATEST_MS))}
    expected: dict[str, Any] = dict(datum)
    nested: list[Any] = []
    inner: dict[str, Any] | None = data.draw(st.sampled_from([{}, None]))
    for number, (kind, values) in enumerate(KINDS):
        value, column = data.draw(values)
        is_null = data.draw(st.booleans())
        is_nested = data.draw(st.booleans())
        field = (f"f{number}", ["null", kind] if is_null or data.draw(st.booleans()) else kind)
        (nested if is_nested else fields).append(field)
        if not is_nested:
            datum[field[0]] = None if is_null else value
            expected[field[0]] = None if is_null else column
        else:
            if inner is not None:
                inner[field[0]] = None if is_null else value
            expected[f"inner_{field[0]}"] = None if is_null or inner is None else column
    schema = record(*fields, ("inner", ["null", record(*nested, name="Inner")]), namespace="a.b")
    contract = Contract.from_avro(schema, name="event", version=1, event_time="time", event_id="id")
    assert fields_of(contract_schema(contract)) == contract_fields(contract)
    event = decoded(contract, schema, datum | {"inner": inner})
    assert isinstance(event, contract), event
    assert event.model_dump() == expected


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.data())
def test_arrays_that_fastavro_writes_are_lists_of_its_contract(data: st.DataObject) -> None:
    plain: list[Any] = []
    inner: list[Any] = []
    length = data.draw(st.integers(0, 3))
    datum: dict[str, Any] = {"time": EARLIEST_MS, "items": [{} for _ in range(length)]}
    expected: dict[str, list[Any]] = {}
    for number, (kind, values) in enumerate(KINDS):
        may_be_null, is_inner = data.draw(st.booleans()), data.draw(st.booleans())
        size = length if is_inner else data.draw(st.integers(0, 3))
        pairs = [(None, None) if may_be_null and data.draw(st.booleans()) else data.draw(values) for _ in range(size)]
        element = ["null", kind] if may_be_null else kind
        name = f"f{number}"
        if is_inner:
            inner.append((name, element))
            for item, (value, _) in zip(datum["items"], pairs, strict=True):
                item[name] = value
        else:
            plain.append((name, {"type": "array", "items": element}))
            datum[name] = [value for value, _ in pairs]
        # Elements without a value are left out.
        expected[f"items_{name}" if is_inner else name] = [column for _, column in pairs if column is not None]
    items = {"type": "array", "items": record(*inner, name="Item")}
    schema = record(("time", "long"), *plain, ("items", items))
    contract = Contract.from_avro(schema, name="event", version=1, event_time="time")
    assert fields_of(contract_schema(contract)) == contract_fields(contract)
    event = decoded(contract, schema, datum)
    assert isinstance(event, contract), event
    assert event.model_dump() == {"time": EARLIEST_MS, **expected}


def test_an_array_may_be_null_and_its_elements_may_be_objects_in_objects() -> None:
    price = record(
        ("amount", "double", {"doc": "in euros"}), ("fee", ["null", "long"], {"default": None}), name="Price"
    )
    item = record(("sku", "string"), ("price", ["null", price]), ("parts", {"type": "array", "items": "string"}))
    arrays = [
        ("items", ["null", {"type": "array", "items": item | {"name": "Item"}}], {"default": None}),
        ("tags", {"type": "array", "items": "string"}, {"default": [], "doc": "words"}),
        ("again", {"type": "array", "items": "Event"}),
        ("grid", {"type": "array", "items": {"type": "array", "items": "long"}}),
    ]
    schema = record(("time", "long"), *arrays)
    with pytest.raises(PenstockError) as error:
        Contract.from_avro(schema, name="e", version=1, event_time="time")
    assert "items[].parts (it is a list within a list), again[] (it contains itself" in error.value.what
    assert "grid (it is a list of lists)" in error.value.what
    contract = Contract.from_avro(
        schema,
        name="e",
        version=1,
        event_time="time",
        leave_out=("items[].parts", "again", "grid"),
        unchecked=("tags",),
        max_elements={"items": 20},
    )
    optional = {"nullable": True, "required": False}
    in_items = {"at": ["items"], "max_elements": 20}
    assert [field.model_dump(exclude_defaults=True, mode="json") for field in contract_fields(contract)][1:] == [
        {"name": "items_sku", "type": "string[]", **optional, **in_items, "each": ["sku"]},
        {
            "name": "items_price_amount",
            "type": "double[]",
            **optional,
            **in_items,
            "description": "in euros",
            "each": ["price", "amount"],
            "nullable_elements": True,
        },
        {
            "name": "items_price_fee",
            "type": "long[]",
            **optional,
            **in_items,
            "each": ["price", "fee"],
            "nullable_elements": True,
        },
        {"name": "tags", "type": "string[]", **optional, "description": "words", "max_elements": 100},
    ]


def test_keys_of_maps_are_columns_if_they_are_named() -> None:
    schema = record(
        ("time", "long"),
        ("labels", {"type": "map", "values": {"type": "int", "logicalType": "date"}}),
        ("items", {"type": "array", "items": record(("sizes", {"type": "map", "values": "long"}), name="Item")}),
    )
    keys = ("labels.first day", "items[].sizes.s")
    contract = Contract.from_avro(schema, name="e", version=1, event_time="time", keys=keys)
    datum = {"time": EARLIEST_MS, "labels": {"first day": 0, "x": 1}, "items": [{"sizes": {"s": 5}}, {"sizes": {}}]}
    event = decoded(contract, schema, datum)
    assert isinstance(event, contract), event
    assert event.model_dump() == {"time": EARLIEST_MS, "labels_first_day": "1970-01-01", "items_sizes_s": [5]}


NAMED = record(
    ("id", "string"),
    ("time", "long"),
    ("from", record(("city", "string"), ("kind", "Kind"), name="Place"), {"doc": "where"}),
    ("to", ["null", "Place"], {"default": None}),
    ("kind", "x.Kind", {"default": "A"}),
    ("n", "int", {"default": 3}),
    ("either", ["int", "string"]),
    ("list", {"type": "array", "items": {"type": "map", "values": "string"}}),
    ("map", {"type": "map", "values": "string"}),
    ("again", ["null", "Event"]),
    ("nothing", "null"),
    namespace="x",
)
NAMED["fields"][2]["type"]["fields"][1]["type"] = {
    "type": "enum",
    "name": "Kind",
    "symbols": ["A", "B"],
    "default": "B",
}
UNFIT = ("either", "list", "map", "again", "nothing")


def test_names_defaults_enums_and_objects_are_carried_over() -> None:
    contract = Contract.from_avro(NAMED, name="event", version=1, event_time="time", event_id="id", leave_out=UNFIT)
    assert [field.model_dump(exclude_defaults=True, mode="json") for field in contract_fields(contract)] == [
        {"name": "id", "type": "string", "roles": ["event_id"]},
        {"name": "time", "type": "long", "roles": ["event_time"]},
        {"name": "from_city", "type": "string", "at": ["from", "city"]},
        {"name": "from_kind", "type": "string", "enum": ["A", "B"], "otherwise": "B", "at": ["from", "kind"]},
        {"name": "to_city", "type": "string", "nullable": True, "required": False, "at": ["to", "city"]},
        {
            "name": "to_kind",
            "type": "string",
            "enum": ["A", "B"],
            "otherwise": "B",
            "nullable": True,
            "required": False,
            "at": ["to", "kind"],
        },
        {
            "name": "kind",
            "type": "string",
            "enum": ["A", "B"],
            "otherwise": "B",
            "required": False,
            "default": "A",
        },
        {"name": "n", "type": "long", "required": False, "default": 3},
    ]


def test_fields_that_no_column_can_hold_are_named_with_the_argument_that_leaves_them_out() -> None:
    with pytest.raises(PenstockError) as error:
        Contract.from_avro(NAMED, name="event", version=1, event_time="time")
    for field, why in {
        "either": "it has a union of several types",
        "list": "it is a list of maps",
        "map": "it is a map",
        "again": "it contains itself, or nests too deep",
        "nothing": "it is always null",
    }.items():
        assert f"{field} ({why})" in error.value.what
    assert error.value.next is not None
    assert 'leave_out=("either", "list", "map", "again", "nothing")' in error.value.next


def test_a_type_without_a_namespace_has_that_of_where_it_is_defined() -> None:
    inner = record(("kind", {"type": "enum", "name": "Kind", "symbols": ["A"]}), ("more", "Kind"), name="Inner")
    outer = record(("inner", inner), name="Outer", namespace="other")
    schema = record(("time", "long"), ("first", outer), ("again", "other.Inner"), namespace="x")
    contract = Contract.from_avro(schema, name="event", version=1, event_time="time")
    assert [field.name for field in contract_fields(contract)][1:] == [
        "first_inner_kind",
        "first_inner_more",
        "again_kind",
        "again_more",
    ]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ({"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}, "no scale within its precision"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 60, "scale": 50}, "more than 38 decimal places"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 60, "scale": 2}, r"precision 60 \(at most 38\)"),
        ("Unknown", "it is of type Unknown"),
        ({"type": 3}, "its type cannot be read"),
        ({"type": "enum", "name": "E", "symbols": []}, "it has no values"),
    ],
)
def test_a_type_that_cannot_be_one_of_a_column_says_why(kind: Any, says: str) -> None:
    with pytest.raises(PenstockError, match=says):
        Contract.from_avro(record(("time", "long"), ("field", kind)), name="e", version=1, event_time="time")


def test_a_decimal_may_be_exact_and_a_date_a_number_of_days() -> None:
    schema = record(
        ("time", "long"),
        ("fee", {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}),
        ("day", {"type": "int", "logicalType": "date"}),
        ("total", "long"),
    )
    contract = Contract.from_avro(
        schema, name="e", version=1, event_time="time", types={"fee": str, "day": int, "total": float}
    )
    datum = {"time": EARLIEST_MS, "fee": Decimal("12.50"), "day": date(1970, 1, 1) + timedelta(30), "total": 7}
    event = decoded(contract, schema, datum)
    assert isinstance(event, contract), event
    assert event.model_dump() == {"time": EARLIEST_MS, "fee": "12.50", "day": 30, "total": 7.0}


def test_a_default_of_a_value_in_a_form_of_its_own_counts_only_as_null() -> None:
    day = {"type": "int", "logicalType": "date"}
    schema = record(("time", "long"), ("day", day, {"default": 0}))
    with pytest.raises(PenstockError, match=r"day .default .a date can have none"):
        Contract.from_avro(schema, name="e", version=1, event_time="time")
    contract = Contract.from_avro(schema, name="e", version=1, event_time="time", unchecked=("day",))
    assert contract(time=EARLIEST_MS).model_dump()["day"] is None


@pytest.mark.parametrize("schema", [{"type": "enum", "name": "e", "symbols": ["A"]}, {"type": []}, {}])
def test_a_schema_that_is_none_of_a_record_is_refused(schema: Any) -> None:
    with pytest.raises(PenstockError, match=r"not the Avro schema of a record"):
        Contract.from_avro(schema, name="e", version=1, event_time="t")


def test_a_form_that_contradicts_the_schema_is_refused() -> None:
    schema = record(("time", "long"), ("id", {"type": "string", "logicalType": "uuid"}))
    with pytest.raises(PenstockError, match=r"written says that id is decimal, and the schema says that it is uuid"):
        Contract.from_avro(schema, name="e", version=1, event_time="time", written={"id": AsDecimal(2)})


def test_uuids_of_sixteen_bytes_are_texts() -> None:
    schema = record(("time", "long"), ("id", {"type": "fixed", "size": 16, "name": "U", "logicalType": "uuid"}))
    contract = Contract.from_avro(schema, name="e", version=1, event_time="time", event_id="id")
    value = uuid.UUID(int=7)
    plain = record(("time", "long"), ("id", {"type": "fixed", "size": 16, "name": "U"}))
    event = decoded(contract, plain, {"time": EARLIEST_MS, "id": value.bytes})
    assert isinstance(event, contract), event
    assert event.model_dump()["id"] == str(value)
