"""Reference data among the events of a test, in code and in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.testing import Event, Reference, check_case, features_of, read_cases
from schemas.contract import pii_hash
from streams.inprocess.features_of import PII_KEY
from tests.lookups import REFUNDS, pipeline

PAYMENT = {"time": 1_772_366_400_000, "card": "c", "shop": "s", "amount": 1.0}


def test_an_event_gets_the_row_that_came_before_it() -> None:
    outcomes = features_of(
        pipeline(),
        [
            PAYMENT,
            Reference("shop", {"shop": "s", "country": "DE", "risk": 0.25}),
            PAYMENT,
            Reference("shop", {"shop": "s", "risk": "much"}),
            Reference("shop", '{"shop": "s", "country": "FR", "risk": 0.75}'),
            PAYMENT,
            Reference("shop", {"shop": "s"}, deleted=True),
            PAYMENT,
        ],
    )
    events = [one for one in outcomes if one.emitted]
    assert [one["event.shop_country"] for one in events] == [None, "DE", "FR", None]
    assert [one["spend.shop_risk_mean_10m"] for one in events] == [None, 0.25, 0.5, 0.5]
    assert [one["spend.foreign_10m"] for one in events] == [0, 1, 1, 1]
    assert [(one.reference, one.refused) for one in outcomes if not one.emitted] == [
        (True, None),
        (False, "penstock.InvalidField"),
        (True, None),
        (True, None),
    ]
    with pytest.raises(KeyError, match="this event is reference data"):
        outcomes[1]["event.shop"]


def test_chains_composite_keys_and_personal_data() -> None:
    *_, event = features_of(
        pipeline(),
        [
            Reference("shop", {"shop": "s", "country": "DE"}),
            Reference("shop_country_of", {"code": "DE", "area": 357}),
            Reference("fx", {"currency": "EUR", "bank": 7, "rate": 1.5}),
            Reference("customer_of", {"customer": "ann", "phone": "1", "vip": True}),
            Reference("customer_of", {"customer": "bob", "phone": "2", "vip": True}),
            Reference("customer_of", {"customer": "ann"}, deleted=True),
            PAYMENT | {"customer": "bob", "currency": "EUR", "bank": 7},
        ],
    )
    assert (event["event.shop_country_of_area"], event["event.fx_rate"], event["event.customer_of_vip"]) == (
        357,
        1.5,
        True,
    )
    assert event["event.customer_of_phone"] == pii_hash(PII_KEY, "2")


def test_a_source_that_only_updates_is_given_nothing() -> None:
    _, refund, payment = features_of(
        pipeline(additional_sources=(REFUNDS,)),
        [
            Reference("shop", {"shop": "s", "country": "DE"}),
            Event({"refunded": PAYMENT["time"], "card": "c", "shop": "s"}, source="lookup_refund"),
            PAYMENT,
        ],
    )
    assert refund.updates
    assert (payment["spend.count_10m"], payment["spend.foreign_10m"]) == (2, 1)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (Reference("shops", {"shop": "s"}), "the pipeline has no lookup 'shops'; it has shop, "),
        (Reference("shop", {"shop": "s", "land": "FR"}), "the event has land, which contract shop has not"),
        (
            Reference("fx", {"currency": "EUR"}, deleted=True),
            "a deleted row is named by currency, bank, and there is no",
        ),
    ],
)
def test_a_reference_that_is_none_is_refused(reference: Reference, message: str) -> None:
    with pytest.raises(PenstockError, match=message):
        features_of(pipeline(), [reference])


def write_file(folder: Path, *steps: Any) -> Path:
    (folder / "pipeline.py").write_text("from tests.lookups import pipeline as make\n\npipeline = make()\n")
    file = folder / "f.json"
    cases = [{"name": "c", "events": [*steps, {"event": PAYMENT, "expect": {"event": {"shop_country": "DE"}}}]}]
    file.write_text(json.dumps({"pipeline": "pipeline.py", "cases": cases}), encoding="utf-8")
    return file


def test_a_file_has_rows_and_deletions_in_order_of_arrival(tmp_path: Path) -> None:
    file = write_file(
        tmp_path,
        {"event": PAYMENT, "expect": {"event": {"shop_country": None}}},
        {"lookup": "shop", "row": {"shop": "s", "country": "FR"}},
        {"lookup": "shop", "delete": {"shop": "s"}},
        {"event": PAYMENT, "expect": {"event": {"shop_country": None}}},
        {"lookup": "shop", "raw": "no JSON", "refused": "Undecodable"},
        {"lookup": "shop", "row": {"shop": "s", "country": "DE"}},
    )
    (case,) = read_cases(file)
    check_case(case)


def test_a_reference_that_is_refused_unexpectedly_fails_the_case(tmp_path: Path) -> None:
    (case,) = read_cases(
        write_file(tmp_path, {"lookup": "shop", "row": {"shop": "s", "country": "DE"}}, {"lookup": "shop", "raw": "x"})
    )
    with pytest.raises(AssertionError, match="reference data"):
        check_case(case)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"lookup": "shops", "row": {}}, "no lookup 'shops'; it has shop"),
        ({"row": {}}, "is of a lookup"),
        ({"lookup": "shop"}, "give one of row"),
        ({"lookup": "shop", "row": {}, "delete": {}}, "give one of row"),
        ({"lookup": "shop", "row": {}, "expect": {"spend": None}}, "no outcome of its own"),
        ({"lookup": "shop", "raw": "x", "refused": "Wrong"}, "refused must be one of"),
    ],
)
def test_a_wrong_step_is_refused(tmp_path: Path, step: Any, message: str) -> None:
    with pytest.raises(PenstockError, match=message):
        read_cases(write_file(tmp_path, step))
