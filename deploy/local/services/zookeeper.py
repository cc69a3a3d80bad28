"""ZooKeeper, in which Flink stores which JobManager leads and where each job's newest checkpoint is.

Flink's distribution holds this server, in the version that Flink's client was built for.
"""

from __future__ import annotations

import re
import socket

from deploy.local.services.flink import LOG4J, flink_home
from deploy.local.services.service import HOST, Layout, Program, Service, StopPhase, java, write

_MAIN = "org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.server.ZooKeeperServerMain"


def zoo_cfg(layout: Layout) -> str:
    """The server's configuration."""
    settings = {
        "dataDir": str(layout.data("zookeeper") / "data"),
        "clientPortAddress": HOST,
        "clientPort": str(layout.ports["zookeeper"]),
        # Sessions may last 2 to 20 ticks; the JobManager asks for a timeout within that.
        "tickTime": "1000",
        # Nothing uses the HTTP administration.
        "admin.enableServer": "false",
        "4lw.commands.whitelist": "srvr",
        "autopurge.purgeInterval": "1",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def prepare(layout: Layout) -> None:
    """Writes the configuration."""
    write(layout.data("zookeeper") / "zoo.cfg", zoo_cfg(layout))
    write(layout.data("zookeeper") / "log4j.properties", LOG4J)


def command(layout: Layout) -> list[str]:
    """The server as one JVM."""
    lib, data = flink_home() / "lib", layout.data("zookeeper")
    jars = [*sorted(lib.glob("flink-dist-*.jar")), *sorted(lib.glob("log4j-*.jar"))]
    command = [java(), "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command += [f"-Dlog4j.configurationFile={data / 'log4j.properties'}"]
    return [*command, "-cp", ":".join(map(str, jars)), _MAIN, str(data / "zoo.cfg")]


def _ready(layout: Layout) -> str:
    with socket.create_connection((HOST, layout.ports["zookeeper"]), timeout=2) as connection:
        connection.sendall(b"srvr")
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    version = re.match(r"Zookeeper version: ([\d.]+)", answer)
    if version is None:
        raise ConnectionError(answer.strip() or "no answer")
    return version[1]


ZOOKEEPER = Service(
    name="zookeeper",
    ports={"zookeeper": 12181},
    programs=(Program("zookeeper", command, _ready, StopPhase.LOGS),),
    prepare=prepare,
)
