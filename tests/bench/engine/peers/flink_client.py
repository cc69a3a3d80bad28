"""How a Flink peer gets to the cluster. Runs in the environment of jobs."""

from __future__ import annotations

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.util.java_utils import add_jars_to_context_class_loader, to_jarray

from tests.bench.engine.peers.given import Given

COLUMNS = "event_id STRING, event_time BIGINT, card STRING, merchant STRING, terminal STRING, amount DOUBLE"


def environment(told: Given, **settings: str) -> StreamExecutionEnvironment:
    """An environment that submits to the cluster, configured as Penstock's jobs are; ``a_b`` means setting ``a.b``."""
    add_jars_to_context_class_loader(list(told.jars))
    configuration = Configuration()
    common = {
        "pipeline.jars": ";".join(told.jars),
        "pipeline.name": told.name,
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
    host, port = told.flink
    return StreamExecutionEnvironment(remote(host, port, configuration._j_configuration, to_jarray(jvm.String, [])))


def source_table(told: Given, more: str = "") -> str:
    """DDL of the payments, decoded by Flink's own JSON format."""
    return f"""CREATE TABLE payments ({COLUMNS}{more}) WITH (
        'connector' = 'kafka', 'topic' = '{told.source}', 'properties.bootstrap.servers' = '{told.bootstrap}',
        'properties.group.id' = '{told.name}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json')"""
