from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

from schemas.avro import contract_schema
from schemas.codec import Decoder, Reason
from schemas.contract import Contract, contract_fields
from schemas.dead_letters import NAMES, PREFIX

PAGE = (Path(__file__).parents[2] / "docs" / "concepts" / "contracts.md").read_text(encoding="utf-8")
DEFINITION, PRODUCING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def contract_on_the_page() -> type[Contract]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(DEFINITION, "docs/concepts/contracts.md", "exec", dont_inherit=True), names)
    contract: type[Contract] = names["Payment"]
    return contract


def test_the_contract_on_the_page_is_one() -> None:
    contract = contract_on_the_page()
    assert [field.name for field in contract_fields(contract)][:2] == ["payment_id", "paid_at"]
    Decoder(contract_schema(contract))


def test_the_event_on_the_page_is_valid() -> None:
    event = re.search(r"send\(\s*(\{.*?\})\s*\)", PRODUCING, re.DOTALL)
    assert event is not None
    contract_on_the_page().model_validate(eval(event[1]))


def test_every_reason_and_every_header_is_on_the_page() -> None:
    for reason in get_args(Reason):
        assert f"| `{reason}` |" in PAGE
    for name in NAMES:
        assert f"`{name.removeprefix(PREFIX)}`" in PAGE
