"""The pages on contracts, on producing events and on dead letters say what the code does."""

from __future__ import annotations

import re
from typing import Any, get_args

from schemas.avro import contract_schema
from schemas.codec import Decoder, Reason
from schemas.contract import Contract, contract_fields
from schemas.dead_letters import NAMES, PREFIX
from tests.docs.pages import blocks, page

(DEFINITION,) = blocks(page("concepts/contracts.md"), "python")
(PRODUCING,) = blocks(page("guides/producing-events.md"), "python")
DEAD_LETTERS = page("reference/dead-letters.md").read_text(encoding="utf-8")


def contract_on_the_page() -> type[Contract]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(DEFINITION.text, DEFINITION.place, "exec", dont_inherit=True), names)
    contract: type[Contract] = names["Payment"]
    return contract


def test_the_contract_on_the_page_is_one() -> None:
    contract = contract_on_the_page()
    assert [field.name for field in contract_fields(contract)][:2] == ["payment_id", "paid_at"]
    Decoder(contract_schema(contract))


def test_the_event_on_the_page_is_valid() -> None:
    event = re.search(r"send\(\s*(\{.*?\})\s*\)", PRODUCING.text, re.DOTALL)
    assert event is not None
    contract_on_the_page().model_validate(eval(event[1]))


def test_every_reason_and_every_header_is_on_the_page() -> None:
    for reason in get_args(Reason):
        assert f"| `{reason}` |" in DEAD_LETTERS
    for name in NAMES:
        assert f"`{name.removeprefix(PREFIX)}`" in DEAD_LETTERS
