"""Cassandra 5.0: one node, started as the plain JVM process that it is."""

from __future__ import annotations

import socket
import warnings

from deploy.local.services.base import HOST, Layout, Program, Service, jars, java, write
from penstock.paths import JARS

# What Cassandra 5 reaches into on Java 17: the list of its own jvm17-server.options.
_EXPORTS = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
]
_OPENS = [
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.lang",
]

_LOGBACK = """<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{36} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="STDOUT"/></root>
</configuration>
"""


def cassandra_yaml(layout: Layout) -> str:
    """The node's configuration."""
    data, ports = layout.data("cassandra"), layout.ports
    return f"""cluster_name: penstock
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: ["{data}/data"]
commitlog_directory: "{data}/commitlog"
saved_caches_directory: "{data}/saved"
hints_directory: "{data}/hints"
cdc_raw_directory: "{data}/cdc"
# One node has no replicas to remember for it: a write is acknowledged when it is on disk.
commitlog_sync: batch
commitlog_total_space: 512MiB
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "{HOST}:{ports.cassandra_storage}"}}]
listen_address: {HOST}
rpc_address: {HOST}
storage_port: {ports.cassandra_storage}
native_transport_port: {ports.cassandra}
endpoint_snitch: SimpleSnitch
# Dropping a table must not leave a snapshot behind: there is nothing here that the topics could not restore.
auto_snapshot: false
# Two cores are shared with everything else: patience instead of spurious timeouts.
read_request_timeout: 10000ms
range_request_timeout: 20000ms
write_request_timeout: 10000ms
truncate_request_timeout: 60000ms
"""


def prepare(layout: Layout) -> None:
    """Writes the configuration."""
    data = layout.data("cassandra")
    write(data / "cassandra.yaml", cassandra_yaml(layout))
    write(data / "logback.xml", _LOGBACK)


def programs(layout: Layout) -> list[Program]:
    """The node."""
    data = layout.data("cassandra")
    command = [java(), "-Xms512m", "-Xmx1g", "-XX:+UseG1GC"]
    command += [part for name in _EXPORTS for part in ("--add-exports", f"{name}=ALL-UNNAMED")]
    command += [part for name in _OPENS for part in ("--add-opens", f"{name}=ALL-UNNAMED")]
    command += [
        f"-Dcassandra.config={(data / 'cassandra.yaml').as_uri()}",
        f"-Dlogback.configurationFile={data}/logback.xml",
        f"-Dcassandra.storagedir={data}",
        "-Dcassandra-foreground=yes",
        # A ring of one has nobody to wait for.
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.ring_delay_ms=1",
        "-cp",
        jars(JARS / "cassandra", "Cassandra"),
        "org.apache.cassandra.service.CassandraDaemon",
    ]
    return [Program("cassandra", command, ready=lambda: _ready(layout.ports.cassandra), stop_wait_s=30)]


def _ready(port: int) -> str:
    # The driver's connection attempts are slow to fail and loud; a closed port answers at once.
    socket.create_connection((HOST, port), timeout=1).close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cassandra.cluster import Cluster  # noqa: PLC0415 - half a second to import, only needed here

        cluster = Cluster([HOST], port=port, connect_timeout=3, protocol_version=5)
        try:
            row = cluster.connect().execute("SELECT release_version FROM system.local").one()
        finally:
            cluster.shutdown()
    return str(row.release_version)


def environment(layout: Layout) -> dict[str, str]:
    """Where clients find it."""
    return {
        "PENSTOCK_CASSANDRA_CONTACT_POINTS": HOST,
        "PENSTOCK_CASSANDRA_PORT": str(layout.ports.cassandra),
    }


CASSANDRA = Service(
    "cassandra",
    "Cassandra",
    ("cassandra", "cassandra_storage"),
    prepare,
    programs,
    {"cassandra": 1},
    environment,
)
