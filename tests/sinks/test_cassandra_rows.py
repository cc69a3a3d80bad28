"""Rows in CQL's binary form: as the driver would serialise them, the same from columns and from single records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cassandra import ProtocolVersion
from cassandra.cqltypes import UserType
from cassandra.query import UNSET_VALUE
from hypothesis import given, settings

from penstock.settings import Settings
from schemas.codec import Undecodable
from schemas.columns import FEWEST
from schemas.records import PREDICTION_SCHEMA
from sinks.cassandra_rows import HistoryFormat, Row, RowFormat, _driver_type
from sinks.cassandra_tables import FEATURES, Table, history_row, history_table, prediction_row, prediction_table
from sinks.emitted_vectors import EmittedVector, emitted_vectors
from sinks.stores.cassandra import CassandraOptions, CassandraStore
from streams.plan.project import Project
from tests.sinks.feature_batches import batches, values_of
from tests.sinks.payments import PLAN, T0, features, payments, prediction, spending

VIEW = PLAN.view("spending")
HISTORY = history_table(PLAN, VIEW, 90 * 86_400)
FORMAT = HistoryFormat(HISTORY, VIEW)
STORE = CassandraStore(
    Project.of(payments("payments"), Path("nothing is committed")), Settings(), CassandraOptions(), now_s=lambda: 0
)
TOPIC = "features.payments"


def history(**values: Any) -> Row:
    return FORMAT.row(history_row(EmittedVector(VIEW, "e1", 0, spending(**values))))


def read(table: Table, row: Row) -> dict[str, Any]:
    """The row as a client reads it."""

    def value(name: str, encoded: Any) -> Any:
        if encoded is UNSET_VALUE:
            return None
        if name != FEATURES:
            return _driver_type(table.columns[name]).deserialize(encoded, ProtocolVersion.V5)
        kinds = [_driver_type(cql) for cql in table.features.values()]
        type_ = UserType.make_udt_class("ks", table.name, list(table.features), kinds)
        return dict(zip(table.features, type_.deserialize(encoded, ProtocolVersion.V5), strict=True))

    return {name: value(name, encoded) for name, encoded in zip(table.columns, row.values, strict=True)}


@settings(derandomize=True, deadline=None, max_examples=40)
@given(batches())
def test_a_batch_has_the_rows_that_its_records_have_one_by_one(batch: list[dict[str, Any]]) -> None:
    values = values_of(batch)
    assert len(values) >= FEWEST
    one_by_one = [found for value in values for found in STORE.decode(TOPIC, [value])]
    for found, expected in zip(STORE.decode(TOPIC, values), one_by_one, strict=True):
        if isinstance(expected, list):
            assert found == expected
        else:
            assert str(found) == str(expected)


def test_a_row_reads_as_the_values_of_the_record() -> None:
    record = features(7, attempt=2, spending=spending(amount_mean_1h=None, shop_last_k_1h=["s1", "é", ""]))
    (vector,) = emitted_vectors(PLAN, record)
    row = FORMAT.row(history_row(vector))
    assert read(HISTORY, row) == history_row(vector)
    assert {**read(HISTORY, row), **read(HISTORY, row)[FEATURES]}.items() >= record["spending"].items()
    table = prediction_table("payments", 1)
    values = prediction_row(prediction(3))
    assert read(table, RowFormat(table).row(values)) == {name: values[name] for name in table.columns}


def test_a_null_is_left_unset_and_writes_no_tombstone() -> None:
    table = prediction_table("payments", 1)
    row = RowFormat(table).row(prediction_row(prediction(1, entity=None)))
    assert dict(zip(table.columns, row.values, strict=True))["entity"] is UNSET_VALUE
    assert history(amount_mean_1h=None).size == history(amount_mean_1h=1.0).size - 8


def test_the_size_of_a_row_counts_its_text_in_bytes() -> None:
    assert history(shop_last_1h="é" * 1_001).size - history(shop_last_1h="é").size == 2_000
    few, more = (history(shop_last_k_1h=["s" * 500] * n) for n in (1, 2))
    assert more.size - few.size >= 500


@pytest.mark.parametrize("text", ["s" * 17_000_000, "\N{GRINNING FACE}" * 4_250_000])
def test_a_row_that_cassandra_would_refuse_at_every_attempt_cannot_be_decoded(text: str) -> None:
    assert history(shop_last_1h=text[: len(text) // 2]).size > 2_000_000
    with pytest.raises(Undecodable, match="longer than the 16711680 bytes"):
        history(shop_last_1h=text)


def test_in_a_batch_too_a_record_that_no_row_can_hold_is_refused_and_the_others_are_not() -> None:
    long = ["x" * 70_000, "x" * 40_000]
    batch = [features(n, spending=spending(f"c{n}")) for n in range(FEWEST)]
    found = STORE.decode(TOPIC, values_of([*batch, *(features(spending=spending(entity)) for entity in long)]))
    assert isinstance(found[FEWEST], Undecodable)
    assert all(isinstance(rows, list) for place, rows in enumerate(found) if place != FEWEST)


def test_an_integer_that_its_column_cannot_hold_is_refused() -> None:
    assert (
        next(field for field in PREDICTION_SCHEMA["fields"] if field["name"] == "features_partition")["type"] == "int"
    )
    row = prediction_row(prediction(features_partition=2**40))
    with pytest.raises(Undecodable, match="predictions_payments"):
        RowFormat(prediction_table("payments", 1)).row(row)


def test_the_partition_key_is_the_one_that_cassandra_hashes() -> None:
    slot = (T0 // 600_000).to_bytes(8, "big")
    assert history(entity="c1").key == b"\x00\x02c1\x00\x00\x08" + slot + b"\x00"
    assert RowFormat(prediction_table("payments", 1)).row(prediction_row(prediction(1))).key == b"e1"
