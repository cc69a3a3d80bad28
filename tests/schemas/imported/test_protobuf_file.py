"""A contract of a Protobuf message has its fields, as Protobuf's presence says what may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock import Contract
from penstock.errors import PenstockError
from schemas.avro import contract_schema, fields_of
from schemas.contract import contract_fields
from tests.schemas.imported.protobufs import CHANNELS, ENUM, OPTIONAL, PAYMENTS, REPEATED, compiled, file, message

LEFT_OUT = ("labels", "again")


def made(source: Any, **choices: Any) -> type[Contract]:
    given = {"event_time": "paid_at", "event_id": "id"} | choices
    return Contract.from_protobuf(source, name="payment", version=1, **given)


def test_a_contract_has_the_fields_of_the_message() -> None:
    contract = made(compiled(PAYMENTS), leave_out=LEFT_OUT, entities=("card.number",), pii_hash=("card.number",))
    fields = contract_fields(contract)
    assert fields_of(contract_schema(contract)) == fields
    optional = {"nullable": True, "required": False}
    assert [field.model_dump(exclude_defaults=True, mode="json") for field in fields] == [
        {"name": "id", "type": "string", "roles": ["event_id"]},
        {"name": "paid_at", "type": "long", "roles": ["event_time"], "written": "iso8601"},
        {
            "name": "card_number",
            "type": "string",
            **optional,
            "roles": ["entity"],
            "pii": "hash",
            "at": ["card", "number"],
        },
        {"name": "card_since", "type": "long", **optional, "at": ["card", "since"]},
        {"name": "amount", "type": "double"},
        {"name": "points", "type": "long", **optional},
        {"name": "channel", "type": "string", "enum": ["UNKNOWN", "CHIP"]},
        {"name": "fee", "type": "long", **optional},
        {"name": "token", "type": "string", "written": "bytes"},
        {"name": "flag", "type": "boolean"},
        {"name": "total", "type": "long"},
        {"name": "tags", "type": "string[]", "max_elements": 100},
    ]


def test_maps_and_messages_that_contain_themselves_are_named() -> None:
    with pytest.raises(PenstockError, match=r"labels \(it is a map\), again \(it con"):
        made(compiled(PAYMENTS))


def test_repeated_fields_are_lists_and_keys_of_maps_columns_if_they_are_named() -> None:
    nested = message("LabelsEntry", ("key", "string"), ("value", "int64"), options={"map_entry": True})
    item = message(
        "Item",
        ("sku", "string"),
        ("price", ".shop.Item.Price"),
        ("gift", ".google.protobuf.BoolValue"),
        ("labels", ".shop.Item.LabelsEntry", REPEATED),
        ("parts", "string", REPEATED),
        nested_type=[nested, message("Price", ("amount", "double"))],
    )
    cart = message(
        "Cart",
        ("paid_at", "int64"),
        ("items", ".shop.Item", REPEATED),
        ("order", ".shop.Order"),
        ("fees", ".google.protobuf.Int64Value", REPEATED),
        ("again", ".shop.Cart", REPEATED),
    )
    order = message("Order", ("channels", ".shop.Channel", ENUM | REPEATED))
    source = compiled(file(cart, item, order, enum_type=[CHANNELS]))
    with pytest.raises(PenstockError, match=r"items\[\].parts \(it is a list within a list\), again\[\] \(it con"):
        made(source, message="shop.Cart", event_id=None, leave_out=("items[].labels",))
    contract = made(
        source,
        message="shop.Cart",
        event_id=None,
        leave_out=("items[].parts", "again"),
        keys=("items[].labels.area",),
        max_elements={"items": 7},
    )
    in_items = {"at": ["items"], "max_elements": 7}
    assert [field.model_dump(exclude_defaults=True, mode="json") for field in contract_fields(contract)][1:] == [
        {"name": "items_sku", "type": "string[]", **in_items, "each": ["sku"]},
        {
            "name": "items_price_amount",
            "type": "double[]",
            **in_items,
            "each": ["price", "amount"],
            "nullable_elements": True,
        },
        {"name": "items_gift", "type": "boolean[]", **in_items, "each": ["gift"], "nullable_elements": True},
        {
            "name": "items_labels_area",
            "type": "long[]",
            **in_items,
            "each": ["labels", "area"],
            "nullable_elements": True,
        },
        {
            "name": "order_channels",
            "type": "string[]",
            "nullable": True,
            "required": False,
            "enum": ["UNKNOWN", "CHIP"],
            "at": ["order", "channels"],
            "max_elements": 100,
        },
        {"name": "fees", "type": "long[]", "max_elements": 100},
    ]


def test_fields_of_proto2_have_their_defaults() -> None:
    old = file(
        message(
            "Old",
            ("id", "string", {"label": 2}),
            ("n", "int64", {"default_value": "7"}),
            ("x", "double", {"default_value": "1.5"}),
            ("b", "bool", {"default_value": "true"}),
            ("paid_at", "int64"),
        ),
        syntax="proto2",
    )
    found = [field.model_dump(exclude_defaults=True, mode="json") for field in contract_fields(made(compiled(old)))]
    assert found[:4] == [
        {"name": "id", "type": "string", "roles": ["event_id"]},
        {"name": "n", "type": "long", "required": False, "default": 7},
        {"name": "x", "type": "double", "required": False, "default": 1.5},
        {"name": "b", "type": "boolean", "required": False, "default": True},
    ]


def test_one_of_several_messages_is_named_and_a_package_may_be_missing() -> None:
    two = file(
        message("A", ("paid_at", "int64")), message("B", ("paid_at", "int64"), ("x", "string", OPTIONAL)), package=""
    )
    with pytest.raises(PenstockError, match="several messages") as error:
        made(compiled(two), event_id=None)
    assert "one of: A, B" in str(error.value)
    contract = made(compiled(two), message="B", event_id=None)
    assert [field.name for field in contract_fields(contract)] == ["paid_at", "x"]
    with pytest.raises(PenstockError, match="no message C"):
        made(compiled(two), message="C")


def test_a_file_that_is_not_compiled_says_how(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="is to be compiled first") as error:
        made(tmp_path / "events.proto")
    assert f"protoc -I {tmp_path} --include_imports --descriptor_set_out={tmp_path}/events.pb" in str(error.value)
    (tmp_path / "events.pb").write_bytes(b"message A {}")
    with pytest.raises(PenstockError, match="no compiled Protobuf file"):
        made(tmp_path / "events.pb")


def test_a_type_that_the_file_lacks_says_how_to_compile_it() -> None:
    lacks = file(message("A", ("paid_at", "int64"), ("money", ".google.type.Money")))
    with pytest.raises(PenstockError, match=r"its type google.type.Money is not in the file: protoc --include_imports"):
        made(compiled(lacks), event_id=None)
