"""The pages on contracts, on producing events and on dead letters say what the code does."""

from __future__ import annotations

import re
from typing import Any, get_args

from schemas.avro import contract_schema
from schemas.codec import Decoder, Reason, decode_event
from schemas.contract import Contract, contract_fields
from schemas.conversions import TIMESTAMPS
from schemas.dead_letters import NAMES, PREFIX
from tests.docs.pages import Snippet, blocks, page

DEFINITION, OF_OTHERS, OF_LISTS = blocks(page("concepts/contracts.md"), "python")
WRITTEN, WITH_ARRAYS = blocks(page("concepts/contracts.md"), "json")
(PRODUCING,) = blocks(page("guides/producing-events.md"), "python")
DEAD_LETTERS = page("reference/dead-letters.md").read_text(encoding="utf-8")


def contract_on_the_page(block: Snippet = DEFINITION, name: str = "Payment") -> type[Contract]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block.text, block.place, "exec", dont_inherit=True), names)
    contract: type[Contract] = names[name]
    return contract


def test_the_contract_on_the_page_is_one() -> None:
    contract = contract_on_the_page()
    assert [field.name for field in contract_fields(contract)][:2] == ["payment_id", "paid_at"]
    Decoder(contract_schema(contract))


def test_the_event_on_the_page_is_valid() -> None:
    event = re.search(r"send\(\s*(\{.*?\})\s*\)", PRODUCING.text, re.DOTALL)
    assert event is not None
    contract_on_the_page().model_validate(eval(event[1]))


def test_the_event_that_others_write_has_the_columns_that_the_page_says() -> None:
    contract = contract_on_the_page(OF_OTHERS, "Authorization")
    event = decode_event(
        WRITTEN.text.encode(), contract, Decoder(), kafka_timestamp_ms=-1, max_future_ms=0, max_bytes=10_000
    )
    assert event == contract(
        event_id="6f1c2d3e-0000-4000-8000-00000000abcd",
        event_time=1772368200250,
        card="4111",
        amount=12.5,
        opened=30,
        received=1772368200300,
        channel="other",
        slot=3,
        cryptogram="AAE=",
    )
    assert all(f"`{name}`" in page("concepts/contracts.md").read_text(encoding="utf-8") for name in TIMESTAMPS)


def test_the_event_with_arrays_has_the_columns_that_the_page_says() -> None:
    contract = contract_on_the_page(OF_LISTS, "Order")
    event = decode_event(
        WITH_ARRAYS.text.encode(), contract, Decoder(), kafka_timestamp_ms=-1, max_future_ms=0, max_bytes=10_000
    )
    assert event == contract(
        ordered_at=1772368200000,
        customer="c7",
        skus=["a1", "b2"],
        prices=[12.5, 3.0],
        discounts=[0.1],
        country="FR",
    )


def test_every_reason_and_every_header_is_on_the_page() -> None:
    for reason in get_args(Reason):
        assert f"| `{reason}` |" in DEAD_LETTERS
    for name in NAMES:
        assert f"`{name.removeprefix(PREFIX)}`" in DEAD_LETTERS
