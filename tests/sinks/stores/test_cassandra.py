"""Rows become inserts, and inserts become requests of limited size."""

from __future__ import annotations

import pytest
from cassandra.query import UNSET_VALUE
from pydantic import ValidationError

from schemas.codec import Undecodable
from sinks.cassandra_tables import history_row, history_table
from sinks.emitted_vectors import EmittedVector
from sinks.stores.cassandra import CassandraOptions, Insert, _insert, group_into_batches, split_by_size
from tests.sinks.payments import PLAN, T0, spending

VIEW = PLAN.view("spending")
HISTORY = history_table(PLAN, VIEW, 90 * 86_400)


def test_a_null_is_left_unset_and_writes_no_tombstone() -> None:
    row = history_row(EmittedVector(VIEW, "e1", 0, spending(amount_mean_1h=None)))
    values = dict(zip(HISTORY.columns, _insert(HISTORY, row).values, strict=True))
    assert values["amount_mean_1h"] is UNSET_VALUE
    assert values["slot"] == T0 // 600_000


def test_rows_with_the_same_replicas_share_batches_of_limited_size() -> None:
    assert group_into_batches([("a", 100, 1), ("b", 100, 2), ("a", 100, 3)]) == [[1, 3], [2]]
    assert [len(group) for group in group_into_batches([("a", 500, 0)] * 25)] == [10, 10, 5]
    assert [len(group) for group in group_into_batches([("a", 900_000, 0)] * 2 + [("a", 1, 0)])] == [1, 1, 1]


def test_the_size_of_a_row_counts_its_text() -> None:
    short, long = (
        history_row(EmittedVector(VIEW, "e1", 0, spending(shop_last_1h=shop))) for shop in ("s", "s" * 1_001)
    )
    assert _insert(HISTORY, long).size - _insert(HISTORY, short).size == 1_000
    few, more = (history_row(EmittedVector(VIEW, "e1", 0, spending(shop_last_k_1h=["s" * 500] * n))) for n in (1, 2))
    assert _insert(HISTORY, more).size - _insert(HISTORY, few).size >= 500


def test_inserts_are_split_by_size_in_order_and_none_is_left_out() -> None:
    inserts = [Insert("t", [number], size) for number, size in enumerate((40, 50, 20, 500, 10))]
    found = list(split_by_size(inserts, 100))
    assert [[insert.size for insert in part] for part in found] == [[40, 50], [20], [500], [10]]
    assert [insert for part in found for insert in part] == inserts


@pytest.mark.parametrize("text", ["s" * 17_000_000, "\N{GRINNING FACE}" * 4_250_000])
def test_a_row_that_cassandra_would_refuse_at_every_attempt_cannot_be_decoded(text: str) -> None:
    fits = history_row(EmittedVector(VIEW, "e1", 0, spending(shop_last_1h=text[: len(text) // 2])))
    assert _insert(HISTORY, fits).size > 2_000_000
    with pytest.raises(Undecodable, match="longer than the 16711680 bytes"):
        _insert(HISTORY, history_row(EmittedVector(VIEW, "e1", 0, spending(shop_last_1h=text))))


@pytest.mark.parametrize("ttl", ["999ms", "7301d", "20000d"])
def test_a_time_to_live_that_cassandra_cannot_count_is_refused(ttl: str) -> None:
    with pytest.raises(ValidationError, match=f"{ttl} is no time to live for Cassandra"):
        CassandraOptions.model_validate({"history_ttl": ttl})
    with pytest.raises(ValidationError, match="7300d"):
        CassandraOptions.model_validate({"prediction_ttl": ttl})


@pytest.mark.parametrize("ttl", ["1s", "7300d"])
def test_cassandras_limits_are_times_to_live(ttl: str) -> None:
    assert CassandraOptions.model_validate({"history_ttl": ttl}).history_ttl
