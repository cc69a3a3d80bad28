"""The kernel's tables of reference data against the oracle: the same records, the same columns."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from schemas.avro import contract_schema
from streams.inprocess.kernel import Kernel
from streams.oracle.lookups import Change, LookupHistory, key_token
from streams.plan.compiler import compile_plan
from tests.lookups import SHOP, Country, Customer, Payment, Rate, Shop, pipeline

KEY = b"key"
WRITERS = [[json.dumps(contract_schema(one))] for one in (Payment, Shop, Country, Rate, Customer)]


def encoded(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def record(topic: int, key: bytes | None, value: Any) -> dict[str, Any]:
    return {
        "topic": topic,
        "key": encoded(key),
        "value": encoded(None if value is None else json.dumps(value).encode()),
    }


def joined(kernel: Kernel, plan: Any, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    request = {"plan": plan.model_dump(mode="json"), "writers": WRITERS, "key": encoded(KEY), "steps": steps}
    answer: list[dict[str, Any]] = kernel.request({"lookups": request})
    return answer


@pytest.mark.parametrize("seed", range(20))
def test_the_kernel_joins_as_the_oracle_does(kernel: Kernel, seed: int) -> None:
    chance, plan = random.Random(seed), compile_plan(pipeline())
    names, keys = ["a", "b|c", "é"], [None, b"a", b"b|c", "é".encode(), b"\xe9", b'{"k":1}', b"ann", b"EUR|1"]
    steps: list[dict[str, Any]] = []
    history, expected = LookupHistory(plan), []
    for at in range(200):
        topic = chance.randrange(4)
        lookup, key = plan.lookups[topic], chance.choice(keys)
        if chance.random() < 0.4:
            row = {
                "id": str(at),
                "time": 1,
                "card": "c",
                "customer": chance.choice([None, "0" * 32, *(key_token(plan.lookups[3], k, KEY) for k in keys if k)]),
                "shop": chance.choice([None, *names]),
                "currency": chance.choice([None, "EUR", "a|b"]),
                "bank": chance.choice([None, 1, 2]),
            }
            steps.append({"row": row})
            expected.append(history.columns(at, row, triggers=True))
            continue
        value = chance.choice(
            [
                [{"shop": chance.choice(names), "country": chance.choice([None, "FR", "DE"]), "risk": at / 7}],
                [{"code": chance.choice(["FR", "DE"]), "area": at}],
                [{"currency": chance.choice(["EUR", "a|b"]), "bank": chance.choice([1, 2]), "rate": at / 3}],
                [{"customer": chance.choice(["ann", "a"]), "phone": chance.choice([None, "1"]), "vip": at % 2 == 0}],
            ][topic]
            + [None, {"no": "row"}]
        )
        steps.append(record(topic, key, value))
        if value == {"no": "row"}:
            continue
        decoded = None if value is None else kernel_row(kernel, plan, topic, value)
        history.apply(at, Change(lookup.topic, key_token(lookup, key, KEY), decoded))
    assert joined(kernel, plan, steps) == expected
    assert any(any(value is not None for value in one.values()) for one in expected)


def kernel_row(kernel: Kernel, plan: Any, lookup: int, value: Any) -> dict[str, Any]:
    message = {"value": encoded(json.dumps(value).encode()), "timestamp": -1}
    dump = plan.model_dump(mode="json")
    (answer,) = kernel.decode(dump, WRITERS[lookup + 1], encoded(KEY), [message], lookup=lookup)
    row: dict[str, Any] = answer["columns"]
    assert row.keys() == {field.name for field in plan.lookups[lookup].fields}
    return row


def test_keys_beyond_the_bound_are_not_taken_and_known_ones_still_change(kernel: Kernel) -> None:
    bounded = SHOP.model_copy(update={"max_rows": 1})
    plan = compile_plan(pipeline(lookups=(bounded,)))
    steps = [
        record(0, b"a", {"shop": "a", "country": "FR"}),
        record(0, b"b", {"shop": "b", "country": "FR"}),
        record(0, b"a", {"shop": "a", "country": "DE"}),
        *({"row": {"id": "1", "time": 1, "card": "c", "shop": name}} for name in "ab"),
        record(0, b"a", None),
        record(0, b"b", {"shop": "b", "country": "IT"}),
        {"row": {"id": "2", "time": 1, "card": "c", "shop": "b"}},
    ]
    assert [one["shop_country"] for one in joined(kernel, plan, steps)] == ["DE", None, "IT"]
