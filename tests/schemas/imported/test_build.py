"""A contract of a schema is what a class would be, and what a call says wrongly is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from penstock import ENTITY, EVENT_ID, EVENT_TIME, ISO8601, PII_DROP, PII_HASH, UUID, At, Contract
from penstock.errors import PenstockError
from schemas.avro import contract_schema
from schemas.contract import contract_fields


class Written(Contract, name="payment", version=3, compatibility="FULL"):
    """A payment."""

    id: Annotated[str, EVENT_ID, UUID]
    at: Annotated[int, EVENT_TIME, At("meta.paidAt"), ISO8601]
    card: Annotated[str | None, ENTITY, PII_HASH, At("card.number")] = None
    card_holder: Annotated[str | None, PII_DROP, At("card.holder")] = None
    amount: Annotated[float, Field(gt=0, description="in euros")]
    class_value: Annotated[str, At("class")] = "a"
    tags: Annotated[list[Annotated[str, Field(min_length=1)]] | None, Field(max_length=5)] = None


SCHEMA: dict[str, Any] = {
    "description": "A payment.",
    "type": "object",
    "required": ["meta", "amount"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "meta": {"type": "object", "properties": {"paidAt": {"type": "string", "format": "date-time"}}},
        "card": {"type": "object", "properties": {"number": {"type": "string"}, "holder": {"type": "string"}}},
        "amount": {"type": "number", "exclusiveMinimum": 0, "description": "in euros"},
        "class": {"type": "string", "default": "a"},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 5},
    },
}
CHOICES: dict[str, Any] = {
    "event_time": "meta.paidAt",
    "event_id": "id",
    "entities": ("card.number",),
    "pii_hash": ("card.number",),
    "pii_drop": ("card.holder",),
    "names": {"meta.paidAt": "at", "card.number": "card"},
}


def made(schema: Any = SCHEMA, **choices: Any) -> type[Contract]:
    return Contract.from_json_schema(schema, name="payment", version=3, compatibility="FULL", **CHOICES | choices)


def test_a_contract_of_a_schema_is_the_contract_that_a_class_would_be() -> None:
    contract = made()
    assert contract_fields(contract) == contract_fields(Written)
    assert contract_schema(contract) == contract_schema(Written)
    assert contract.model_json_schema()["properties"] == Written.model_json_schema()["properties"]
    event: dict[str, Any] = {"id": "0" * 8, "at": 1_700_000_000_000, "amount": 1.0}
    assert contract(**event).model_dump() == Written(**event).model_dump()


def test_a_schema_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "payment.json"
    file.write_text(json.dumps(SCHEMA), encoding="utf-8")
    assert contract_fields(made(file)) == contract_fields(made(str(file))) == contract_fields(Written)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"event_time": "meta.paid"}, "event_time names meta.paid, which the schema does not have"),
        ({"event_time": "meta"}, "event_time names meta, which is an object"),
        ({"event_time": "id"}, "id is the event time, and its column is <class 'str'>"),
        ({"entities": "card.number"}, "entities is one text"),
        ({"leave_out": "class"}, "leave_out is one text"),
        ({"leave_out": ("nothing",)}, "leave_out names nothing, which"),
        ({"leave_out": ("card",)}, "card.number has a role, a form or a type in the call, but is left out"),
        ({"pii_hash": ("card.number", "amount")}, "only str fields can be PII, amount is double"),
        ({"keys": "labels.area"}, "keys is one text"),
        ({"keys": ("card.number",)}, "keys names card.number, which is not the key of a map"),
        ({"max_elements": {"amount": 5}}, "max_elements names amount, and it is no array"),
        ({"max_elements": {"nothing": 5}}, "max_elements names nothing, which"),
        ({"max_elements": {"tags": 6}}, "max_elements names tags, and the schema says 5"),
        ({"entities": ("tags",)}, "list tags cannot be an entity"),
        ({"event_id": "tags"}, "tags is the event time or id, and its column is a list"),
        ({"names": {"amount": "at", "meta.paidAt": "at"}}, "two fields have the name at"),
        ({"names": {"amount": "model_dump"}}, "no field can have it"),
        ({"types": {"amount": int}}, "types gives amount the type int, and its column can be float"),
        (
            {"written": {"amount": ISO8601}},
            "written says that amount is iso8601, and the schema says that it is a float",
        ),
    ],
)
def test_what_does_not_fit_the_schema_is_named(choices: dict[str, Any], says: str) -> None:
    with pytest.raises(PenstockError, match=says) as error:
        made(**choices)
    assert error.value.next is not None


@pytest.mark.parametrize("choices", [{"entity": ("card.number",)}, {"event_time": None}])
def test_an_argument_that_does_not_exist_or_is_missing_is_named(choices: dict[str, Any]) -> None:
    with pytest.raises((TypeError, PenstockError), match=r"entity is no argument|needs event_time"):
        made(**choices)


def test_a_file_that_is_not_there_or_no_schema_is_named(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match=r"cannot be read: No such file") as error:
        made(tmp_path / "none.json")
    assert str(tmp_path) in str(error.value)
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(PenstockError, match=r"the schema is not JSON"):
        made(tmp_path / "bad.json")


def test_names_with_dots_are_given_as_tuples() -> None:
    schema = {
        "properties": {"a.b": {"type": "integer"}, "a": {"type": "object", "properties": {"b": {"type": "array"}}}}
    }
    with pytest.raises(PenstockError) as error:
        Contract.from_json_schema(schema, name="e", version=1, event_time=("a.b",))
    assert 'leave_out=("a.b",)' in str(error.value)
    contract = Contract.from_json_schema(schema, name="e", version=1, event_time=("a.b",), leave_out=(("a", "b"),))
    assert contract_fields(contract)[0].at == ("a.b",)
