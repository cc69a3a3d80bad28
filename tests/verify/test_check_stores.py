"""Stored vectors against the topic; the sabotage of a recorded run tries what can be wrong with them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from penstock.kafka.reading import Record
from schemas.dead_letters import DeadLetter
from sinks.cassandra_tables import prediction_row
from tests.plans import COUNT, make_plan, view_of
from verify import store_formats as formats
from verify.check_stores import StoreFindings, check_cassandra, check_redis
from verify.published import Published
from verify.run_data import BackfillData, StoredTable

PLAN = make_plan(fields=[], views=[view_of(COUNT)])
PUBLISHED_MS = 50_000
SOURCE = {"topic": "events", "partition": 0, "offset": 0, "timestamp": 7}
PART = {"entity": "a", "epoch": 1, "seq": 1, "as_of": 5, "late": False, "n": 1}
RECORD = Published(0, 0, b"a", {"trigger": "event", "attempt": 0, "source": SOURCE, "v": PART}, timestamp=PUBLISHED_MS)
OVER_MS = PUBLISHED_MS + 1_010 + PLAN.source.max_future_ms


@pytest.mark.parametrize(("read_at_ms", "mismatches"), [(OVER_MS - 20, 1), (OVER_MS + 20, 0)])
def test_a_vector_may_be_missing_once_its_windows_are_over(read_at_ms: int, mismatches: int) -> None:
    assert check_redis(PLAN, [RECORD], {}, read_at_ms).mismatches == mismatches


LONG, HUGE = "e" * 65_001, "h" * (16 << 20)


def feature(**changes: Any) -> Published:
    part = PART | changes
    value = RECORD.value | {"event_id": part.pop("event_id", "id"), "v": part}
    return Published(3, 40, b"a", value, timestamp=PUBLISHED_MS)


def prediction(**changes: Any) -> Published:
    value = {
        "event_id": "id",
        "event_time": 5,
        "entity": "a",
        "score": 0.5,
        "decision": "ok",
        "model": "m",
        "model_version": "1",
        "source": SOURCE,
        "views": [],
        "outputs": [],
        "reasons": [],
        "cascade": None,
        "rollout": None,
        "defaulted": [],
    }
    return Published(3, 40, b"a", value | changes)


def letter(**changes: Any) -> Record:
    refused = {"topic": "features.p", "partition": 3, "offset": 40, "pipeline": "p", "stage": "decode"}
    refused |= {"component": "penstock.sink.cassandra", "reason": "penstock.Undecodable", "message": "why"}
    return Record(3, 0, 0, None, None, tuple(DeadLetter(**(refused | changes)).headers()))


def cassandra_without(record: Published, *letters: Record, of_prediction: bool = False) -> StoreFindings:
    """The check of tables that lack the rows of one record."""
    features, predictions = ([], [record]) if of_prediction else ([record], [])
    return check_cassandra(PLAN, features, predictions, {}, *(((), letters) if of_prediction else (letters, ())))


@pytest.mark.parametrize("record", [feature(entity=LONG), feature(n=HUGE), feature(event_id=HUGE)])
def test_a_dead_letter_of_the_sink_stands_for_a_row_that_cassandra_does_not_take(record: Published) -> None:
    findings = cassandra_without(record, letter())
    assert (findings.examples, findings.refused) == ([], 1)
    assert cassandra_without(record).mismatches == 1


@pytest.mark.parametrize(
    "record", [prediction(event_id=""), prediction(event_id=LONG), prediction(entity=LONG), prediction(model=HUGE)]
)
def test_a_dead_letter_of_the_sink_stands_for_both_rows_of_a_prediction(record: Published) -> None:
    findings = cassandra_without(record, letter(), of_prediction=True)
    assert (findings.examples, findings.refused) == ([], 1)
    assert cassandra_without(record, of_prediction=True).mismatches == 2


@pytest.mark.parametrize(
    "of_another",
    [
        letter(offset=41),
        letter(component="penstock.sink.redis"),
        letter(reason="penstock.UnknownSchema"),
        Record(3, 0, 0, None, None, ()),
    ],
)
def test_another_dead_letter_does_not_stand_for_a_missing_row(of_another: Record) -> None:
    assert cassandra_without(feature(entity=LONG), of_another).mismatches == 1


def test_a_dead_letter_does_not_stand_for_a_row_that_cassandra_takes() -> None:
    findings = cassandra_without(feature(entity="e" * 65_000, n="h" * (15 << 20 >> 1)), letter())
    assert (findings.mismatches, findings.refused) == (1, 0)


def test_a_row_that_was_written_although_it_has_a_letter_is_compared() -> None:
    record = feature(entity=LONG)
    row = formats.history_row(record.value["v"], record.value)
    key = tuple(row[column] for column in formats.HISTORY_KEY)
    (name,) = (formats.history_table(PLAN, view) for view in PLAN.views)
    for stored, mismatches in ((row, 0), (row | {"features": {"n": 2}}, 1)):
        table = StoredTable(formats.HISTORY_KEY, [key], [stored])
        assert check_cassandra(PLAN, [record], [], {name: table}, [letter()]).mismatches == mismatches


def test_the_arm_of_a_rollout_is_compared_as_the_sink_writes_it() -> None:
    arm = {"policy": "0" * 12, "arm": "a", "probability": 0.5, "explored": False, "propensity": 1.0, "infer_ms": 2.0}
    record, (table, by_entity) = prediction(rollout=arm), formats.prediction_tables("p")
    row = prediction_row(record.value)
    keys = {
        table: tuple(row[name] for name in formats.PREDICTION_KEY),
        by_entity: tuple(row[name] for name in formats.PREDICTION_BY_ENTITY_KEY),
    }
    del row["slot"]  # the other table's
    other = prediction_row({**record.value, "rollout": arm | {"arm": "b"}})["rollout"]
    for stored, mismatches in ((row, 0), (row | {"rollout": other}, 1)):
        tables = {
            table: StoredTable(formats.PREDICTION_KEY, [keys[table]], [stored]),
            by_entity: StoredTable(formats.PREDICTION_BY_ENTITY_KEY, [keys[by_entity]], []),
        }
        assert check_cassandra(PLAN, [], [record], tables).mismatches == mismatches


EPOCH = formats.backfill_epoch("0000000a")
(HISTORY,) = (formats.history_table(PLAN, view) for view in PLAN.views)


def a_backfill(*entities: str | None, keyspaces: tuple[str, ...] = ("k",)) -> BackfillData:
    rows = {
        "event_id": [f"e{number}" for number in range(len(entities))],
        "v.entity": entities,
        "v.seq": range(len(entities)),
        "v.as_of": pa.array([5 * 600_000] * len(entities), pa.timestamp("ms", tz="UTC")),
        "v.late": [False] * len(entities),
        "v.n": [7] * len(entities),
    }
    table = pa.table({name: pa.array(values) for name, values in rows.items()})
    return BackfillData(0, 1, ("v",), (), len(entities), table, EPOCH, keyspaces)


def a_row(entity: str, number: int, epoch: int = EPOCH, n: int = 7) -> dict[str, Any]:
    part = {"entity": entity, "epoch": epoch, "seq": number, "as_of": 5 * 600_000, "late": False, "n": n}
    return formats.history_row(part, {"attempt": 0, "event_id": f"e{number}"})


def history_of(*rows: dict[str, Any], backfills: tuple[BackfillData, ...], keyspace: str = "k") -> StoreFindings:
    """The check of a history with these rows, where one vector was served."""
    served = formats.history_row(RECORD.value["v"], RECORD.value | {"event_id": "e"})
    stored = [served, *rows]
    table = StoredTable(
        formats.HISTORY_KEY, [tuple(row[column] for column in formats.HISTORY_KEY) for row in stored], stored
    )
    records = [Published(0, 0, b"a", RECORD.value | {"event_id": "e"}, timestamp=PUBLISHED_MS)]
    return check_cassandra(PLAN, records, [], {HISTORY: table}, backfills=backfills, keyspace=keyspace)


def test_rows_of_a_backfill_are_compared_with_it() -> None:
    found = history_of(a_row("a", 0), a_row("b", 2), backfills=(a_backfill("a", None, "b"),))
    assert (found.examples, found.unchecked, found.checked, found.compared) == ([], [], 3, 3)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([a_row("a", 0)], "is missing"),
        ([a_row("a", 0), a_row("b", 1, n=8)], "differs in features.n"),
        ([a_row("a", 0), a_row("b", 1), a_row("c", 2)], "was never published"),
        ([a_row("a", 0), a_row("b", 1, epoch=3)], "was never published"),
    ],
)
def test_a_row_of_a_backfill_that_is_missing_another_or_too_many_is_found(rows: list[Any], says: str) -> None:
    found = history_of(*rows, backfills=(a_backfill("a", "b"),))
    assert found.mismatches
    assert any(says in example for example in found.examples)


@pytest.mark.parametrize(("keyspaces", "keyspace"), [((), "k"), (("k",), "another")])
def test_rows_of_a_backfill_that_did_not_wholly_go_to_this_keyspace_may_be_missing(
    keyspaces: tuple[str, ...], keyspace: str
) -> None:
    backfills = (a_backfill("a", "b", keyspaces=keyspaces),)
    assert history_of(a_row("a", 0), backfills=backfills, keyspace=keyspace).mismatches == 0
    assert history_of(a_row("a", 0, n=8), backfills=backfills, keyspace=keyspace).mismatches == 1


def test_a_row_that_cassandra_does_not_take_may_be_missing() -> None:
    assert history_of(a_row("a", 0), backfills=(a_backfill("a", LONG),)).mismatches == 0


def test_rows_of_a_backfill_that_is_not_given_are_named_as_unchecked() -> None:
    found = history_of(a_row("a", 0, epoch=EPOCH + 1), backfills=(a_backfill(),))
    assert (found.mismatches, found.checked) == (0, 1)
    assert found.unchecked == [f"1 row of backfills in Cassandra's {HISTORY}: for them, give --backfill their folders"]
