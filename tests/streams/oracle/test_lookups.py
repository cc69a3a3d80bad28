"""The history of reference data: what was there at each time, and what an event may have been given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kafka.reading import Record
from schemas.contract import pii_hash
from streams.oracle.derived_columns import derive
from streams.oracle.lookups import Change, LookupHistory, key_token, read_history
from streams.plan.compiler import compile_plan
from streams.plan.project import Project
from tests.lookups import REFUNDS, SHOP, pipeline

PLAN = compile_plan(pipeline(lookups=(SHOP,)))
NOTHING = {"shop_country": None, "shop_risk": None, "shop_opened": None}


def shop(name: str, country: str = "FR", key: str | None = "") -> Change:
    row = {"shop": name, "country": country, "risk": 0.5, "opened": None}
    return Change("reference.shops", name if key == "" else key, row)


def countries(history: LookupHistory, name: str, *times: int) -> list[Any]:
    return [history.columns(at, {"shop": name}, triggers=True)["shop_country"] for at in times]


def test_an_event_gets_the_row_of_its_time() -> None:
    history = LookupHistory(PLAN)
    for at, change in ((5, shop("a")), (7, shop("a", "DE")), (9, Change("reference.shops", "a", None))):
        history.apply(at, change)
    assert countries(history, "a", 4, 5, 6, 7, 8, 9, 99) == [None, "FR", "FR", "DE", "DE", None, None]
    assert history.columns(5, {"shop": None}, triggers=True) == NOTHING


def test_a_source_that_gives_no_records_gets_nothing() -> None:
    history = LookupHistory(compile_plan(pipeline(lookups=(SHOP,), additional_sources=(REFUNDS,))))
    history.apply(1, shop("a"))
    assert history.columns(1, {"shop": "a"}, triggers=False) == NOTHING
    assert history.columns(1, {"shop": "a"}, triggers=True)["shop_country"] == "FR"


def test_a_kafka_key_of_any_form_names_the_row_that_its_tombstone_deletes() -> None:
    history = LookupHistory(PLAN)
    history.apply(1, shop("a", key='{"id":1}'))
    history.apply(2, shop("b", key='{"id":1}'))
    history.apply(3, Change("reference.shops", "b", None))
    assert countries(history, "a", 1, 2) == ["FR", None], "the record with the key of a is now one of b"
    assert countries(history, "b", 3) == ["FR"], "no record had the key b"
    history.apply(4, Change("reference.shops", '{"id":1}', None))
    history.apply(4, Change("reference.shops", None, None))
    assert countries(history, "b", 4) == [None]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["k", "l", "a", None]), st.booleans()), max_size=12))
def test_the_history_is_a_table_to_which_each_record_is_applied(records: list[tuple[str, str | None, bool]]) -> None:
    history, table = LookupHistory(PLAN), dict[str, tuple[str, str]]()
    for at, (name, key, is_row) in enumerate(records):
        history.apply(at, shop(name, str(at), key) if is_row else Change("reference.shops", key, None))
        owner = name if key is None and is_row else key
        table = {one: row for one, row in table.items() if row[0] != owner}
        if is_row and owner is not None:
            table[name] = (owner, str(at))
        for one in "abc":
            assert countries(history, one, at) == [table[one][1] if one in table else None]


def test_only_rows_that_were_ever_there_explain_what_an_event_was_given() -> None:
    history = LookupHistory(PLAN)
    for at, country in enumerate(("FR", "DE")):
        history.apply(at, shop("a", country))
    payment: Mapping[str, Any] = {"shop": "a"}
    known = NOTHING | {"shop_country": "FR", "shop_risk": 0.5}
    assert history.explains(payment, known)
    assert history.explains(payment, NOTHING)
    assert not history.explains(payment, known | {"shop_risk": 0.25})
    assert not history.explains({"shop": "b"}, known)
    history.is_whole = False
    assert history.explains({"shop": "b"}, known), "compaction may have removed the row of b"
    assert not history.explains({"shop": None}, known), "an event without a shop has no row"


def test_topics_are_read_in_the_order_of_a_replay_and_personal_data_is_hashed(tmp_path: Path) -> None:
    project = Project.of(pipeline(), tmp_path)

    def record(partition: int, offset: int, timestamp: int, key: bytes, value: Any) -> Record:
        return Record(partition, offset, timestamp, key, None if value is None else json.dumps(value).encode(), ())

    topics = {
        "reference.shops": [
            record(0, 0, 5, b"a", {"shop": "a", "country": "FR"}),
            record(0, 1, 3, b"a", {"shop": "a", "country": "DE"}),
            record(1, 0, 4, b"x", {"shop": "a", "country": "IT"}),
            record(1, 1, 4, b"x", {"shop": 7}),
        ],
        "reference.countries": [record(0, 0, 1, b"DE", {"code": "DE", "area": 357})],
        "reference.customers": [
            record(0, 3, 1, b"ann", {"customer": "ann", "phone": "123", "email": "a@b.c"}),
            record(0, 4, 9, b"ann", None),
        ],
    }
    history = read_history(project, lambda topic: topics.get(topic, []), b"key")
    payment = {"shop": "a", "customer": pii_hash(b"key", "ann")}
    at4, at5, at9 = (history.columns(at, payment, triggers=True) for at in (4, 5, 9))
    assert (at4["shop_country"], at4["shop_country_of_area"]) == ("IT", None)
    assert (at5["shop_country"], at5["shop_country_of_area"]) == ("DE", 357), "a clock never goes back"
    assert (at5["customer_of_phone"], at5["customer_of_vip"]) == (pii_hash(b"key", "123"), False)
    assert at9["customer_of_phone"] is None, "the tombstone has the key that is nowhere kept"
    assert not history.is_whole, "the first records of customers are gone"
    assert key_token(project.plan.lookups[3], b"ann", b"key") == payment["customer"]


def test_rows_without_the_columns_of_lookups_are_refused_rather_than_taken_for_null() -> None:
    with pytest.raises(ValueError, match="rows of pipeline lookups without the columns of its lookups"):
        derive(PLAN, [{"id": "1", "time": 1, "card": "c"}])
