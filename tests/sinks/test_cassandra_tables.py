"""The tables of a plan, and their rows."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.codec import Undecodable
from sinks.cassandra_tables import (
    history_row,
    history_table,
    latest_attempts,
    prediction_by_entity_table,
    prediction_row,
    prediction_table,
    slot_of,
)
from sinks.emitted_vectors import EmittedVector
from tests.sinks.payments import PLAN, prediction, spending

VIEW = PLAN.view("spending")
HISTORY = history_table(PLAN, VIEW, 90 * 86_400)


def test_a_view_version_has_a_table_of_typed_columns() -> None:
    assert HISTORY.name == "features_payments_spending_v1"
    assert dict(HISTORY.columns) == {
        "entity": "text",
        "slot": "bigint",
        "epoch": "bigint",
        "seq": "bigint",
        "as_of": "bigint",
        "late": "boolean",
        "attempt": "bigint",
        "event_id": "text",
        "features": 'frozen<"features_payments_spending_v1">',
    }
    assert dict(HISTORY.features) == {
        "count_1m": "bigint",
        "count_1h": "bigint",
        "amount_mean_1h": "double",
        "shop_last_1h": "text",
        "shop_last_k_1h": "frozen<list<text>>",
        "amount_histogram_1h": "frozen<list<bigint>>",
        "busy": "double",
    }
    assert HISTORY.create_type_statement("ks").startswith(
        'CREATE TYPE IF NOT EXISTS "ks"."features_payments_spending_v1" ("count_1m" bigint, '
    )


def test_rows_are_partitioned_by_entity_and_ten_minutes_and_expire_by_windows() -> None:
    statement = HISTORY.create_statement("ks")
    assert 'PRIMARY KEY (("entity", "slot"), "as_of", "epoch", "seq", "attempt")' in statement
    assert "default_time_to_live = 7776000" in statement
    assert "TimeWindowCompactionStrategy" in statement
    assert "'compaction_window_size': '3'" in statement


def test_the_comment_differs_for_another_definition_of_the_same_version() -> None:
    changed = VIEW.model_copy(update={"hash": "f" * 16})
    assert history_table(PLAN, changed, 1).comment != HISTORY.comment


def test_predictions_keep_every_field_and_the_position_of_their_source() -> None:
    columns = prediction_table("payments", 1).columns
    assert columns["vector"] == "blob"
    assert columns["views"] == "frozen<list<tuple<text, text, bigint, bigint, bigint>>>"
    assert columns["reasons"] == columns["outputs"] == "frozen<list<tuple<text, double>>>"
    assert {"source_topic", "source_partition", "source_offset", "source_timestamp"} <= columns.keys()
    assert prediction_row(prediction(3)).keys() == columns.keys() | {"slot"}
    assert prediction_by_entity_table("payments", 1).columns.keys() <= columns.keys() | {"slot"}


@pytest.mark.parametrize(("time_ms", "slot"), [(0, 0), (599_999, 0), (600_000, 1), (-1, -1)])
def test_a_time_lies_in_a_slot_of_ten_minutes(time_ms: int, slot: int) -> None:
    assert slot_of(time_ms) == slot


@pytest.mark.parametrize("time_ms", [2**63 - 1, -(2**63)])
def test_any_event_time_has_a_slot_that_cassandra_can_hold(time_ms: int) -> None:
    assert -(2**63) <= slot_of(time_ms) < 2**63


def test_an_entity_longer_than_a_key_is_refused() -> None:
    with pytest.raises(Undecodable, match="entity"):
        history_row(EmittedVector(VIEW, "e1", 0, spending("é" * 40_000)))


@pytest.mark.parametrize("event_id", ["", "x" * 70_000])
def test_an_event_id_that_cannot_be_a_key_is_refused(event_id: str) -> None:
    with pytest.raises(Undecodable, match="event_id"):
        prediction_row(prediction(event_id=event_id))


def test_the_latest_attempt_of_an_emitted_vector_counts() -> None:
    def row(as_of: int, seq: int, attempt: int) -> dict[str, Any]:
        return {"as_of": as_of, "epoch": 0, "seq": seq, "attempt": attempt, "event_id": "e"}

    # The restored job processed the two events in the other order, so seq 1 now has the later as_of.
    rows = [row(20, 2, 1), row(20, 2, 0), row(20, 1, 1), row(10, 1, 0)]
    assert latest_attempts(rows) == [row(20, 2, 1), row(20, 1, 1)]
    assert latest_attempts(rows[::-1]) == [row(20, 1, 1), row(20, 2, 1)]


def test_a_timers_vector_counts_until_a_later_attempt_emits_its_event_again() -> None:
    def row(as_of: int, attempt: int, event_id: str = "") -> dict[str, Any]:
        return {"as_of": as_of, "epoch": 0, "seq": 7, "attempt": attempt, "event_id": event_id}

    event, timers = row(10, 1, "e"), [row(30, 2), row(30, 1), row(20, 1)]
    assert latest_attempts([*timers, event]) == [row(30, 2), row(20, 1), event]
    again = row(11, 2, "e")
    assert latest_attempts([*timers, again, event]) == [row(30, 2), again]


def test_a_backfills_row_counts_where_the_live_job_has_written_none_of_its_event() -> None:
    def row(event_id: str, epoch: int, seq: int, as_of: int = 10, attempt: int = 0) -> dict[str, Any]:
        return {"as_of": as_of, "epoch": epoch, "seq": seq, "attempt": attempt, "event_id": event_id}

    served, again, timer = row("b", 5, 1), row("b", 5, 1, attempt=1), row("", 5, 1, as_of=30, attempt=1)
    earlier, of_served, of_another = row("a", -9, 1), row("b", -9, 2, as_of=9), row("a", -7, 4)
    assert latest_attempts([earlier, of_served]) == [earlier, of_served]
    assert latest_attempts([timer, served, again, of_served, earlier]) == [timer, again, earlier]
    assert latest_attempts([served, of_another, earlier]) == [served, of_another]
