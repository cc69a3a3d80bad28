"""The Redis sink on real Kafka and Redis: correct in any order of arrival, and correct again after every failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.cli import cli
from penstock.errors import PenstockError
from penstock.kafka.topics import create_topics
from penstock.online import OnlineFeatures
from penstock.redis_client import connect_redis
from penstock.settings import Settings
from schemas.contract import pii_hash
from schemas.dead_letters import DeadLetter
from sinks.emitted_vectors import EmittedVector
from sinks.feature_reader import FeatureReader
from sinks.rewind import rewind
from sinks.runner import group_id
from sinks.store_interface import StoreUnavailable
from sinks.stores.redis import RedisStore, redis_key
from sinks.vector_format import VectorState, time_to_live_ms
from streams.definitions.pipeline import Pipeline
from streams.definitions.windows import LIFETIME_MS
from streams.plan.model import PipelinePlan
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project
from tests.sinks.payments import T0, encoded_features, features, payments, spending, trade
from tests.sinks.sink_helpers import committed, consume_all, eventually, metric, produce, running

GRACE_MS = 86_400_000


@pytest.fixture
def pipeline(settings: Settings, suffix: str) -> Iterator[Pipeline]:
    definition = payments(f"pay_{suffix}")
    create_topics(pipeline_topics(definition), settings.kafka.access)
    yield definition
    names = [topic.name for topic in pipeline_topics(definition)]
    AdminClient(settings.kafka.access.client()).delete_topics(names)


@pytest.fixture
def project(suffix: str) -> Project:
    return Project.of(payments(f"pay_{suffix}"), Path("nothing is committed"))


@pytest.fixture
def the_plan(project: Project) -> PipelinePlan:
    return project.plan


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with connect_redis(settings.redis) as client:
        yield client


@pytest.fixture
def store(project: Project, client: redis.Redis) -> RedisStore:
    store = RedisStore(project, client, GRACE_MS)
    store.open()
    return store


@pytest.fixture
def new_store(project: Project, settings: Settings) -> Callable[[], RedisStore]:
    """Makes stores for sinks to run, which close their clients."""
    return lambda: RedisStore(project, connect_redis(settings.redis), GRACE_MS)


@pytest.fixture
def reader(the_plan: PipelinePlan, client: redis.Redis) -> FeatureReader:
    return FeatureReader(the_plan, client)


def emitted(the_plan: PipelinePlan, order: tuple[int, ...], entity: str = "c1") -> EmittedVector:
    epoch, seq, attempt = order[:3]
    as_of = T0 + sum(order[3:])
    part = spending(entity, seq, as_of, epoch, count_1h=seq % 1000)
    return EmittedVector(the_plan.view("spending"), "e", attempt, part, newest_ms=T0 if as_of > T0 else None)


def write(store: RedisStore, *vectors: EmittedVector) -> None:
    """Write vectors as those of one record, and wait for the acknowledgement."""
    store.write([[store.stored(vector) for vector in vectors]]).result()


def order_of(reader: FeatureReader, entity: str = "c1") -> tuple[int | None, ...]:
    vector = reader.get("spending", entity, T0)
    return vector.epoch, vector.seq, vector.attempt


# --- the store


@pytest.mark.parametrize("stale", [(1, 4, 9), (0, 9, 9), (1, 5, 1), (1, 5, 2)])
def test_an_older_vector_is_not_stored(
    store: RedisStore, reader: FeatureReader, the_plan: PipelinePlan, stale: tuple[int, int, int]
) -> None:
    write(store, emitted(the_plan, (1, 5, 2)))
    write(store, emitted(the_plan, stale))
    assert order_of(reader) == (1, 5, 2)


def test_a_timers_vector_stays_until_the_next_events_vector_comes(
    store: RedisStore, reader: FeatureReader, the_plan: PipelinePlan
) -> None:
    far = 2**40
    for order, kept in [((1, 5, 2, 7), 7), ((1, 5, 2), 7), ((1, 5, 2, 3), 7), ((1, 5, 2, far), far), ((1, 6, 2), 0)]:
        write(store, emitted(the_plan, order))
        assert reader.get("spending", "c1", T0).as_of == T0 + kept


ORDERS = st.tuples(*[st.integers(0, 3) | st.integers(0, 2**63 - 1) | st.sampled_from([2**53, 2**53 + 1, 2**32])] * 3)


@given(st.lists(ORDERS, min_size=1, max_size=8))
@example([(0, 2**53 + 1, 0), (0, 2**53, 0)])  # one number to a double
@example([(0, 9, 0), (0, 10, 0)])  # the other way round as text
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_in_any_order_the_newest_stays(
    store: RedisStore,
    reader: FeatureReader,
    client: redis.Redis,
    the_plan: PipelinePlan,
    orders: list[tuple[int, int, int]],
) -> None:
    client.delete(redis_key(the_plan, the_plan.view("spending"), "c1"))
    for order in orders:
        write(store, emitted(the_plan, order))
    assert order_of(reader) == max(orders)


def test_scripts_that_the_server_lost_are_loaded_again(
    store: RedisStore, reader: FeatureReader, client: redis.Redis, the_plan: PipelinePlan
) -> None:
    client.script_flush()
    write(store, emitted(the_plan, (0, 1, 0)))
    assert order_of(reader) == (0, 1, 0)


def test_a_vector_expires_when_it_is_of_no_use(store: RedisStore, client: redis.Redis, the_plan: PipelinePlan) -> None:
    view = the_plan.view("spending")
    write(store, emitted(the_plan, (0, 1, 0)))
    left_ms = client.pttl(redis_key(the_plan, view, "c1"))
    assert 0 <= time_to_live_ms(view, the_plan.source.max_future_ms, GRACE_MS) - left_ms < 10_000  # type: ignore[operator]


def test_a_vector_with_a_lifetime_window_never_expires(client: redis.Redis, project: Project) -> None:
    stage = project.plan.stages[0]
    lifetime = stage.views[0].features[0].model_copy(update={"window_ms": LIFETIME_MS})
    view = stage.views[0].model_copy(update={"features": (lifetime, *stage.views[0].features[1:])})
    forever = project.plan.model_copy(update={"stages": (stage.model_copy(update={"views": (view,)}),)})
    store = RedisStore(replace(project, plan=forever), client, GRACE_MS)
    store.open()
    write(store, EmittedVector(view, "e", 0, spending()))
    assert client.pttl(redis_key(forever, view, "c1")) == -1


def test_a_foreign_value_under_a_key_is_replaced(
    store: RedisStore, reader: FeatureReader, client: redis.Redis, the_plan: PipelinePlan
) -> None:
    client.rpush(redis_key(the_plan, the_plan.view("spending"), "c1"), "a list")
    client.set(redis_key(the_plan, the_plan.view("spending"), "c2"), "short")
    write(store, emitted(the_plan, (0, 1, 0)), emitted(the_plan, (0, 1, 0), "c2"))
    assert order_of(reader) == order_of(reader, "c2") == (0, 1, 0)


def test_a_full_redis_is_an_outage_and_no_loss(store: RedisStore, client: redis.Redis, the_plan: PipelinePlan) -> None:
    limit = client.config_get("maxmemory")["maxmemory"]  # type: ignore[index]
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            write(store, emitted(the_plan, (0, 1, 0)))
    finally:
        client.config_set("maxmemory", limit)


@pytest.mark.parametrize("policy", ["volatile-lru", "allkeys-lfu"])
def test_a_redis_that_evicts_keys_when_it_is_full_is_refused(
    new_store: Callable[[], RedisStore], client: redis.Redis, policy: str
) -> None:
    client.config_set("maxmemory-policy", policy)
    try:
        with pytest.raises(PenstockError, match=f"maxmemory-policy {policy}") as refused:
            new_store().open()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert not isinstance(refused.value, StoreUnavailable)
    assert "CONFIG SET maxmemory-policy noeviction" in str(refused.value)
    new_store().open()


def test_a_user_who_may_not_ask_whether_redis_evicts_is_warned(
    project: Project, settings: Settings, client: redis.Redis, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.acl_setuser(f"u{suffix}", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info", "-config"])
    own = connect_redis(settings.redis.model_copy(update={"username": f"u{suffix}", "password": SecretStr("x")}))
    try:
        RedisStore(project, own, GRACE_MS).open()
    finally:
        client.acl_deluser(f"u{suffix}")
    assert "not checked whether Redis" in caplog.text


# --- the reader


def test_many_vectors_are_read_in_the_requested_order(
    store: RedisStore, reader: FeatureReader, client: redis.Redis, the_plan: PipelinePlan
) -> None:
    shop = EmittedVector(the_plan.view("trade"), "e", 0, trade("s1"))
    write(store, emitted(the_plan, (0, 1, 0)), shop)
    client.set(redis_key(the_plan, the_plan.view("spending"), "garbage"), b"\x07" * 50)
    wanted = [("trade", "s1"), ("spending", "nobody"), ("spending", "c1"), ("spending", "garbage")]
    vectors = reader.get_many(wanted, T0 + 600_000)
    assert [(v.view, v.entity, v.state) for v in vectors] == [
        ("trade@3", "s1", VectorState.EXPIRED),
        ("spending@1", "nobody", VectorState.MISSING),
        ("spending@1", "c1", VectorState.STALE),
        ("spending@1", "garbage", VectorState.MISSING),
    ]


# --- the sink


def test_records_are_stored_and_then_committed(
    pipeline: Pipeline, settings: Settings, new_store: Callable[[], RedisStore], reader: FeatureReader
) -> None:
    for partition in range(2):
        values = [
            encoded_features(pipeline.name, features(n, spending=spending(f"c{n % 10}-{partition}", n)))
            for n in range(100)
        ]
        produce(settings.kafka.access, pipeline.features_topic, values, partition)
    with running(new_store(), pipeline.name, settings.kafka.access):
        for partition in range(2):
            for card in range(10):
                eventually(lambda c=card, p=partition: order_of(reader, f"c{c}-{p}") == (0, 90 + c, 0))  # type: ignore[misc]
        eventually(
            lambda: committed(settings.kafka.access, pipeline.name, "redis", pipeline.features_topic) == [100] * 2
        )


def test_nothing_is_committed_while_redis_is_down_and_nothing_is_lost(
    pipeline: Pipeline, settings: Settings, stack: Stack, new_store: Callable[[], RedisStore], reader: FeatureReader
) -> None:
    def send(numbers: range) -> None:
        values = [encoded_features(pipeline.name, features(n, spending=spending(f"c{n}"))) for n in numbers]
        produce(settings.kafka.access, pipeline.features_topic, values)

    def offset() -> int | None:
        return committed(settings.kafka.access, pipeline.name, "redis", pipeline.features_topic)[0]

    with running(new_store(), pipeline.name, settings.kafka.access):
        send(range(50))
        eventually(lambda: offset() == 50)
        stack.stop("redis")
        try:
            send(range(50, 3_000))
            eventually(lambda: metric("penstock_sink_paused", pipeline.name, "redis") == 1)
            eventually(lambda: metric("penstock_sink_store_errors_total", pipeline.name, "redis") >= 4)
            assert offset() == 50
        finally:
            stack.start("redis")
        eventually(lambda: offset() == 3_000)
        assert metric("penstock_sink_paused", pipeline.name, "redis") == 0
    states = {v.state for v in reader.get_many([("spending", f"c{n}") for n in range(3_000)], T0)}
    assert states == {VectorState.PRESENT}


def test_redis_killed_under_load_ends_up_with_everything(
    pipeline: Pipeline, settings: Settings, stack: Stack, new_store: Callable[[], RedisStore], reader: FeatureReader
) -> None:
    values = [encoded_features(pipeline.name, features(n, spending=spending(f"c{n}"))) for n in range(40_000)]
    produce(settings.kafka.access, pipeline.features_topic, values)
    with running(new_store(), pipeline.name, settings.kafka.access):
        eventually(lambda: order_of(reader, "c100") == (0, 1, 0))
        os.kill(stack.pid("redis"), signal.SIGKILL)
        eventually(
            lambda: committed(settings.kafka.access, pipeline.name, "redis", pipeline.features_topic)[0] == 40_000
        )

    def all_are_there() -> bool:
        wanted = [("spending", f"c{n}") for n in range(40_000)]
        with suppress(redis.ConnectionError):  # it may still read its log
            return {vector.state for vector in reader.get_many(wanted, T0)} == {VectorState.PRESENT}
        return False

    eventually(all_are_there)


@pytest.mark.parametrize("value", [None, b"", b"not avro", b"\xc3\x01" + b"\x00" * 8 + b"unknown schema"])
def test_a_record_that_cannot_be_decoded_becomes_a_dead_letter_and_the_rest_is_stored(
    pipeline: Pipeline,
    settings: Settings,
    new_store: Callable[[], RedisStore],
    reader: FeatureReader,
    value: bytes | None,
) -> None:
    good = encoded_features(pipeline.name, features(spending=spending()))
    produce(settings.kafka.access, pipeline.features_topic, [value, good], partition=1)
    with running(new_store(), pipeline.name, settings.kafka.access):
        eventually(lambda: order_of(reader) == (0, 1, 0))
        eventually(lambda: committed(settings.kafka.access, pipeline.name, "redis", pipeline.features_topic)[1] == 2)
    (message,) = consume_all(settings.kafka.access, f"{pipeline.features_topic}.dlq", 1, partition=1)
    letter = DeadLetter.read(message.key(), message.value(), message.headers())
    assert (letter.topic, letter.partition, letter.offset) == (pipeline.features_topic, 1, 0)
    assert (letter.key, letter.value or b"", list(letter.original_headers)) == (b"k", value or b"", [("h", b"1")])
    assert letter.component == "penstock.sink.redis"


def test_reading_everything_again_changes_nothing(
    pipeline: Pipeline,
    settings: Settings,
    new_store: Callable[[], RedisStore],
    client: redis.Redis,
    the_plan: PipelinePlan,
) -> None:
    def done() -> bool:
        return committed(settings.kafka.access, pipeline.name, "redis", pipeline.features_topic)[0] == 20

    key = redis_key(the_plan, the_plan.view("spending"), "c1")
    values = [encoded_features(pipeline.name, features(n, spending=spending("c1", n))) for n in range(20)]
    produce(settings.kafka.access, pipeline.features_topic, values)
    with running(new_store(), pipeline.name, settings.kafka.access):
        eventually(done)
        with pytest.raises(PenstockError, match="offsets could not be set"):
            rewind(settings.kafka.access, group_id(pipeline.name, "redis"), [pipeline.features_topic])
        assert done(), "a refused rewind changed the offsets"
    first = client.get(key)
    group = group_id(pipeline.name, "redis")
    assert rewind(settings.kafka.access, group, [pipeline.features_topic]) == {pipeline.features_topic: 20}
    assert not done()
    with running(new_store(), pipeline.name, settings.kafka.access):
        eventually(done)
    assert client.get(key) == first


def test_a_store_that_lost_its_data_is_filled_again_by_a_rewind(
    pipeline: Pipeline,
    settings: Settings,
    new_store: Callable[[], RedisStore],
    client: redis.Redis,
    the_plan: PipelinePlan,
    reader: FeatureReader,
) -> None:
    produce(
        settings.kafka.access,
        pipeline.features_topic,
        [encoded_features(pipeline.name, features(spending=spending()))],
    )
    with running(new_store(), pipeline.name, settings.kafka.access):
        eventually(lambda: order_of(reader) == (0, 1, 0))
    client.delete(redis_key(the_plan, the_plan.view("spending"), "c1"))
    rewind(settings.kafka.access, group_id(pipeline.name, "redis"), [pipeline.features_topic])
    with running(new_store(), pipeline.name, settings.kafka.access):
        eventually(lambda: order_of(reader) == (0, 1, 0))


def test_a_member_that_joins_and_one_that_leaves_lose_nothing(
    pipeline: Pipeline, settings: Settings, new_store: Callable[[], RedisStore], reader: FeatureReader
) -> None:
    def send(batch: int) -> None:
        for partition in range(2):
            values = [
                encoded_features(pipeline.name, features(n, spending=spending(f"{batch}-{partition}-{n}")))
                for n in range(500)
            ]
            produce(settings.kafka.access, pipeline.features_topic, values, partition)

    send(0)
    with running(new_store(), pipeline.name, settings.kafka.access):
        with running(new_store(), pipeline.name, settings.kafka.access):
            send(1)
            eventually(
                lambda: committed(settings.kafka.access, pipeline.name, "redis", pipeline.features_topic) == [1_000] * 2
            )
            send(2)
        send(3)
        eventually(
            lambda: committed(settings.kafka.access, pipeline.name, "redis", pipeline.features_topic) == [2_000] * 2
        )
    wanted = [("spending", f"{b}-{p}-{n}") for b in range(4) for p in range(2) for n in range(500)]
    assert {v.state for v in reader.get_many(wanted, T0)} == {VectorState.PRESENT}


# --- a server that loses acknowledged data


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Stack]:
    """A Redis for this test alone."""
    stack = Stack(tmp_path / "redis", Ports.free())
    try:
        stack.up(["redis"])
        yield stack
    finally:
        stack.down()


def flush(stack: Stack) -> None:
    """Redis loses all keys, but not its scripts."""
    with redis.Redis.from_url(stack.environment()["PENSTOCK_REDIS_URL"]) as client:
        client.flushall()


def kill(stack: Stack) -> None:
    """Redis is killed, and its supervisor starts it again."""
    os.kill(stack.pid("redis"), signal.SIGKILL)


def lose_what_was_not_on_disk(stack: Stack) -> None:
    """Redis restarts with the first half of its log, as after a power cut."""
    stack.stop("redis")
    (log,) = (stack.home / "redis" / "appendonlydir").glob("*.incr.aof")
    os.truncate(log, log.stat().st_size // 2)
    stack.start("redis")


@pytest.mark.parametrize("fault", [flush, kill, lose_what_was_not_on_disk])
def test_whatever_redis_loses_under_load_is_written_again(
    pipeline: Pipeline, settings: Settings, own_redis: Stack, project: Project, fault: Callable[[Stack], None]
) -> None:
    def load() -> None:
        for batch in range(10):
            for partition in range(2):
                values = [
                    encoded_features(pipeline.name, features(n, spending=spending(f"c{n % 300}-{partition}", batch)))
                    for n in range(300)
                ]
                produce(settings.kafka.access, pipeline.features_topic, values, partition)
            time.sleep(0.05)

    own = settings.redis.model_copy(update={"url": own_redis.environment()["PENSTOCK_REDIS_URL"]})
    with (
        running(RedisStore(project, connect_redis(own), GRACE_MS), pipeline.name, settings.kafka.access),
        connect_redis(own) as client,
    ):
        reader = FeatureReader(project.plan, client)
        producer = threading.Thread(target=load)
        producer.start()
        eventually(lambda: order_of(reader, "c299-1")[1] == 4)
        fault(own_redis)
        producer.join()
        wanted = [("spending", f"c{n}-{partition}") for partition in range(2) for n in range(300)]
        eventually(lambda: {vector.seq for vector in reader.get_many(wanted, T0)} == {9})
    if fault is not kill:
        assert metric("penstock_sink_store_losses_total", pipeline.name, "redis") > 0


def test_a_redis_that_is_flushed_while_nothing_is_written_is_filled_again(
    pipeline: Pipeline, settings: Settings, own_redis: Stack, project: Project
) -> None:
    def offsets() -> list[int | None]:
        return committed(settings.kafka.access, pipeline.name, "redis", pipeline.features_topic)

    own = settings.redis.model_copy(update={"url": own_redis.environment()["PENSTOCK_REDIS_URL"]})
    produce(
        settings.kafka.access, pipeline.features_topic, [encoded_features(pipeline.name, features(spending=spending()))]
    )
    with (
        running(RedisStore(project, connect_redis(own), GRACE_MS), pipeline.name, settings.kafka.access),
        connect_redis(own) as client,
    ):
        reader = FeatureReader(project.plan, client)
        eventually(lambda: offsets()[0] == 1)
        flush(own_redis)
        assert order_of(reader) == (None, None, None)
        eventually(lambda: order_of(reader) == (0, 1, 0))
    flush(own_redis)  # and while no sink runs
    with (
        running(RedisStore(project, connect_redis(own), GRACE_MS), pipeline.name, settings.kafka.access),
        connect_redis(own) as client,
    ):
        eventually(lambda: order_of(FeatureReader(project.plan, client)) == (0, 1, 0))


# --- the command line


@pytest.fixture
def pipeline_file(tmp_path: Path, suffix: str) -> Path:
    file = tmp_path / f"payments_{suffix}.py"
    file.write_text(f"from tests.sinks.payments import payments\npipeline = payments('pay_{suffix}')\n")
    return file


def penstock(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(cli, arguments)


def test_a_killed_sink_continues_where_it_was_and_stops_cleanly_on_sigterm(
    pipeline: Pipeline, settings: Settings, pipeline_file: Path, reader: FeatureReader
) -> None:
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "penstock", "sink", "run", "redis", str(pipeline_file)])

    values = [encoded_features(pipeline.name, features(n, spending=spending(f"c{n}"))) for n in range(40_000)]
    produce(settings.kafka.access, pipeline.features_topic, values)
    process = start()
    try:
        eventually(lambda: order_of(reader, "c100") == (0, 1, 0))
        process.kill()
        process.wait(10)
        process = start()
        eventually(lambda: order_of(reader, "c39999") == (0, 1, 0))
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)
    assert {v.state for v in reader.get_many([("spending", f"c{n}") for n in range(40_000)], T0)} == {
        VectorState.PRESENT
    }
    assert committed(settings.kafka.access, pipeline.name, "redis", pipeline.features_topic)[0] == 40_000


def test_a_sink_without_its_topics_says_how_to_create_them(
    stack_environment: dict[str, str], pipeline_file: Path
) -> None:
    done = penstock("sink", "run", "redis", str(pipeline_file))
    assert isinstance(done.exception, PenstockError)
    assert "do not exist" in str(done.exception)
    assert f"penstock topics create {pipeline_file}" in str(done.exception)


def test_get_shows_a_vector_by_the_hash_of_a_personal_entity(
    store: RedisStore, the_plan: PipelinePlan, pipeline_file: Path, stack_environment: dict[str, str]
) -> None:
    hashed = pii_hash(b"k" * 32, "4242")
    write(store, emitted(the_plan, (0, 7, 0), hashed))
    wanted = ("features", "get", str(pipeline_file), "spending")
    at = ("--at", str(T0 + 60_000))
    by_value = penstock(*wanted, "4242", "--hash", *at, PENSTOCK_PII_KEY="k" * 32)
    by_hash = penstock(*wanted, hashed, *at)
    assert by_value.output == by_hash.output
    assert by_hash.exit_code == 0, by_hash.exception
    for word in ("spending@1", hashed, "STALE", "seq 7", "shop_last_1h", "12.5", '["s1", ""]'):
        assert word in by_hash.output
    missing = penstock(*wanted, "4242", *at)
    assert (missing.exit_code, "MISSING" in missing.output) == (1, True)


def test_describe_shows_every_feature_of_every_view(stack_environment: dict[str, str], pipeline_file: Path) -> None:
    everything = penstock("features", "describe", str(pipeline_file), COLUMNS="160").output
    for word in (
        "spending@1",
        "amount_mean_1h",
        "mean(amount)",
        "last_k(shop, k=2)",
        "histogram(amount, buckets=[10, 100])",
        "string[]",
        "count_1m / count_1h",
        "trade@3",
        "approx_distinct(card)",
        "10m",
        "_trade_v3",
    ):
        assert word in everything
    assert "spending@1" not in penstock("features", "describe", str(pipeline_file), "trade").output
    unknown = penstock("features", "describe", str(pipeline_file), "nope")
    assert "it has spending, trade" in str(unknown.exception)


# --- readers


def test_a_reader_outlives_its_connection(settings: Settings, client: redis.Redis) -> None:
    """A server may close idle connections, or be restarted."""
    with OnlineFeatures("fraud", settings) as online:
        assert online.get("terminal_risk", "nobody").state is VectorState.MISSING
        client.client_kill_filter(_type="normal", skipme=True)
        assert online.get("terminal_risk", "nobody").state is VectorState.MISSING


def test_a_forked_reader_has_a_connection_of_its_own(settings: Settings) -> None:
    with OnlineFeatures("fraud", settings) as online:

        def connection() -> int:
            online.get("terminal_risk", "nobody")
            return online._reader.client.client_id()

        of_parent = connection()
        child = os.fork()
        if not child:
            os._exit(int(connection() == of_parent))
        assert os.waitpid(child, 0)[1] == 0
        assert connection() == of_parent
