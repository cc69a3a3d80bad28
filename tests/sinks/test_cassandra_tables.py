"""The tables that a plan gives, and the rows that go into them."""

from __future__ import annotations

from typing import Any

import pytest
from cassandra.query import UNSET_VALUE
from cassandra.util import Date

from schemas.codec import Undecodable
from sinks.cassandra_sink import Insert, _insert, grouped, parts
from sinks.cassandra_tables import (
    day_of,
    history_row,
    history_table,
    latest_emissions,
    prediction_by_entity_table,
    prediction_row,
    prediction_table,
)
from sinks.emissions import Emission
from tests.sinks.payments import PLAN, T0, prediction, spending

VIEW = PLAN.view("spending")
HISTORY = history_table(PLAN, VIEW, 90 * 86_400)


def test_a_view_version_has_a_table_of_typed_columns() -> None:
    assert HISTORY.name == "features_payments_spending_v1"
    assert dict(HISTORY.columns) == {
        "entity": "text",
        "day": "date",
        "epoch": "bigint",
        "seq": "bigint",
        "as_of": "bigint",
        "late": "boolean",
        "count_1m": "bigint",
        "count_1h": "bigint",
        "amount_mean_1h": "double",
        "shop_last_1h": "text",
        "shop_last_k_1h": "frozen<list<text>>",
        "amount_histogram_1h": "frozen<list<bigint>>",
        "busy": "double",
        "attempt": "bigint",
        "event_id": "text",
    }


def test_rows_are_partitioned_by_entity_and_day_and_expire_by_windows() -> None:
    statement = HISTORY.create("ks")
    assert 'PRIMARY KEY (("entity", "day"), "as_of", "epoch", "seq", "attempt")' in statement
    assert "default_time_to_live = 7776000" in statement
    assert "TimeWindowCompactionStrategy" in statement
    assert "'compaction_window_size': '3'" in statement


def test_the_comment_tells_definitions_of_the_same_version_apart() -> None:
    changed = VIEW.model_copy(update={"hash": "f" * 16})
    assert history_table(PLAN, changed, 1).comment != HISTORY.comment


def test_predictions_keep_every_field_and_the_position_of_their_source() -> None:
    columns = prediction_table("payments", 1).columns
    assert columns["vector"] == "blob"
    assert columns["views"] == "frozen<list<tuple<text, text, bigint, bigint, bigint>>>"
    assert {"source_topic", "source_partition", "source_offset", "source_timestamp"} <= columns.keys()
    assert prediction_row(prediction(3)).keys() == columns.keys() | {"day"}
    assert prediction_by_entity_table("payments", 1).columns.keys() <= columns.keys() | {"day"}


def test_a_null_is_left_unset_and_no_tombstone() -> None:
    row = history_row(Emission(VIEW, "e1", 0, spending(amount_mean_1h=None)))
    values = dict(zip(HISTORY.columns, _insert(HISTORY, row).values, strict=True))
    assert values["amount_mean_1h"] is UNSET_VALUE
    assert values["day"] == Date(T0 // 86_400_000)


@pytest.mark.parametrize(
    ("time_ms", "day"), [(0, 0), (-1, -1), (86_400_000, 1), (2**63 - 1, 2**31 - 1), (-(2**63), -(2**31))]
)
def test_any_event_time_has_a_day(time_ms: int, day: int) -> None:
    assert day_of(time_ms) == day


def test_an_entity_longer_than_a_key_is_refused() -> None:
    with pytest.raises(Undecodable, match="entity"):
        history_row(Emission(VIEW, "e1", 0, spending("é" * 40_000)))


@pytest.mark.parametrize("event_id", ["", "x" * 70_000])
def test_an_event_id_that_cannot_be_a_key_is_refused(event_id: str) -> None:
    with pytest.raises(Undecodable, match="event_id"):
        prediction_row(prediction(event_id=event_id))


def test_of_what_was_emitted_again_the_latest_attempt_counts() -> None:
    def row(as_of: int, seq: int, attempt: int) -> dict[str, Any]:
        return {"as_of": as_of, "epoch": 0, "seq": seq, "attempt": attempt, "event_id": "e"}

    # The restored job met the two events in the other order: seq 1 now has the later as_of.
    rows = [row(20, 2, 1), row(20, 2, 0), row(20, 1, 1), row(10, 1, 0)]
    assert latest_emissions(rows) == [row(20, 2, 1), row(20, 1, 1)]
    assert latest_emissions(rows[::-1]) == [row(20, 1, 1), row(20, 2, 1)]


def test_timers_count_beside_their_event_until_it_is_emitted_anew() -> None:
    def row(as_of: int, attempt: int, event_id: str = "") -> dict[str, Any]:
        return {"as_of": as_of, "epoch": 0, "seq": 7, "attempt": attempt, "event_id": event_id}

    event, timers = row(10, 1, "e"), [row(30, 2), row(30, 1), row(20, 1)]
    assert latest_emissions([*timers, event]) == [row(30, 2), row(20, 1), event]
    again = row(11, 2, "e")
    assert latest_emissions([*timers, again, event]) == [row(30, 2), again]


def test_rows_of_the_same_replicas_travel_together_but_not_in_batches_too_large() -> None:
    assert grouped([("a", 100, 1), ("b", 100, 2), ("a", 100, 3)]) == [[1, 3], [2]]
    assert [len(group) for group in grouped([("a", 500, 0)] * 25)] == [10, 10, 5]
    assert [len(group) for group in grouped([("a", 900_000, 0)] * 2 + [("a", 1, 0)])] == [1, 1, 1]


def test_the_size_of_a_row_counts_its_text() -> None:
    short, long = (history_row(Emission(VIEW, "e1", 0, spending(shop_last_1h=shop))) for shop in ("s", "s" * 1_001))
    assert _insert(HISTORY, long).size - _insert(HISTORY, short).size == 1_000
    few, more = (history_row(Emission(VIEW, "e1", 0, spending(shop_last_k_1h=["s" * 500] * n))) for n in (1, 2))
    assert _insert(HISTORY, more).size - _insert(HISTORY, few).size >= 500


def test_what_is_under_way_at_once_is_bounded_and_nothing_is_left_out() -> None:
    inserts = [Insert("t", [number], size) for number, size in enumerate((40, 50, 20, 500, 10))]
    found = list(parts(inserts, 100))
    assert [[insert.size for insert in part] for part in found] == [[40, 50], [20], [500], [10]]
    assert [insert for part in found for insert in part] == inserts
