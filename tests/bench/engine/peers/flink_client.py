"""Connects a Flink peer to the cluster. Runs in the environment of jobs."""

from __future__ import annotations

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.util.java_utils import add_jars_to_context_class_loader, to_jarray

from tests.bench.engine.peers.peer_settings import PeerSettings

COLUMNS = "event_id STRING, event_time BIGINT, card STRING, merchant STRING, terminal STRING, amount DOUBLE"


def environment(peer: PeerSettings, **settings: str) -> StreamExecutionEnvironment:
    """An environment that submits to the cluster, configured as Penstock's jobs are; ``a_b`` means setting ``a.b``."""
    add_jars_to_context_class_loader(list(peer.jars))
    configuration = Configuration()
    common = {
        "pipeline.jars": ";".join(peer.jars),
        "pipeline.name": peer.name,
        "pipeline.object-reuse": "true",
        "parallelism.default": "1",
        "execution.attached": "false",
        "state.backend.type": "hashmap",
        "execution.checkpointing.interval": "2 s",
        "execution.checkpointing.min-pause": "2 s",
        "execution.buffer-timeout.interval": "1 ms",
        "restart-strategy.type": "none",
    }
    for name, value in (common | settings).items():
        configuration.set_string(name, value)
    jvm = get_gateway().jvm
    remote = jvm.org.apache.flink.streaming.api.environment.StreamExecutionEnvironment.createRemoteEnvironment
    host, port = peer.flink
    return StreamExecutionEnvironment(remote(host, port, configuration._j_configuration, to_jarray(jvm.String, [])))


def source_table(peer: PeerSettings, more: str = "") -> str:
    """DDL of the payments, decoded by Flink's own JSON format."""
    return f"""CREATE TABLE payments ({COLUMNS}{more}) WITH (
        'connector' = 'kafka', 'topic' = '{peer.source}', 'properties.bootstrap.servers' = '{peer.bootstrap}',
        'properties.group.id' = '{peer.name}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json')"""
