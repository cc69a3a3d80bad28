from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from fastavro.schema import parse_schema
from pydantic import Field

from penstock import EVENT_TIME, Contract
from schemas.avro import canonical_form, contract_schema, fields_of, fingerprint, has_items_without_bytes, parse_avro
from schemas.contract import ContractField, contract_fields
from tests.schemas.samples import Sample, contract_of


# The first values of the table in Avro's own test data (share/test/data/schema-tests.txt), as signed 64-bit integers.
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("null", 7195948357588979594),
        ("boolean", -6970731678124411036),
        ("int", 8247732601305521295),
        ("long", -3434872931120570953),
        ("float", 5583340709985441680),
        ("double", -8181574048448539266),
        ("bytes", 5746618253357095269),
        ("string", -8142146995180207161),
    ],
)
def test_fingerprints_match_avros_own_test_data(schema: str, value: int) -> None:
    assert fingerprint(schema) == value.to_bytes(8, "little", signed=True)


def test_the_canonical_form_ignores_docs_defaults_and_attributes() -> None:
    bare = {"type": "record", "name": "a", "namespace": "n", "fields": [{"name": "x", "type": "long"}]}
    rich = {**bare, "doc": "d", "penstock.version": 3, "fields": [{**bare["fields"][0], "default": 1, "doc": "d"}]}
    form = '{"name":"n.a","type":"record","fields":[{"name":"x","type":"long"}]}'
    assert canonical_form(bare) == canonical_form(rich) == form
    assert fingerprint(bare) == fingerprint(rich)


def test_a_contract_becomes_a_record_of_its_fields_in_order() -> None:
    schema = contract_schema(Sample)
    assert (schema["type"], schema["name"], schema["namespace"]) == ("record", "sample", "penstock.events")
    assert {field["name"]: field["type"] for field in schema["fields"]} == {
        "event_id": "string",
        "event_time": {"type": "long", "logicalType": "timestamp-millis"},
        "card": "string",
        "amount": "double",
        "items": ["null", "long"],
        "channel": ["null", "string"],
        "country": ["null", "string"],
        "flag": "boolean",
    }


def test_a_contracts_schema_is_valid_avro() -> None:
    parse_schema(contract_schema(Sample))


def test_only_a_field_with_a_default_has_an_avro_default() -> None:
    defaults = {f["name"]: f["default"] for f in contract_schema(Sample)["fields"] if "default" in f}
    assert defaults == {"items": None, "channel": None, "country": None, "flag": False}


def test_a_default_that_is_not_null_puts_its_branch_first() -> None:
    contract = contract_of(ContractField(name="x", type="double", nullable=True, required=False, default=1.5))
    field = contract_schema(contract)["fields"][1]
    assert (field["type"], field["default"]) == (["double", "null"], 1.5)
    parse_schema(contract_schema(contract))


def test_a_committed_schema_restores_the_contracts_fields() -> None:
    schema = json.loads(json.dumps(contract_schema(Sample)))
    assert fields_of(schema) == contract_fields(Sample)


def test_descriptions_become_docs() -> None:
    class Documented(Contract, name="documented", version=1):
        """What it is."""

        t: Annotated[int, EVENT_TIME, Field(description="when")]

    schema = contract_schema(Documented)
    assert (schema["doc"], schema["fields"][0]["doc"]) == ("What it is.", "when")


NOTHING = {"type": "record", "name": "nothing", "fields": [{"name": "a", "type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({"type": "array", "items": "null"}, True),
        ({"type": "array", "items": NOTHING}, True),
        ({"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}}, True),
        ({"type": "map", "values": ["null", {"type": "array", "items": "null"}]}, True),
        (
            {
                "type": "record",
                "name": "r",
                "fields": [
                    {"name": "a", "type": NOTHING},
                    {"name": "b", "type": {"type": "array", "items": "nothing"}},
                ],
            },
            True,
        ),
        ({"type": "array", "items": ["null", "long"]}, False),
        ({"type": "array", "items": {"type": "array", "items": "boolean"}}, False),
        ({"type": "map", "values": "null"}, False),
        (NOTHING, False),
    ],
)
def test_an_array_whose_items_take_no_bytes_is_found(schema: Any, found: bool) -> None:
    assert has_items_without_bytes(parse_avro(schema)) == found
