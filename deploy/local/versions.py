"""Which versions of the servers the local stack runs, read from what set-up installed."""

from __future__ import annotations

import re
import subprocess

from penstock.paths import JARS, site_packages

_SERVERS = {
    "kafka": ("kafka", r"kafka_2\.13-(.+)\.jar"),
    "cassandra": ("cassandra", r"cassandra-all-(.+)\.jar"),
    "flink-connector-kafka": ("flink", r"flink-sql-connector-kafka-(.+)\.jar"),
}
_WHEELS = {"apache-flink": ("jobs", "apache_flink"), "nvidia-pytriton": ("triton", "nvidia_pytriton")}


def server_versions() -> dict[str, str]:
    """Name and version of every server and of the wheel that brings it; one that is not installed is left out."""
    found = {}
    for name, (folder, pattern) in _SERVERS.items():
        for jar in (JARS / folder).glob("*.jar"):
            if match := re.fullmatch(pattern, jar.name):
                found[name] = match[1]
    for name, (environment, package) in _WHEELS.items():
        packages = site_packages(environment)
        for info in packages.glob(f"{package}-*.dist-info") if packages else ():
            found[name] = info.name.removeprefix(f"{package}-").removesuffix(".dist-info")
    for name, command, pattern in (
        ("redis-server", ["redis-server", "--version"], r"v=(\S+)"),
        ("java", ["java", "-version"], r'version "(\S+)"'),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if match := re.search(pattern, done.stdout + done.stderr):
            found[name] = match[1]
    return found
