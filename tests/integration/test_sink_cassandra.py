"""The Cassandra sink on real Kafka and Cassandra: it holds every vector and prediction once, whatever happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cassandra.cluster import Session
from confluent_kafka.admin import AdminClient

from deploy.local.stack import Stack
from penstock.cassandra_client import connect_cassandra
from penstock.errors import PenstockError
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from sinks.cassandra_tables import latest_attempts
from sinks.store_interface import StoreUnavailable
from sinks.stores.cassandra import CassandraOptions, CassandraStore
from streams.definitions.aggregates import count
from streams.definitions.pipeline import Pipeline
from streams.definitions.views import View
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project
from tests.sinks.payments import (
    CARD,
    T0,
    encoded_features,
    encoded_prediction,
    features,
    payments,
    prediction,
    spending,
    trade,
)
from tests.sinks.sink_helpers import committed, consume_all, eventually, metric, produce, running

NAME = "payments"
FEATURES, PREDICTIONS = f"features.{NAME}", f"predictions.{NAME}"
HISTORY = f"features_{NAME}_spending_v1"


def new_store(
    settings: Settings,
    pipeline: Pipeline | None = None,
    ttl_ms: int = 86_400_000,
    now_s: Callable[[], float] = time.time,
) -> CassandraStore:
    project = Project.of(pipeline or payments(NAME), Path("nothing is committed"))
    options = CassandraOptions(history_ttl=ttl_ms, prediction_ttl=ttl_ms)
    return CassandraStore(project, settings, options, now_s=now_s)


@pytest.fixture
def keyspace(settings: Settings) -> Iterator[str]:
    """The keyspace of this test, dropped at its end."""
    yield settings.cassandra.keyspace
    cluster = connect_cassandra(settings.cassandra)
    cluster.connect().execute(f"DROP KEYSPACE IF EXISTS {settings.cassandra.keyspace}", timeout=60)
    cluster.shutdown()


@pytest.fixture
def store(settings: Settings, keyspace: str) -> Iterator[CassandraStore]:
    store = new_store(settings)
    store.open()
    yield store
    store.close()


@pytest.fixture
def session(settings: Settings, store: CassandraStore, keyspace: str) -> Iterator[Session]:
    cluster = connect_cassandra(settings.cassandra)
    yield cluster.connect(keyspace)
    cluster.shutdown()


def write(store: CassandraStore, *records: dict[str, Any]) -> None:
    """Decode and write records, as the runner would."""
    predictions = [encoded_prediction(record) for record in records if "score" in record]
    vectors = [encoded_features(NAME, record) for record in records if "score" not in record]
    store.write([*store.decode(FEATURES, vectors), *store.decode(PREDICTIONS, predictions)]).result()  # type: ignore[list-item]


def rows(session: Session, table: str, where: str = "") -> list[dict[str, Any]]:
    """The rows; the features beside the other columns."""
    found = [row._asdict() for row in session.execute(f"SELECT * FROM {table} {where}")]
    return [{**row, **features._asdict()} if (features := row.pop("features", None)) else row for row in found]


# --- the store


def test_a_time_to_live_that_this_cassandra_cannot_count_is_refused_before_anything_is_created(
    settings: Settings, keyspace: str
) -> None:
    longest_ms = (2**31 - 2 - int(time.time())) * 1000
    store = new_store(settings, ttl_ms=longest_ms + 60_000)
    with pytest.raises(PenstockError, match="takes none that expire after 2038-01-19 03:14"):
        store.open()
    with connect_cassandra(settings.cassandra) as cluster, cluster.connect() as session:
        assert not session.cluster.metadata.keyspaces[keyspace].tables
    store = new_store(settings, ttl_ms=longest_ms - 600_000)
    store.open()
    write(store, features(1))
    in_an_hour = new_store(settings, now_s=lambda: time.time() + 3_600)
    with pytest.raises(PenstockError, match=r"ALTER TABLE .* WITH default_time_to_live"):  # that of the table counts
        in_an_hour.open()


def test_a_vector_is_kept_with_the_types_of_its_features(store: CassandraStore, session: Session) -> None:
    write(store, features(7, attempt=2, spending=spending(amount_mean_1h=None), trade=trade(is_new=True)))
    (row,) = rows(session, HISTORY)
    assert row.pop("slot") == T0 // 600_000
    assert row == spending(amount_mean_1h=None) | {"attempt": 2, "event_id": "e7"}
    (row,) = rows(session, f"features_{NAME}_trade_v3")
    assert (row["card_approx_distinct_10m"], row["is_new"]) == (7, True)


def test_an_empty_list_is_not_null(store: CassandraStore, session: Session) -> None:
    write(store, *(features(n, spending=spending(seq=n, shop_last_k_1h=[None, []][n])) for n in range(2)))
    assert {row["seq"]: row["shop_last_k_1h"] for row in rows(session, HISTORY)} == {0: None, 1: []}


def test_a_repeated_write_changes_nothing(store: CassandraStore, session: Session) -> None:
    batch = [features(n, spending=spending("c1", n, T0 + n)) for n in range(200)] + [prediction(1)]
    write(store, *batch)
    write(store, *batch)
    assert len(rows(session, HISTORY)) == 200
    assert len(rows(session, f"predictions_{NAME}")) == len(rows(session, f"predictions_{NAME}_by_entity")) == 1


def test_the_history_of_an_entity_is_newest_first_and_counts_the_latest_attempt(
    store: CassandraStore, session: Session
) -> None:
    again = features(2, attempt=1, spending=spending("c1", 2, T0 + 2, count_1h=9))
    write(store, again, *(features(n, spending=spending("c1", n, T0 + n)) for n in (1, 3, 2)))
    found = rows(session, HISTORY, f"WHERE entity = 'c1' AND slot = {T0 // 600_000}")
    assert [(row["seq"], row["attempt"]) for row in found] == [(3, 0), (2, 1), (2, 0), (1, 0)]
    assert [(row["seq"], row["count_1h"]) for row in latest_attempts(found)] == [(3, 2), (2, 9), (1, 2)]


def test_a_prediction_is_found_by_its_event_and_by_its_entity(store: CassandraStore, session: Session) -> None:
    write(store, *(prediction(n) for n in range(3)), prediction(3, entity=None))
    (row,) = rows(session, f"predictions_{NAME}", "WHERE event_id = 'e2'")
    assert (row["score"], row["vector"], row["source_offset"]) == (0.25, b"\x00\x00\x48\x41", 2)
    assert row["views"] == [("spending@1", "c1", 0, 2, T0 + 2)]
    of_entity = rows(session, f"predictions_{NAME}_by_entity", f"WHERE entity = 'c1' AND slot = {T0 // 600_000}")
    assert [row["event_id"] for row in of_entity] == ["e2", "e1", "e0"]
    assert [row["entity"] for row in rows(session, f"predictions_{NAME}", "WHERE event_id = 'e3'")] == [None]


@pytest.mark.parametrize("as_of", [-(2**63), 2**63 - 1, 0])
def test_an_absurd_event_time_does_not_stop_the_store(store: CassandraStore, session: Session, as_of: int) -> None:
    write(store, features(spending=spending("", as_of=as_of)))
    assert [(row["entity"], row["as_of"]) for row in rows(session, HISTORY)] == [("", as_of)]


def test_rows_of_a_large_record_do_not_exceed_a_request(store: CassandraStore, session: Session) -> None:
    write(store, *(features(n, spending=spending("c1", n, shop_last_1h="x" * 900_000)) for n in range(40)))
    assert session.execute(f"SELECT count(*) FROM {HISTORY}").one()[0] == 40


def test_another_definition_under_the_same_version_is_refused(store: CassandraStore, settings: Settings) -> None:
    changed = View(name="spending", version=1, entity=CARD, aggregates=(count(over=("1m", "2h")),))
    pipeline = payments(NAME)
    other = pipeline.model_copy(update={"views": (changed, pipeline.views[1])})
    with pytest.raises(PenstockError, match="another definition") as caught:
        new_store(settings, other).open()
    assert not isinstance(caught.value, StoreUnavailable)
    assert "new version" in str(caught.value)
    assert f"DROP TYPE {settings.cassandra.keyspace}.{HISTORY}" in str(caught.value)


def test_what_the_error_of_another_definition_says_makes_room_for_it(
    store: CassandraStore, settings: Settings, session: Session
) -> None:
    changed = View(name="spending", version=1, entity=CARD, aggregates=(count(over=("1m", "2h")),))
    other = payments(NAME).model_copy(update={"views": (changed, payments(NAME).views[1])})
    # A derived feature of the other view reads the changed one, so that both are of another definition.
    for table in (HISTORY, f"features_{NAME}_trade_v3"):
        session.execute(f"DROP TABLE {table}", timeout=60)
    with pytest.raises(PenstockError, match=r"another definition .* the type's fields"):
        new_store(settings, other).open()
    session.execute(f"DROP TYPE {HISTORY}", timeout=60)
    new_store(settings, other).open()
    assert not session.execute(f"SELECT features.count_1m, features.count_2h FROM {HISTORY}").all()


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ("entity text, day date, as_of bigint, PRIMARY KEY ((entity, day), as_of)", "keys entity, day, as_of, not"),
        (
            "entity text, slot bigint, as_of bigint, epoch bigint, seq bigint, attempt bigint, count_1m bigint, "
            "PRIMARY KEY ((entity, slot), as_of, epoch, seq, attempt)",
            "a column for each feature, not the column features",
        ),
    ],
)
def test_a_table_of_another_release_is_refused(
    store: CassandraStore, settings: Settings, session: Session, columns: str, what: str
) -> None:
    session.execute(f"DROP TABLE {HISTORY}", timeout=60)
    session.execute(f"CREATE TABLE {HISTORY} ({columns})", timeout=60)
    with pytest.raises(PenstockError, match=f"made by another release: it has (the )?{what}") as refused:
        new_store(settings).open()
    assert not isinstance(refused.value, StoreUnavailable)
    assert f"DROP TABLE {settings.cassandra.keyspace}.{HISTORY}; and penstock sink rewind" in str(refused.value)


def test_the_partitions_of_a_busy_entity_hold_ten_minutes_each(store: CassandraStore, session: Session) -> None:
    start = T0 // 600_000 * 600_000
    write(store, *(features(n, spending=spending("c1", n, start + n * 60_000)) for n in range(25)))
    sizes = session.execute(f"SELECT slot, count(*) AS n FROM {HISTORY} GROUP BY entity, slot")
    assert sorted((row.slot - T0 // 600_000, row.n) for row in sizes) == [(0, 10), (1, 10), (2, 5)]


def test_dropped_tables_are_created_again(store: CassandraStore, session: Session) -> None:
    session.execute(f"DROP TABLE {HISTORY}", timeout=60)
    with pytest.raises(StoreUnavailable):
        write(store, features(spending=spending()))
    write(store, features(spending=spending()))
    assert len(rows(session, HISTORY)) == 1


# --- the sink


@pytest.fixture
def pipeline(settings: Settings, suffix: str) -> Iterator[Pipeline]:
    definition = payments(f"pay_{suffix}")
    create_topics(pipeline_topics(definition), settings.kafka.access)
    yield definition
    names = [topic.name for topic in pipeline_topics(definition)]
    AdminClient(settings.kafka.access.client()).delete_topics(names)


@pytest.fixture
def send(pipeline: Pipeline, settings: Settings) -> Callable[[range], None]:
    def send(numbers: range) -> None:
        records = [features(n, spending=spending(f"c{n}", n, T0 + n)) for n in numbers]
        values = [encoded_features(pipeline.name, record) for record in records]
        produce(settings.kafka.access, pipeline.features_topic, values)
        predictions = [encoded_prediction(prediction(n)) for n in numbers]
        produce(settings.kafka.access, pipeline.predictions_topic, predictions, partition=1)

    return send


def test_outages_at_the_start_and_later_lose_nothing(
    pipeline: Pipeline, settings: Settings, keyspace: str, stack: Stack, send: Callable[[range], None]
) -> None:
    def offset() -> int | None:
        return committed(settings.kafka.access, pipeline.name, "cassandra", pipeline.features_topic)[0]

    def paused() -> float:
        return metric("penstock_sink_paused", pipeline.name, "cassandra")

    send(range(100))
    stack.stop("cassandra")
    try:
        with running(new_store(settings, pipeline), pipeline.name, settings.kafka.access):
            eventually(lambda: paused() == 1)
            assert offset() is None
            stack.start("cassandra")
            eventually(lambda: offset() == 100, 90)
            assert paused() == 0

            stack.stop("cassandra")
            send(range(100, 2_000))
            eventually(lambda: paused() == 1)
            time.sleep(1.5)  # longer than the commit interval
            assert offset() == 100
            stack.start("cassandra")
            eventually(lambda: offset() == 2_000, 90)
            eventually(
                lambda: (
                    committed(settings.kafka.access, pipeline.name, "cassandra", pipeline.predictions_topic)[1] == 2_000
                )
            )
    finally:
        stack.start("cassandra")
    cluster = connect_cassandra(settings.cassandra)
    session = cluster.connect(keyspace)
    for table in (
        f"features_{pipeline.name}_spending_v1",
        f"predictions_{pipeline.name}",
        f"predictions_{pipeline.name}_by_entity",
    ):
        assert session.execute(f"SELECT count(*) FROM {table}").one()[0] == 2_000
    cluster.shutdown()


def test_a_record_that_cassandra_cannot_hold_becomes_a_dead_letter(
    pipeline: Pipeline, settings: Settings, keyspace: str, send: Callable[[range], None]
) -> None:
    too_long = encoded_features(pipeline.name, features(spending=spending("x" * 70_000)))
    produce(settings.kafka.access, pipeline.features_topic, [too_long])
    send(range(5))
    with running(new_store(settings, pipeline), pipeline.name, settings.kafka.access):
        (message,) = consume_all(settings.kafka.access, f"{pipeline.features_topic}.dlq", 1)
        eventually(
            lambda: committed(settings.kafka.access, pipeline.name, "cassandra", pipeline.features_topic)[0] == 6
        )
    assert message.value() == too_long


def test_a_sink_that_waits_for_its_store_stops_when_told(settings: Settings, pipeline: Pipeline) -> None:
    nowhere = settings.model_copy(update={"cassandra": settings.cassandra.model_copy(update={"port": 1})})
    started = time.monotonic()
    with running(new_store(nowhere, pipeline), pipeline.name, settings.kafka.access) as sink:
        eventually(lambda: metric("penstock_sink_store_errors_total", pipeline.name, "cassandra") >= 2)
        threading.Timer(0.1, sink.stop).start()
    assert time.monotonic() - started < 30
