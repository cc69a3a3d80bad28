"""A row becomes an event as the contract says that producers write it."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest

from penstock import BYTES, DATE, EVENT_TIME, ISO8601, MICROSECONDS, UUID, AsDecimal, At, Contract
from penstock.playing.values import as_event
from schemas.producer import validated

TIME = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


class Visit(Contract, name="visit", version=1):
    at: Annotated[int, EVENT_TIME, At("meta.time"), ISO8601]
    seen: Annotated[int | None, MICROSECONDS] = None
    price: Annotated[float | None, At("payload.price"), AsDecimal(scale=2)] = None
    weight: Annotated[float | None, At("payload.weight")] = None
    day: Annotated[str | None, DATE] = None
    token: Annotated[str | None, UUID] = None
    raw: Annotated[str | None, BYTES] = None
    slot: Annotated[int | None, At("class")] = None


def test_typed_values_and_nested_ones_become_what_producers_write() -> None:
    row = {
        "meta": {"time": TIME, "other": 1},
        "seen": TIME,
        "payload": {"price": Decimal("1.5"), "weight": 2},
        "day": date(2026, 3, 1),
        "token": uuid.UUID(int=1),
        "raw": b"\0\1",
        "class": 3,
    }
    event = as_event(row, Visit, is_text=False)
    assert event["meta"] == {"time": "2026-03-01T12:00:00.250Z"}
    assert validated(event, Visit, "").model_dump() == {
        "at": 1_772_366_400_250,
        "seen": 1_772_366_400_250,
        "price": 1.5,
        "weight": 2.0,
        "day": "2026-03-01",
        "token": "00000000-0000-0000-0000-000000000001",
        "raw": "AAE=",
        "slot": 3,
    }


class Cart(Contract, name="cart", version=1):
    at: Annotated[int, EVENT_TIME]
    tags: list[str] | None = None
    skus: Annotated[list[str], At("items[].sku")]
    prices: Annotated[list[float | None], At("items[].price")]


def test_a_list_of_a_csv_is_an_array_in_a_cell_and_one_of_other_files_stays() -> None:
    row = {"at": "1772366400000", "tags": '["a"]', "items[].sku": '["x", "y"]', "items[].price": "[1.5]"}
    event = {"at": 1_772_366_400_000, "tags": ["a"], "items": [{"sku": "x", "price": 1.5}, {"sku": "y"}]}
    assert as_event(row, Cart, is_text=True) == as_event(event, Cart, is_text=False) == event
    instance = Cart(at=1_772_366_400_000, tags=["a"], skus=["x", "y"], prices=[1.5])
    assert validated(event, Cart, "") == validated(instance, Cart, "") == instance
    assert as_event(row | {"tags": "a"}, Cart, is_text=True)["tags"] == "a"


def test_elements_of_lists_become_what_producers_write_and_other_fields_of_them_are_left_out() -> None:
    row = {"at": TIME, "tags": ["a", None], "items": [{"sku": "x", "price": Decimal("1.5"), "more": 1}, None]}
    event = as_event(row, Cart, is_text=False)
    assert event == {"at": 1_772_366_400_250, "tags": ["a", None], "items": [{"sku": "x", "price": 1.5}, {}]}
    for wrong in ([1], [{"sku": "x"}, "y"], "x"):
        assert as_event(row | {"items": wrong}, Cart, is_text=False)["items"] == wrong


def test_a_cell_of_a_csv_is_within_objects_by_the_path_in_its_header() -> None:
    row = {
        "meta.time": "2026-03-01T12:00:00Z",
        "payload.price": "1.50",
        "payload.weight": "2",
        "class": "3",
        "seen": "",
    }
    assert as_event(row, Visit, is_text=True) == {
        "meta": {"time": "2026-03-01T12:00:00Z"},
        "payload": {"price": "1.50", "weight": 2.0},
        "class": 3,
    }


@pytest.mark.parametrize("payload", [None, 1, "x"])
def test_what_is_no_object_on_the_way_is_left_for_the_contract_to_judge(payload: Any) -> None:
    assert as_event({"payload": payload}, Visit, is_text=False) == {"payload": payload}
