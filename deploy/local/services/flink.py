"""Flink 2.2: a JobManager and a TaskManager from the distribution inside the PyFlink wheel.

Two processes, not the in-process mini-cluster: tests kill a TaskManager while a job runs.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import httpx

from deploy.local.services.service import (
    HOST,
    Layout,
    Program,
    Service,
    StopPhase,
    compiler_options,
    jar_version,
    java,
    wheel_version,
    write,
)
from penstock.errors import PenstockError
from penstock.paths import JARS, KERNEL_JAR, SETUP_COMMAND, code_folder, site_packages, venv_python

TASK_SLOTS = 8
_REPORTER = "org.apache.flink.metrics.prometheus.AddressedPrometheusReporter"
_REPORTER_PORT = "metrics.reporter.prom.port"

LOG4J = """rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
logger.pekko.name = org.apache.pekko
logger.pekko.level = WARN
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
logger.shaded_zookeeper.name = org.apache.flink.shaded.zookeeper3
logger.shaded_zookeeper.level = WARN
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1} - %m%n
"""


def conf_dir(layout: Layout) -> Path:
    """FLINK_CONF_DIR of this stack, read by the servers and by clients that submit jobs."""
    return layout.data("flink") / "conf"


def flink_home() -> Path:
    """FLINK_HOME: the PyFlink package, which holds a full distribution.

    Raises:
        PenstockError: the environment is not there.
    """
    folder = _installed()
    if folder is None:
        raise PenstockError("the environment of Flink is missing", next=SETUP_COMMAND)
    return folder


def flink_settings(layout: Layout) -> dict[str, str]:
    """The cluster's configuration, beside the JVM options that the distribution brings."""
    data, ports = layout.data("flink"), layout.ports
    python = str(venv_python("jobs"))
    return {
        "jobmanager.rpc.address": HOST,
        "jobmanager.bind-host": HOST,
        "jobmanager.rpc.port": str(ports["flink_rpc"]),
        "blob.server.port": str(ports["flink_blob"]),
        "rest.address": HOST,
        "rest.bind-address": HOST,
        "rest.port": str(ports["flink_rest"]),
        "taskmanager.host": HOST,
        "taskmanager.bind-host": HOST,
        "taskmanager.numberOfTaskSlots": str(TASK_SLOTS),
        "jobmanager.memory.process.size": "1024m",
        "taskmanager.memory.process.size": "2048m",
        # State is a large, constantly changing old generation. On two cores, G1 spends more CPU on tracking the changes
        # than the job itself.
        "env.java.opts.taskmanager": "-XX:+UseParallelGC",
        **({"env.java.opts.jobmanager": " ".join(options)} if (options := compiler_options(layout)) else {}),
        "taskmanager.memory.jvm-metaspace.size": "320m",
        # State lives on the heap; managed memory would only serve RocksDB and Python workers.
        "taskmanager.memory.managed.fraction": "0.1",
        "taskmanager.memory.network.max": "192m",
        "parallelism.default": "1",
        "execution.buffer-timeout.interval": "1 ms",
        "state.backend.type": "hashmap",
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.dir": (data / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": (data / "savepoints").as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": "3",
        # A JobManager that was killed recovers its jobs, their jars and their newest checkpoints.
        "high-availability.type": "zookeeper",
        "high-availability.zookeeper.quorum": f"{HOST}:{ports['zookeeper']}",
        "high-availability.jobmanager.port": str(ports["flink_rpc"]),
        "high-availability.storageDir": (data / "ha").as_uri(),
        # A new JobManager leads once the session of the killed one has expired.
        "high-availability.zookeeper.client.session-timeout": "8000",
        "high-availability.zookeeper.client.connection-timeout": "5000",
        "high-availability.zookeeper.client.retry-wait": "1000",
        # Without it, every restart of ZooKeeper would restart all jobs. An expired session still does.
        "high-availability.zookeeper.client.tolerate-suspended-connections": "true",
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": "1000",
        "restart-strategy.fixed-delay.delay": "1 s",
        # A killed TaskManager refuses connections: two failed heartbeats, a second apart, detect it.
        "heartbeat.interval": "1000",
        "heartbeat.timeout": "20000",
        "heartbeat.rpc-failure-threshold": "2",
        "python.executable": python,
        "python.client.executable": python,
        # A Python stage would add the default, one second, to the latency of every event.
        "python.fn-execution.bundle.time": "10",
        # Flink's own reporter listens on every interface; the one in the kernel's jar listens on one address. Both
        # processes read this file: each gets its port as an argument.
        "metrics.reporters": "prom",
        "metrics.reporter.prom.factory.class": f"{_REPORTER}$Factory",
        "metrics.reporter.prom.host": HOST,
        # Keep dots and dashes in label values.
        "metrics.reporter.prom.filterLabelValueCharacters": "false",
        "classloader.check-leaked-classloader": "false",
        "io.tmp.dirs": str(data / "tmp"),
        "web.tmpdir": str(data / "tmp"),
    }


def prepare(layout: Layout) -> None:
    """Writes FLINK_CONF_DIR."""
    source, data = flink_home() / "conf", layout.data("flink")
    shutil.copytree(source, conf_dir(layout), dirs_exist_ok=True)
    settings = {"env.java.opts.all": _default_java_options(source / "config.yaml"), **flink_settings(layout)}
    # Flat keys are valid YAML, and need no nesting.
    write(conf_dir(layout) / "config.yaml", "".join(f'{name}: "{value}"\n' for name, value in settings.items()))
    write(conf_dir(layout) / "log4j-console.properties", LOG4J)
    # Clients that submit jobs print their own messages.
    write(conf_dir(layout) / "log4j-cli.properties", LOG4J.replace("level = INFO", "level = WARN"))
    for name in ("tmp", "checkpoints", "savepoints", "pid", "log", "lib"):
        (data / name).mkdir(parents=True, exist_ok=True)
    # It holds the jobs as submitted, the key of personal data among them.
    (data / "ha").mkdir(mode=0o700, parents=True, exist_ok=True)
    # Python columns: their native library loads once per JVM, so its jar must not come with each job.
    for jar in (*(flink_home() / "lib").glob("*.jar"), *(flink_home() / "opt").glob("flink-python-*.jar")):
        link = data / "lib" / jar.name
        link.unlink(missing_ok=True)
        link.symlink_to(jar)
    _prepare_reporter(data / "plugins" / "metrics-prometheus")


def jobmanager(layout: Layout) -> list[str]:
    """The command of the JobManager."""
    return _command("jobmanager", layout.ports["jobmanager_metrics"])


def taskmanager(layout: Layout) -> list[str]:
    """The command of the TaskManager, which joins the JobManager."""
    return _command("taskmanager", layout.ports["taskmanager_metrics"])


def environment(layout: Layout) -> Mapping[str, str]:
    """The environment variables for Flink's start scripts."""
    home, data = flink_home(), layout.data("flink")
    return {
        "FLINK_HOME": str(home),
        "FLINK_LIB_DIR": str(data / "lib"),
        "FLINK_PLUGINS_DIR": str(data / "plugins"),
        "FLINK_CONF_DIR": str(conf_dir(layout)),
        "FLINK_LOG_DIR": str(data / "log"),
        "FLINK_PID_DIR": str(data / "pid"),
        "FLINK_IDENT_STRING": f"penstock-{layout.id}",
        "JAVA_HOME": str(Path(java()).parents[1]),
        "PATH": f"{venv_python('jobs').parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        # Python workers import the pipelines from here.
        "PYTHONPATH": str(code_folder()),
    }


def _command(program: str, metrics_port: int) -> list[str]:
    script = flink_home() / "bin" / f"{program}.sh"
    return [str(script), "start-foreground", "-D", f"{_REPORTER_PORT}={metrics_port}"]


def _prepare_reporter(plugin: Path) -> None:
    """Creates the plugin folder of Flink's Prometheus reporter, with the kernel's reporter class in it."""
    if not KERNEL_JAR.exists():
        raise PenstockError("the kernel is missing", where=str(KERNEL_JAR), next=SETUP_COMMAND)
    plugin.mkdir(parents=True, exist_ok=True)
    # Copied, because a rebuilt kernel must not change under a running cluster.
    for jar in (*(flink_home() / "plugins" / plugin.name).glob("*.jar"), KERNEL_JAR):
        shutil.copyfile(jar, plugin / jar.name)


def _version(layout: Layout) -> str:
    return str(_overview(layout)["flink-version"])


def _slots(layout: Layout) -> str:
    overview = _overview(layout)
    if not overview["slots-total"]:
        raise ConnectionError("no TaskManager has joined yet")
    return f"{overview['slots-available']}/{overview['slots-total']} slots free"


def _overview(layout: Layout) -> dict[str, int]:
    url = f"http://{HOST}:{layout.ports['flink_rest']}/overview"
    overview: dict[str, int] = httpx.get(url, timeout=2, trust_env=False).raise_for_status().json()
    return overview


def _installed() -> Path | None:
    folder = site_packages("jobs")
    return folder / "pyflink" if folder is not None and (folder / "pyflink" / "bin").exists() else None


def _default_java_options(config: Path) -> str:
    """The --add-opens of the distribution: without them jobs fail with InaccessibleObjectException."""
    found = re.search(r"^\s+all:\s*(--add.*)$", config.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise PenstockError("Flink's default JVM options were not found", where=str(config))
    return found.group(1).strip()


def _client_environment(layout: Layout) -> Mapping[str, str]:
    home = _installed()
    return {
        "PENSTOCK_FLINK_REST": f"http://{HOST}:{layout.ports['flink_rest']}",
        "PENSTOCK_FLINK_CONF_DIR": str(conf_dir(layout)),
        "PENSTOCK_FLINK_STATE": str(layout.data("flink")),
        **({"PENSTOCK_FLINK_HOME": str(home)} if home else {}),
        "PENSTOCK_JARS": str(JARS),
    }


FLINK = Service(
    name="flink",
    ports={
        "flink_rest": 18081,
        "flink_rpc": 18082,
        "flink_blob": 18083,
        "jobmanager_metrics": 18084,
        "taskmanager_metrics": 18085,
    },
    programs=(
        Program("jobmanager", jobmanager, _version, StopPhase.STORES, environment, after=("zookeeper",)),
        Program("taskmanager", taskmanager, _slots, StopPhase.WRITERS, environment, after=("jobmanager",)),
    ),
    prepare=prepare,
    address=lambda ports: f"Flink http://{HOST}:{ports['flink_rest']}",
    client_environment=_client_environment,
    metrics=("jobmanager_metrics", "taskmanager_metrics"),
    versions={
        "flink-connector-kafka": lambda: jar_version("flink", r"flink-sql-connector-kafka-(.+)\.jar"),
        "apache-flink": lambda: wheel_version("apache_flink", "jobs"),
    },
)
