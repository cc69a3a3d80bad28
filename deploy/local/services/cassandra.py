"""Cassandra 5.0: one node, started as a plain JVM process."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Mapping
from pathlib import Path

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
from penstock.paths import JARS

# JDK internals that Cassandra 5 needs on Java 17, as in its own jvm17-server.options.
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


def cassandra_yaml(layout: Layout, *, direct_io: bool = False) -> str:
    """The node's configuration; ``direct_io``: whether its file system can write past the page cache."""
    data, storage_port = layout.data("cassandra"), layout.ports["cassandra_storage"]
    return f"""cluster_name: penstock
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: ["{data}/data"]
commitlog_directory: "{data}/commitlog"
saved_caches_directory: "{data}/saved"
hints_directory: "{data}/hints"
cdc_raw_directory: "{data}/cdc"
# There is no replica: a write is acknowledged when it is on disk. Direct I/O needs no call to sync.
commitlog_sync: batch
commitlog_disk_access_mode: {"direct" if direct_io else "legacy"}
commitlog_total_space: 512MiB
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "{HOST}:{storage_port}"}}]
listen_address: {HOST}
rpc_address: {HOST}
storage_port: {storage_port}
native_transport_port: {layout.ports["cassandra"]}
endpoint_snitch: SimpleSnitch
# No snapshot of a table that is dropped: the topics can restore it.
auto_snapshot: false
# Cassandra shares two cores with everything else: longer timeouts than the defaults.
read_request_timeout: 10000ms
range_request_timeout: 20000ms
write_request_timeout: 10000ms
truncate_request_timeout: 60000ms
"""


def _takes_direct_io(folder: Path) -> bool:
    """Whether files of the folder can be written past the page cache; some file systems in memory refuse."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / "direct-io"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


def prepare(layout: Layout) -> None:
    """Writes the configuration."""
    data = layout.data("cassandra")
    write(data / "cassandra.yaml", cassandra_yaml(layout, direct_io=_takes_direct_io(data)))
    write(data / "logback.xml", _LOGBACK)


def command(layout: Layout) -> list[str]:
    """The node as one JVM."""
    data = layout.data("cassandra")
    # Nobody waits for the history; on a machine that is full, events and their scores go before it.
    command = ["nice", "-n", "5", java(), "-Xms512m", "-Xmx1g", "-XX:+UseG1GC", *compiler_options(layout)]
    command += [argument for name in _EXPORTS for argument in ("--add-exports", f"{name}=ALL-UNNAMED")]
    command += [argument for name in _OPENS for argument in ("--add-opens", f"{name}=ALL-UNNAMED")]
    return [
        *command,
        f"-Dcassandra.config={(data / 'cassandra.yaml').as_uri()}",
        f"-Dlogback.configurationFile={data}/logback.xml",
        f"-Dcassandra.storagedir={data}",
        "-Dcassandra-foreground=yes",
        # A ring of one node has no others to wait for.
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.ring_delay_ms=1",
        "-cp",
        jars(JARS / "cassandra", "Cassandra"),
        "org.apache.cassandra.service.CassandraDaemon",
    ]


def _ready(layout: Layout) -> str:
    port = layout.ports["cassandra"]
    # Checks the port first, because the driver's failing connection attempts are slow and fill the log.
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


def _client_environment(layout: Layout) -> Mapping[str, str]:
    return {
        "PENSTOCK_CASSANDRA_CONTACT_POINTS": HOST,
        "PENSTOCK_CASSANDRA_PORT": str(layout.ports["cassandra"]),
    }


CASSANDRA = Service(
    name="cassandra",
    ports={"cassandra": 19042, "cassandra_storage": 17000},
    programs=(Program("cassandra", command, _ready, StopPhase.STORES),),
    prepare=prepare,
    address=lambda ports: f"Cassandra :{ports['cassandra']}",
    client_environment=_client_environment,
    versions={"cassandra": lambda: jar_version("cassandra", r"cassandra-all-(.+)\.jar")},
)
