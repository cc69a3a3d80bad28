"""A contract of a JSON Schema accepts what jsonschema accepts, within what the page says about both."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import SECONDS, AsDecimal, Contract
from penstock.errors import PenstockError
from schemas.avro import contract_schema, fields_of
from schemas.codec import Decoder, Rejection, decode_event
from schemas.contract import contract_fields
from schemas.event_time import EARLIEST_MS

TIME = {"type": "integer", "minimum": EARLIEST_MS}


def event_schema(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"time": TIME, **properties}, "required": ["time", *required], **more}


def made(schema: dict[str, Any], **choices: Any) -> type[Contract]:
    return Contract.from_json_schema(schema, name="event", version=1, event_time="time", **choices)


def decoded(contract: type[Contract], event: Any) -> Contract | Rejection:
    value = json.dumps(event).encode()
    return decode_event(value, contract, Decoder(), kafka_timestamp_ms=-1, max_future_ms=0, max_bytes=1 << 20)


def fields(contract: type[Contract]) -> list[dict[str, Any]]:
    """All but the event time, with what is not by default."""
    return [field.model_dump(exclude_defaults=True, mode="json") for field in contract_fields(contract)[1:]]


numbers = st.integers(-3, 3) | st.sampled_from([-2.5, 0.5, 2.5])
bounds = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), numbers),
)
kinds = st.one_of(
    st.builds(lambda rules: {"type": "integer", **rules}, bounds),
    st.builds(lambda rules: {"type": "number", **rules}, bounds),
    st.just({"type": "boolean"}),
    st.builds(
        lambda rules: {"type": "string", **rules},
        st.fixed_dictionaries(
            {},
            optional={
                "minLength": st.integers(0, 2),
                "maxLength": st.integers(2, 3),
                "pattern": st.sampled_from(["^a", r"^\d+$", r"[\w-]", "^(a|b.)$", r"\W"]),
            },
        ),
    ),
    st.just({"enum": ["a", "b"]}),
    st.just({"const": "a"}),
    st.just({"type": "string", "enum": ["a", "1"]}),
)
VALUES: list[Any] = [None, True, -3, -2, 0, 1, 2, 3, 2.5, -2.5, "", "a", "b1", "1", "12", "-", "aé", "abcd", [], {}]
values = st.sampled_from(VALUES)
schemas = st.dictionaries(st.sampled_from(["a", "b", "c"]), kinds, min_size=1)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(schemas, st.booleans(), st.data())
def test_a_contract_accepts_what_the_schema_accepts(
    properties: dict[str, Any], nested: bool, data: st.DataObject
) -> None:
    inner = {"type": "object", "properties": properties, "required": [*properties]}
    schema = event_schema({"inner": inner} if nested else properties, *(["inner"] if nested else properties))
    try:
        contract = made(schema)
    except PenstockError as error:
        assert "within its bounds" in error.what  # noqa: PT017 - bounds that no value is within
        return
    assert fields_of(contract_schema(contract)) == contract_fields(contract)
    row = {name: data.draw(values) for name in properties}
    event = {"time": EARLIEST_MS, **({"inner": row} if nested else row)}
    is_valid = jsonschema.Draft202012Validator(schema).is_valid(event)
    assert isinstance(decoded(contract, event), contract) == is_valid


@settings(derandomize=True, deadline=None, max_examples=100)
@given(kinds, kinds, st.integers(1, 3) | st.none(), st.booleans(), st.data())
def test_a_contract_accepts_the_arrays_that_the_schema_accepts(
    plain: dict[str, Any], inner: dict[str, Any], most: int | None, is_required: bool, data: st.DataObject
) -> None:
    limit = {} if most is None else {"maxItems": most}
    item = {"type": "object", "properties": {"a": inner}, "required": ["a"] if is_required else []}
    schema = event_schema(
        {"p": {"type": "array", "items": plain, **limit}, "q": {"type": "array", "items": item, **limit}}, "p", "q"
    )
    try:
        contract = made(schema)
    except PenstockError as error:
        assert "within its bounds" in error.what  # noqa: PT017 - bounds that no value is within
        return
    assert fields_of(contract_schema(contract)) == contract_fields(contract)
    rows = st.fixed_dictionaries({}, optional={"a": values.filter(lambda value: value is not None)})
    event = {
        "time": EARLIEST_MS,
        "p": data.draw(st.lists(values, max_size=4) | values),
        "q": data.draw(st.lists(rows | values.filter(lambda value: value is not None), max_size=4) | values),
    }
    is_valid = jsonschema.Draft202012Validator(schema).is_valid(event)
    assert isinstance(decoded(contract, event), contract) == is_valid


def test_references_unions_with_null_and_all_of_are_followed() -> None:
    schema = event_schema(
        {
            "card": {"$ref": "#/$defs/card"},
            "a": {"type": ["string", "null"]},
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "c": {"allOf": [{"$ref": "#/$defs/text"}, {"maxLength": 3}]},
            "d": {"enum": ["x", None]},
        },
        "card",
        "a",
        "c",
        **{
            "$defs": {
                "card": {"type": "object", "properties": {"number": {"$ref": "#/$defs/text"}}, "required": ["number"]},
                "text": {"type": "string", "minLength": 1, "description": "a text"},
            }
        },
    )
    assert fields(made(schema)) == [
        {"name": "card_number", "type": "string", "min_length": 1, "description": "a text", "at": ["card", "number"]},
        {"name": "a", "type": "string", "nullable": True},
        {"name": "b", "type": "long", "nullable": True, "required": False},
        {"name": "c", "type": "string", "min_length": 1, "max_length": 3, "description": "a text"},
        {"name": "d", "type": "string", "nullable": True, "required": False, "enum": ["x"]},
    ]


def test_what_stands_beside_a_reference_or_a_union_with_null_holds_as_well() -> None:
    schema = {
        "$ref": "#/$defs/event",
        "required": ["a", "c"],
        "properties": {
            "a": {"$ref": "#/$defs/text", "maxLength": 3, "description": "short"},
            "b": {"$ref": "#/$defs/text", "default": "x"},
            "c": {"$ref": "#/$defs/number"},
            "d": {"minimum": 1, "anyOf": [{"type": "integer", "maximum": 5, "title": "inner"}, {"type": "null"}]},
        },
        "allOf": [{"properties": {"e": {"type": "boolean"}}, "required": ["e"]}],
        "$defs": {
            "event": event_schema({}, "id", allOf=[{"properties": {"id": {"type": "string"}}}]),
            "text": {"type": "string", "minLength": 1, "default": "none", "description": "a text"},
            "number": {"type": "integer", "nullable": True},
        },
    }
    contract = made(schema)
    assert {field.name for field in contract_fields(contract) if field.required} == {"time", "id", "a", "c", "e"}
    found = {field.name: field.model_dump(exclude_defaults=True, mode="json") for field in contract_fields(contract)}
    assert found["a"] == {"name": "a", "type": "string", "min_length": 1, "max_length": 3, "description": "short"}
    assert (found["b"]["default"], found["c"]["nullable"]) == ("x", True)
    assert (found["d"]["minimum"], found["d"]["maximum"]) == (1, 5)


@pytest.mark.parametrize(
    "field",
    [
        {"$ref": "#/$defs/text", "maxLength": 9},
        {"maxLength": 9, "anyOf": [{"$ref": "#/$defs/text"}, {"type": "null"}]},
        {"maxLength": 9, "anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}]},
    ],
)
def test_a_rule_that_is_given_twice_is_not_chosen_among(field: Any) -> None:
    schema = event_schema({"x": field}, **{"$defs": {"text": {"type": "string", "maxLength": 5}}})
    with pytest.raises(PenstockError, match="its maxLength is given twice"):
        made(schema)


def test_formats_say_how_values_are_written() -> None:
    schema = event_schema(
        {
            "at": {"type": "string", "format": "date-time"},
            "day": {"type": "string", "format": "date"},
            "id": {"type": "string", "format": "uuid"},
            "token": {"type": "string", "contentEncoding": "base64"},
            "mail": {"type": "string", "format": "email"},
        },
        *("at", "day", "id", "token", "mail"),
    )
    assert [(field["type"], field.get("written")) for field in fields(made(schema))] == [
        ("long", "iso8601"),
        ("string", "date"),
        ("string", "uuid"),
        ("string", "bytes"),
        ("string", None),
    ]


def test_a_call_says_how_values_are_written_where_the_schema_does_not() -> None:
    schema = event_schema({"created": {"type": "integer"}, "fee": {"type": "string"}}, "created", "fee")
    contract = Contract.from_json_schema(
        schema,
        name="event",
        version=1,
        event_time="created",
        only=("created", "fee"),
        written={"created": SECONDS, "fee": AsDecimal(2)},
        types={"fee": str},
        names={"created": "charged_at"},
    )
    event = decoded(contract, {"created": EARLIEST_MS // 1000, "fee": "1.5"})
    assert isinstance(event, contract), event
    assert event.model_dump() == {"charged_at": EARLIEST_MS, "fee": "1.50"}


def test_optional_fields_have_the_default_of_the_schema_or_null() -> None:
    schema = event_schema({"n": {"type": "number", "default": 3}, "t": {"type": "string"}})
    contract = made(schema)
    event = decoded(contract, {"time": EARLIEST_MS})
    assert isinstance(event, contract), event
    assert event.model_dump() == {"time": EARLIEST_MS, "n": 3.0, "t": None}


def test_a_default_in_an_array_is_given_up_only_when_the_call_says_so_and_the_element_is_left_out() -> None:
    item = {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}
    schema = event_schema({"items": {"type": "array", "items": item}}, "items")
    with pytest.raises(PenstockError, match=r"items\[\].n .default .a value in a list can have none"):
        made(schema)
    event = decoded(made(schema, unchecked=("items",)), {"time": EARLIEST_MS, "items": [{}, {"n": 5}]})
    assert isinstance(event, Contract), event
    assert event.model_dump() == {"time": EARLIEST_MS, "items_n": [5]}


def test_arrays_keys_of_maps_and_their_elements_become_columns() -> None:
    schema = event_schema(
        {
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 5, "title": "words"},
            "items": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "required": ["sku"],
                    "properties": {
                        "sku": {"type": "string"},
                        "at": {"type": "string", "format": "date-time"},
                        "sizes": {"type": "object", "additionalProperties": {"type": "integer"}},
                    },
                },
            },
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "tags",
    )
    contract = made(schema, keys=("labels.area", ("items[]", "sizes", "s.m")), max_elements={"items[]": 500})
    optional = {"nullable": True, "required": False}
    in_items = {"at": ["items"], "max_elements": 500}
    assert fields(contract) == [
        {"name": "tags", "type": "string[]", "max_length": 3, "description": "words", "max_elements": 5},
        {"name": "items_sku", "type": "string[]", **optional, **in_items, "each": ["sku"]},
        {
            "name": "items_at",
            "type": "long[]",
            **optional,
            **in_items,
            "written": "iso8601",
            "each": ["at"],
            "nullable_elements": True,
        },
        {
            "name": "items_sizes_s_m",
            "type": "long[]",
            **optional,
            **in_items,
            "each": ["sizes", "s.m"],
            "nullable_elements": True,
        },
        {"name": "labels_area", "type": "string", **optional, "at": ["labels", "area"]},
    ]


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, "it is a list of lists"),
        ({"type": "array", "items": {"type": "object"}}, "it is a list of maps"),
        ({"type": "array"}, "it may be anything"),
        ({"type": "array", "items": [{"type": "string"}]}, "its elements have a type each"),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, "its elements have a type each"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "it is a map"),
        ({"type": ["string", "integer"]}, "it has several types"),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "it has one of several forms"),
        ({"type": "object", "properties": {"a": {}}, "oneOf": [{"properties": {}}]}, "it has one of several forms"),
        ({}, "it has no type"),
        (True, "it may be anything"),
        ({"type": "null"}, "it is always null"),
        ({"$ref": "other.json"}, "it refers to other.json, which is elsewhere"),
        ({"$ref": "#/$defs/none"}, "it refers to #/.defs/none, which does not exist"),
        ({"type": "string", "allOf": [{"type": "integer"}]}, "its type is given twice"),
    ],
)
def test_a_field_that_no_column_can_hold_says_why(field: Any, why: str) -> None:
    schema = event_schema({"field": field})
    with pytest.raises(PenstockError, match=f"no column can hold field .*{why}") as error:
        made(schema)
    assert 'leave_out=("field",)' in str(error.value)
    assert fields(made(schema, leave_out=("field",))) == []


def test_a_schema_that_contains_itself_is_left_out_where_it_does() -> None:
    schema = event_schema({"node": {"$ref": "#/$defs/node"}}, **{"$defs": {"node": NODE}})
    with pytest.raises(PenstockError, match=r"node.next \(it contains itself"):
        made(schema)


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ({"type": "number", "multipleOf": 0.01}, "multipleOf 0.01"),
        ({"type": "integer", "enum": [1, 2]}, "enum"),
        ({"type": "string", "not": {"const": "x"}}, "not"),
        ({"type": "string", "pattern": r"^\s$"}, "pattern"),
        ({"type": "string", "pattern": r"[\d-x]"}, "no end of a range"),
        ({"type": "string", "format": "date-time", "maxLength": 20}, "maxLength .of a date-time"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 1}, "uniqueItems, minItems 1"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 10_001}, "maxItems 10001 .at most 10000"),
        ({"type": "array", "items": {"type": "string"}, "default": []}, "default .a list can have none"),
        ({"type": "array", "items": {"type": "number", "multipleOf": 2}}, "multipleOf 2"),
    ],
)
def test_a_rule_that_no_contract_has_is_given_up_only_when_the_call_says_so(field: Any, says: str) -> None:
    schema = event_schema({"field": field})
    with pytest.raises(PenstockError, match=f"no contract can have the rules of field .*{says}") as error:
        made(schema)
    assert 'unchecked=("field",)' in str(error.value)
    assert [field["name"] for field in fields(made(schema, unchecked=("field",)))] == ["field"]


def test_bounds_of_draft_4_and_bounds_beyond_64_bits_are_understood() -> None:
    schema = event_schema(
        {
            "a": {"type": "integer", "minimum": 1, "exclusiveMinimum": True, "maximum": 2**64},
            "b": {"type": "number", "minimum": 1, "exclusiveMinimum": 1, "maximum": 5, "exclusiveMaximum": 9},
        },
        "a",
        "b",
    )
    assert fields(made(schema)) == [
        {"name": "a", "type": "long", "minimum": 1, "minimum_exclusive": True},
        {"name": "b", "type": "double", "minimum": 1, "minimum_exclusive": True, "maximum": 5},
    ]


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "string"}, "no object with properties"),
        ({"oneOf": [{"type": "object", "properties": {}}]}, "no object with properties"),
        ({"properties": {}, "oneOf": [{"properties": {}}, {"properties": {}}]}, "give the schema of one of them"),
        ({"$ref": "#"}, "it contains itself"),
    ],
)
def test_a_schema_that_is_none_of_an_object_is_refused(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(PenstockError, match=says):
        made(schema)
