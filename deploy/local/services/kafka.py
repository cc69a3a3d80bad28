"""Kafka 4.1 in KRaft mode: one node that is broker and controller."""

from __future__ import annotations

import base64
import socket
import subprocess
import uuid
from collections.abc import Sequence

from confluent_kafka.admin import AdminClient

from deploy.local.services.service import (
    HOST,
    Layout,
    Program,
    Service,
    StopPhase,
    compiler_options,
    jar_version,
    jars,
    java,
    write,
)
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.paths import JARS


def server_properties(layout: Layout) -> str:
    """The broker's configuration."""
    broker, controller = layout.ports["kafka"], layout.ports["kafka_controller"]
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{broker}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(layout.data("kafka") / "data"),
        "num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "8",
        # A killed producer holds back readers until the broker aborts its transaction: look every second.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "group.initial.rebalance.delay.ms": "0",
        # Tests set session timeouts below the default minimum of six seconds.
        "group.min.session.timeout.ms": "1000",
        # A mistyped name must fail, not create a topic.
        "auto.create.topics.enable": "false",
        # Replayed events carry the record timestamps of years ago; retention by time would delete them at once,
        # and event time that runs faster than the clock would be refused an hour ahead.
        "log.retention.ms": "-1",
        "log.message.timestamp.after.max.ms": str(2**63 - 1),
        "log.segment.bytes": str(128 * 2**20),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def prepare(layout: Layout) -> None:
    """Writes the configuration and formats the storage once."""
    prepare_with(layout, server_properties(layout))


def prepare_with(layout: Layout, properties: str, users: Sequence[str] = ()) -> None:
    """As :func:`prepare`, with another configuration.

    Args:
        layout: The stack's.
        properties: The broker's configuration.
        users: SCRAM users to create with the storage, as ``kafka-storage.sh --add-scram`` takes them.
    """
    config = layout.data("kafka") / "server.properties"
    write(config, properties)
    data = layout.data("kafka") / "data"
    if (data / "meta.properties").exists():
        return
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    format_storage = [java(), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *_logging(), "-cp"]
    format_storage += [jars(JARS / "kafka", "Kafka"), "kafka.tools.StorageTool", "format"]
    format_storage += ["--ignore-formatted", "-t", f"p{cluster_id[1:]}", "-c", str(config)]
    format_storage += [argument for user in users for argument in ("--add-scram", user)]
    result = subprocess.run(format_storage, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise PenstockError(f"Kafka's storage could not be formatted: {result.stderr.strip()[-500:]}", where=str(data))


def command(layout: Layout) -> list[str]:
    """The broker as one JVM."""
    command = [java(), "-Xms256m", "-Xmx768m", "-XX:+UseG1GC", *compiler_options(layout), *_logging()]
    command += ["-cp", jars(JARS / "kafka", "Kafka")]
    return [*command, "kafka.Kafka", str(layout.data("kafka") / "server.properties")]


def _logging() -> list[str]:
    prefix = "-Dorg.slf4j.simpleLogger"
    return [f"{prefix}.defaultLogLevel=info", f"{prefix}.showDateTime=true", f"{prefix}.dateTimeFormat=HH:mm:ss.SSS"]


def _ready(layout: Layout) -> str:
    port = layout.ports["kafka"]
    # Checks the port first, because librdkafka retries in the background, and a closed port fails at once.
    socket.create_connection((HOST, port), timeout=1).close()
    admin = AdminClient(
        {
            "bootstrap.servers": f"{HOST}:{port}",
            "log_level": 0,
            "socket.connection.setup.timeout.ms": 1000,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
        }
    )
    topics = admin.list_topics(timeout=2).topics
    return counted(sum(not name.startswith("__") for name in topics), "topic")


KAFKA = Service(
    name="kafka",
    ports={"kafka": 19092, "kafka_controller": 19093},
    programs=(Program("kafka", command, _ready, StopPhase.LOGS),),
    prepare=prepare,
    address=lambda ports: f"Kafka {HOST}:{ports['kafka']}",
    client_environment=lambda layout: {"PENSTOCK_KAFKA_BOOTSTRAP": f"{HOST}:{layout.ports['kafka']}"},
    versions={"kafka": lambda: jar_version("kafka", r"kafka_2\.13-(.+)\.jar")},
)
