"""A pipeline on encrypted servers: each component has only the rights that it needs, and no secret leaks."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from aiokafka.admin import AIOKafkaAdminClient
from cassandra import Unauthorized
from cassandra.cluster import NoHostAvailable
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from rich.console import Console

from backfill.dead_letters.raw import PUT_BACK
from backfill.dead_letters.reading import find_letters
from backfill.dead_letters.service import replay_lanes
from deploy.local.services.service import java
from deploy.local.stack import Stack
from deploy.security.kafka_acls import acls
from penstock.cassandra_client import connect_cassandra
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess, TokenLogin
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.paths import JARS
from penstock.redis_client import connect_redis
from penstock.settings import Settings
from schemas.producer import EventProducer
from scoring.servers.triton import TritonServer
from streams.definitions.pipeline import Pipeline
from streams.flink import lifecycle
from streams.flink.rest import Flink
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project, open_project
from tests.security import traces
from tests.security.certificates import Authority
from tests.security.payments import CARDS, DEFINITION, EVENTS, GARBAGE, HOLDER, START_MS, produce
from tests.security.provider import Provider
from tests.security.servers import KEYSPACE, PARTS, Servers, running
from tests.security.services import serve
from verify.verifier import verify

pytestmark = pytest.mark.timeout(600)

KEY = "hush-the key of personal data-hush"
TOKEN_SECRET = "hush-token-hush"


@dataclass
class Run:
    """The pipeline that ran, and the places of its logs and data."""

    project: Project
    servers: Servers
    flink: Settings
    logs: Path
    job: str = ""
    pages: list[str] = field(default_factory=list)

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline's definition."""
        return self.project.pipeline


@pytest.fixture(scope="module")
def run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of every component, each with a user of its own; the services still run."""
    home = tmp_path_factory.mktemp("secured")
    name = f"secured_{secrets.token_hex(3)}"
    file = home / f"{name}.py"
    file.write_text(DEFINITION.format(name=name), encoding="utf-8")
    project = open_project(str(file))
    pipeline = project.pipeline
    with ExitStack() as cleanup, pytest.MonkeyPatch.context() as patch:
        for variable, value in {**stack.environment(), "PENSTOCK_PII_KEY": KEY}.items():
            patch.setenv(variable, value)
        provider = cleanup.enter_context(Provider(TOKEN_SECRET))
        servers = cleanup.enter_context(running(home / "servers", pipeline, provider))
        started = Run(project, servers, servers.settings("features"), home / "logs")
        create_topics(pipeline_topics(pipeline), servers.settings("operator").kafka.access)
        produce(pipeline, servers.settings("upstream").kafka.access)
        started.job = lifecycle.start(project, started.flink, checkpoint_interval_ms=500).id
        cleanup.callback(_cancel, started)
        started.pages += serve(pipeline, file, servers, started.logs, cleanup)
        yield started


def _cancel(run: Run) -> None:
    with Flink(run.flink.flink.rest) as flink:
        flink.cancel(run.job)


def test_every_component_works_with_its_rights(run: Run) -> None:
    report = verify(run.project, run.servers.settings("reader"), None, seed=1)

    assert report.failures() == [], report.examples
    assert any("the user may not SCAN" in text for text in report.unchecked())
    assert (report.events_valid, report.events_invalid, report.predictions) == (EVENTS, GARBAGE, EVENTS)
    assert report.fallback_predictions < EVENTS
    assert report.redis_checked == len(CARDS)
    assert report.cassandra_rows > EVENTS
    assert any(True for _ in read_topic(run.servers.settings("reader").kafka.access, run.pipeline.drift_topic))


def test_kafka_grants_each_component_exactly_the_rights_of_the_acl_file(run: Run) -> None:
    topics = [topic.name for topic in pipeline_topics(run.pipeline)]
    granted: dict[tuple[str, str], set[str]] = {}
    for acl in acls(run.pipeline):
        for topic in topics if acl.resource == "topic" else ():
            if topic == acl.name or (acl.prefixed and topic.startswith(acl.name)):
                granted.setdefault((acl.user, topic), set()).add(acl.operation)
    # Operations that Kafka implies.
    for operations in granted.values():
        if operations & {"Read", "Write"}:
            operations.add("Describe")

    for part in PARTS:
        admin = AdminClient(run.servers.settings(part).kafka.access.client())
        answers = admin.describe_topics(TopicCollection(topics), include_authorized_operations=True)
        for topic, answer in answers.items():
            expected = granted.get((run.servers.user(part), topic), set())
            assert _operations(answer) == expected, f"{part} on {topic}"


def _operations(answer: Any) -> set[str]:
    """The operations that Kafka reports for a user; empty if the user may not even see the topic."""
    error = answer.exception(20)
    if error is not None:
        assert error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, error
        return set()
    allowed: list[AclOperation] = answer.result().authorized_operations
    return {"".join(word.capitalize() for word in operation.name.split("_")) for operation in allowed}


@pytest.mark.parametrize("part", ["features", "sink-redis", "scorer", "reader"])
def test_only_upstream_may_write_raw_events(part: str, run: Run) -> None:
    event = {"id": "x", "time": START_MS, "card": CARDS[0], "shop": "s", "amount": 1}
    with pytest.raises(PenstockError, match=r"(?i)authorization"):
        _send(run, part, event)


def _send(run: Run, part: str, event: dict[str, Any]) -> None:
    kafka = run.servers.settings(part).kafka.access
    with EventProducer(run.pipeline.source.contract, run.pipeline.source.topic, kafka=kafka) as producer:
        producer.send(event)


def test_a_producer_that_has_failed_for_good_says_why_each_time(run: Run) -> None:
    event = {"id": "x", "time": START_MS, "card": CARDS[0], "shop": "s", "amount": 1}
    kafka = run.servers.settings("reader").kafka.access
    producer = EventProducer(run.pipeline.source.contract, run.pipeline.source.topic, kafka=kafka)

    def send() -> None:
        producer.send(event)
        producer.flush()

    for _ in range(2):
        with pytest.raises(PenstockError, match=r"(?i)authorization"):
            send()


@pytest.mark.parametrize("part", ["upstream", "sink-redis", "scorer"])
def test_only_the_job_and_readers_may_read_raw_events(part: str, run: Run) -> None:
    with pytest.raises(PenstockError, match=r"(?i)authorization|cannot be read|stopped"):
        next(read_topic(run.servers.settings(part).kafka.access, run.pipeline.source.topic))


def test_a_wrong_password_or_an_untrusted_authority_gives_no_connection_to_kafka(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("hush-wrong", encoding="utf-8")
    (tmp_path / "wrong").chmod(0o600)
    stranger = Authority(tmp_path, "stranger")
    settings = run.servers.settings("operator").kafka
    for change in ({"password_file": tmp_path / "wrong"}, {"ca_file": stranger.file}):
        access = settings.model_copy(update=change).access
        with pytest.raises(KafkaException):
            AdminClient(access.client()).list_topics(timeout=2)


def test_redis_permits_the_sink_to_write_and_the_reader_to_read_and_refuses_all_others(run: Run) -> None:
    servers, own = run.servers, f"penstock:{run.pipeline.name}:x"
    with connect_redis(servers.settings("sink-redis").redis) as sink:
        for refused in (
            lambda: sink.mget([own]),
            lambda: sink.keys("*"),
            sink.flushall,
            lambda: sink.set("penstock:another:x", b"1"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                refused()
    with connect_redis(servers.settings("reader").redis) as reader:
        reader.mget([own])
        for refused in (lambda: reader.set(own, b"1"), lambda: reader.mget(["penstock:another:x"])):
            with pytest.raises(redis.exceptions.NoPermissionError):
                refused()
    with (
        connect_redis(servers.settings("scorer").redis) as nobody,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        nobody.ping()
    plain = servers.settings("scorer").redis.url.replace("rediss", "redis")
    with redis.Redis.from_url(plain, socket_timeout=3) as open_client, pytest.raises(redis.exceptions.ConnectionError):
        open_client.ping()


def test_cassandra_permits_the_sink_to_write_and_the_reader_to_read_and_refuses_all_others(
    run: Run, tmp_path: Path
) -> None:
    servers = run.servers
    table = f"{KEYSPACE}.of_another"
    with connect_cassandra(servers.settings("admin").cassandra) as cluster, cluster.connect() as admin:
        admin.execute(f"CREATE TABLE {table} (id int PRIMARY KEY)")
    with connect_cassandra(servers.settings("sink-cassandra").cassandra) as cluster, cluster.connect() as sink:
        forbidden = (
            f"SELECT * FROM {table}",
            f"DROP TABLE {table}",
            f"DROP KEYSPACE {KEYSPACE}",
            "CREATE ROLE intruder",
        )
        for statement in forbidden:
            with pytest.raises(Unauthorized):
                sink.execute(statement)
    with connect_cassandra(servers.settings("reader").cassandra) as cluster, cluster.connect() as reader:
        reader.execute(f"SELECT * FROM {table}")
        with pytest.raises(Unauthorized):
            reader.execute(f"TRUNCATE {table}")
    stranger = Authority(tmp_path, "stranger")
    strangers = servers.settings("reader").cassandra.model_copy(update={"ca_file": stranger.file})
    for settings in (servers.settings("scorer").cassandra, strangers):
        with connect_cassandra(settings) as cluster, pytest.raises(NoHostAvailable):
            cluster.connect()


def test_triton_accepts_only_tls_and_clients_verify_its_certificate(run: Run, tmp_path: Path) -> None:
    secured = run.servers.settings("scorer").triton
    assert TritonServer(secured.access).metadata(run.pipeline.model.name).version == 1
    plain = secured.model_copy(update={"tls": False})
    strange = secured.model_copy(update={"ca_file": Authority(tmp_path, "stranger").file})
    for settings in (plain, strange):
        with pytest.raises(PenstockError, match="Triton does not answer"):
            TritonServer(settings.access).metadata(run.pipeline.model.name)


@pytest.fixture(params=["password", "token"])
def access(request: pytest.FixtureRequest, run: Run) -> KafkaAccess:
    """The reader's access to Kafka, with each kind of login."""
    access = run.servers.settings("reader").kafka.access
    if request.param == "password":
        return access
    provider = run.servers.provider
    login = {"client_id": run.servers.user("reader"), "client_secret": TOKEN_SECRET, "scope": "kafka"}
    return access.model_copy(update={"login": TokenLogin(token_url=provider.token_url, **login)})


def test_librdkafka_connects_with_each_kind_of_login(access: KafkaAccess, run: Run) -> None:
    assert sum(1 for _ in read_topic(access, run.pipeline.predictions_topic)) == EVENTS


async def _topics(access: KafkaAccess) -> set[str]:
    arguments = credentials_to_aiokafka_auth(access.faust()["broker_credentials"])
    client = AIOKafkaAdminClient(bootstrap_servers=access.bootstrap, **arguments)
    try:
        await client.start()
        return set(await client.list_topics())
    finally:
        await client.close()


def test_faust_connects_with_each_kind_of_login(access: KafkaAccess, run: Run) -> None:
    assert run.pipeline.predictions_topic in asyncio.run(_topics(access))


_LIST = """
import java.util.Map;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.Admin;

class List {
  public static void main(String[] arguments) throws Exception {
    var type = new com.fasterxml.jackson.core.type.TypeReference<Map<String, Object>>() {};
    try (Admin admin = Admin.create(new com.fasterxml.jackson.databind.ObjectMapper().readValue(System.in, type))) {
      admin.listTopics().names().get().forEach(System.out::println);
    }
  }
}
"""


def test_the_client_of_flinks_connector_connects_with_each_kind_of_login(
    access: KafkaAccess, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "List.java").write_text(_LIST, encoding="utf-8")
    allowed = "org.apache.flink.kafka.shaded.org.apache.kafka.sasl.oauthbearer.allowed.urls"
    # In the cluster, Flink provides slf4j.
    path = f"{JARS / 'flink'}/*:{next((JARS / 'kafka').glob('slf4j-api*.jar'))}"
    command = [java(), f"-D{allowed}={run.servers.provider.token_url}", "-cp", path, str(tmp_path / "List.java")]
    done = subprocess.run(
        command, input=json.dumps(access.java()), capture_output=True, text=True, timeout=60, check=False
    )
    assert run.pipeline.predictions_topic in done.stdout.split(), done.stderr


def test_personal_data_is_only_in_raw_events_and_their_dead_letters(run: Run, stack: Stack) -> None:
    words, servers = [*CARDS, HOLDER], run.servers
    source = run.pipeline.source
    assert traces.in_topics(servers, words, verbatim=()) != [], "the search finds nothing where there is something"

    assert traces.in_topics(servers, words, verbatim=(source.topic, source.dead_letter_topic)) == []
    assert traces.in_redis(servers, words) == []
    assert traces.in_cassandra(servers, words) == []
    assert traces.in_files([run.logs, servers.layout.logs, stack.log("jobmanager").parent], words) == []
    assert traces.in_pages([*run.pages, *traces.pages_of_job(run.flink.flink.rest, run.job)], words) == []


def test_no_log_or_web_page_contains_a_secret(run: Run, stack: Stack) -> None:
    assert traces.in_files([run.logs, run.servers.layout.logs, stack.log("jobmanager").parent], ["hush-"]) == []
    assert traces.in_pages([*run.pages, *traces.pages_of_job(run.flink.flink.rest, run.job)], ["hush-"]) == []


def test_dead_letters_are_replayed_with_the_rights_of_replay(run: Run) -> None:
    settings = run.servers.settings("replay")
    lanes = find_letters(run.pipeline, settings.kafka.access).lanes
    waiting = {lane: summary.waiting for lane, summary in lanes.items()}
    replayed = replay_lanes(run.project, settings, waiting, "penstock dlq replay", Console(file=io.StringIO()))
    outcomes = sum((found for _, found in replayed), Counter())
    assert outcomes == {PUT_BACK: GARBAGE}
