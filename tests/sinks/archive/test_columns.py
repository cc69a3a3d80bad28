"""The columns of archived records: what was decoded, and why nothing was."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from backfill.row_columns import row_schema
from penstock import CloudEvents, Debezium
from penstock.kafka.reading import Record
from penstock.paths import ROOT
from schemas.codec import Encoder
from schemas.columns import FEWEST
from schemas.contract import pii_hash
from schemas.records import PREDICTION_SCHEMA
from sinks.archive.batch import OpenBatch
from sinks.archive.columns import IGNORED, RECORD_SCHEMA, TopicColumns, column_name
from sinks.archive.event_columns import EventColumns
from streams.plan.feature_records import features_schema
from tests.schemas.samples import Basket
from tests.sinks.archive.archive_helpers import (
    KEY,
    event_columns,
    feature_columns,
    payment,
    prediction_columns,
    record,
)
from tests.sinks.payments import PLAN, T0, features, prediction, spending, trade


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    batch.validate(full=True)
    return batch.cast(
        pa.schema([(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in batch.schema])
    ).to_pylist()


def test_a_row_has_its_place_its_bytes_and_the_fields_of_its_contract() -> None:
    (row,) = rows_of(event_columns().batch([record(1, value=payment(1, shop="s"))]))
    assert row == {
        "_partition": 0,
        "_offset": 1,
        "_timestamp": T0 + 1,
        "_key": b"k1",
        "_headers": [{"name": "h", "value": b"1"}, {"name": "h", "value": None}],
        "_value": payment(1, shop="s"),
        "_error": None,
        "id": "e1",
        "time": T0 + 1,
        "card": pii_hash(KEY, "c1"),
        "shop": "s",
        "amount": 0.25,
    }


def test_lists_are_lists_and_personal_elements_are_hashed() -> None:
    lists = json.loads((ROOT / "tests" / "schemas" / "decode_cases.json").read_text(encoding="utf-8"))["lists"]
    case = next(case for case in lists["cases"] if case["name"] == "personal data in elements")
    columns = TopicColumns(EventColumns(Basket, ROOT, None, KEY, None))
    found = columns.batch([record(1, value=case["text"].encode()), record(2, value=b"{}")])
    assert found.schema.field("prices").type == pa.list_(pa.float64())
    row, refused = rows_of(found)
    hashes = [pii_hash(KEY, mail) for mail in case["event"]["mails"]]
    assert (row["skus"], row["prices"], row["mails"], row["notes"]) == (["x", "y"], [1.5, 2.0], hashes, None)
    assert (refused["skus"], refused["_error"][:21]) == (None, "penstock.InvalidField")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"value": None}, "penstock.Tombstone: the record has no value"),
        ({"value": b"\xff"}, "penstock.Undecodable: not UTF-8 (byte 0)"),
        ({"value": b"\xc3\x01\x00\x00\x00\x00\x00\x00\x00\x00"}, "penstock.UnknownSchema"),
        ({"value": payment(0, amount="12")}, "penstock.InvalidField: amount: Input should be a valid number"),
        ({"value": payment(0, time=T0 + 100_000)}, "penstock.FutureEvent: time: further ahead"),
        ({"value": payment(0) + b" " * 2_000}, "penstock.TooLarge"),
    ],
)
def test_a_refused_event_says_why_as_its_dead_letter_does(changes: dict[str, Any], error: str) -> None:
    good, bad = rows_of(event_columns().batch([record(0), record(1, timestamp=T0, **changes)]))
    assert good["_error"] is None
    assert bad["_error"].startswith(error)
    assert bad["_value"] == changes["value"]
    assert {bad[name] for name in ("id", "time", "card", "shop", "amount")} == {None}


@pytest.mark.parametrize("timestamp", [-1, -5, 253_402_300_800_000, 2**63 - 1])
def test_a_timestamp_that_no_calendar_has_is_none(timestamp: int) -> None:
    (row,) = rows_of(event_columns().batch([record(0, timestamp=timestamp)]))
    assert row["_timestamp"] is None


def test_a_field_named_as_a_folder_gets_another_name() -> None:
    assert [column_name(name) for name in ("hour", "Date", "topic", "hours")] == [
        "event.hour",
        "event.Date",
        "event.topic",
        "hours",
    ]


def test_features_have_the_columns_of_a_backfill_and_more() -> None:
    fields = {field.name: field.type for field in feature_columns().schema}
    backfill = {field.name: field.type for field in row_schema(PLAN, [view.name for view in PLAN.views])}
    assert backfill.items() <= fields.items()
    assert fields.keys() - backfill.keys() - set(RECORD_SCHEMA.names) == {
        "trigger",
        "attempt",
        "source.topic",
        "spending.epoch",
        "trade.epoch",
    }


FEATURES = Encoder(features_schema(PLAN))
PREDICTIONS = Encoder(PREDICTION_SCHEMA)
EARLIER = Encoder({"type": "record", "name": "Earlier", "fields": []}).encode({})


def some_features(number: int) -> bytes:
    parts: dict[str, Any] = {}
    if number % 3:
        parts["spending"] = spending(seq=number, amount_mean_1h=None if number % 2 else -0.0, shop_last_1h="é")
    if number % 4:
        parts["trade"] = trade(card_approx_distinct_10m=2**40 + number, is_new=number % 2 == 0)
    return FEATURES.encode(features(number, **parts))


def some_predictions(number: int) -> bytes:
    changes: dict[str, Any] = {} if number % 2 else {"cascade": None, "rollout": None, "views": [], "entity": None}
    return PREDICTIONS.encode(prediction(number, **changes))


@pytest.mark.parametrize(
    ("columns", "encoded"), [(feature_columns, some_features), (prediction_columns, some_predictions)]
)
def test_many_records_together_give_what_each_gives_by_itself(columns: Any, encoded: Any) -> None:
    values: list[bytes | None] = [encoded(number) for number in range(2 * FEWEST)]
    # Garbage of every kind among them: cut off, too long, another schema, nothing, and a partition beyond 32 bits.
    values[3], values[10], values[20], values[30], values[40] = values[3][:-1], values[10] + b"x", EARLIER, None, b""  # type: ignore[index, operator]
    one, records = columns(), [record(number, value=value) for number, value in enumerate(values)]
    together = one.batch(records)
    assert rows_of(together) == [row for each in records for row in rows_of(one.batch([each]))]
    assert [place for place, error in enumerate(together["_error"].to_pylist()) if error] == [3, 10, 20, 30, 40]


def test_a_prediction_has_its_fields_and_those_of_its_parts() -> None:
    (row,) = rows_of(prediction_columns().batch([record(1, value=PREDICTIONS.encode(prediction(1)))]))
    wanted = prediction(1)
    assert row["vector"] == wanted["vector"]
    assert row["score"] == wanted["score"]
    assert row["rollout.arm"] == "present"
    assert row["cascade.strong_score"] is None
    assert row["source.offset"] == 1
    assert row["outputs"] == wanted["outputs"]
    assert [view["seq"] for view in row["views"]] == [1]


@pytest.mark.parametrize("count", [1, 2 * FEWEST])
def test_a_number_that_its_column_does_not_take_is_an_error_of_its_row_alone(count: int) -> None:
    wide = features_schema(PLAN)
    source = next(field for field in wide["fields"] if field["name"] == "source")["type"]
    source["fields"] = [f | {"type": "long"} if f["name"] == "partition" else f for f in source["fields"]]
    value = Encoder(wide).encode(features(0) | {"source": features(0)["source"] | {"partition": 2**40}})
    disguised = FEATURES.header + value[len(FEATURES.header) :]
    records: list[Record] = [record(n, value=some_features(n)) for n in range(count)]
    records[0] = replace(records[0], value=disguised)
    batch = feature_columns().batch(records)
    assert batch["_error"].to_pylist() == [
        "penstock.Undecodable: a value does not fit its column",
        *[None] * (count - 1),
    ]


def test_a_record_that_is_no_event_in_its_envelope_says_so_and_does_not_count_as_a_fault() -> None:
    change = b'{"op": "c", "after": ' + payment(1, time=T0) + b"}"
    records = [record(0, value=None), record(1, value=change), record(2, value=payment(2, time=T0))]
    columns = event_columns(Debezium())
    ignored, event, refused = rows_of(columns.batch(records))
    assert ignored["_error"].startswith(f"{IGNORED}: ")
    assert (event["_error"], event["id"]) == (None, "e1")
    assert refused["_error"].startswith("penstock.Undecodable: not a change")
    batch = OpenBatch(columns, 0)
    batch.add(records, 0.0)
    batch.decode(1)
    assert batch.undecoded == 1


def test_events_in_headers_are_archived_with_their_headers_and_columns() -> None:
    names = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"/s", "ce_type": b"t"}
    headers = tuple(names.items())
    (row,) = rows_of(event_columns(CloudEvents()).batch([record(1, value=payment(1, time=T0), headers=headers)]))
    assert (row["_error"], row["id"]) == (None, "e1")
    assert tuple((each["name"], each["value"]) for each in row["_headers"]) == headers
