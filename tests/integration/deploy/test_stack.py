"""Stacks start, recover from killed programs, and stop without leaving processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis
from cassandra.cluster import Cluster
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient

from deploy.local.ports import Ports
from deploy.local.services import PROGRAMS
from deploy.local.stack import Stack
from penstock.commands.stack import down, status, up
from penstock.errors import PenstockError
from penstock.settings import Settings


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "stack", Ports.free())
    yield stack
    stack.down()


def _processes(stack: Stack) -> int:
    return len(stack._supervision._members())


def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


def test_up_is_idempotent_and_down_leaves_no_process(small: Stack) -> None:
    small.up(["redis"])
    pid = small.pid("redis")
    small.up(["redis"])
    assert small.pid("redis") == pid
    assert small.down() == 1
    assert _processes(small) == 0
    assert small.down() == 0


def test_data_survives_down_and_up_on_the_same_ports(small: Stack) -> None:
    small.up(["redis"])
    with redis.Redis.from_url(small.environment()["PENSTOCK_REDIS_URL"]) as client:
        client.set("entity", "vector")
    small.down()
    again = Stack(small.home)
    assert again.ports == small.ports
    again.up(["redis"])
    with redis.Redis.from_url(again.environment()["PENSTOCK_REDIS_URL"]) as client:
        assert client.get("entity") == b"vector"


def test_a_killed_program_is_started_again(small: Stack) -> None:
    small.up(["redis"])
    pid = small.pid("redis")
    os.kill(pid, signal.SIGKILL)
    _until(lambda: {row.name: row for row in small.status()}["redis"].healthy)
    assert small.pid("redis") != pid


def test_a_program_can_be_stopped_and_started_alone(small: Stack) -> None:
    small.up(["redis", "kafka"])
    kafka = small.pid("kafka")
    small.stop("redis")
    with pytest.raises(PenstockError, match="redis is not running"):
        small.pid("redis")
    small.start("redis")
    assert small.pid("redis")
    assert small.pid("kafka") == kafka


@pytest.mark.parametrize("command", ["up", "down"])
def test_processes_left_by_a_killed_process_manager_are_ended(small: Stack, command: str) -> None:
    small.up(["redis"])
    orphan = small.pid("redis")
    recorded = small._supervision._recorded()
    assert recorded is not None
    os.kill(recorded.pid, signal.SIGKILL)
    _until(lambda: not recorded.alive)
    assert _processes(small) == 1
    assert not small.running
    if command == "up":
        small.up(["redis"])
        assert small.pid("redis") != orphan
        small.down()
    else:
        assert small.down() == 1
    assert _processes(small) == 0


def test_a_taken_port_is_reported_with_its_name_and_owner_before_anything_starts(small: Stack) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", small.ports["redis"]))
        holder.listen(1)
        with pytest.raises(PenstockError) as error:
            small.up(["kafka", "redis"])
    words = ["redis", str(small.ports["redis"]), "held", "by", "pid", str(os.getpid())]
    assert any(line.split()[:6] == words for line in error.value.what.splitlines())
    assert "nothing was started" in str(error.value)
    assert "penstock up" in str(error.value)
    assert _processes(small) == 0


def test_two_stacks_run_side_by_side(small: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path / "other", Ports.free())
    try:
        small.up(["redis"])
        other.up(["redis"])
        other.down()
        assert small.pid("redis")
    finally:
        other.down()


def test_a_long_folder_name_with_a_space_and_a_percent_sign_works(tmp_path: Path) -> None:
    stack = Stack(tmp_path / ("a b%c" + "x" * 80), Ports.free())
    try:
        stack.up(["redis", "kafka"])
        assert stack.pid("kafka")
    finally:
        stack.down()


def test_the_commands_report_and_exit_as_scripts_expect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_HOME", raising=False)
    home, runner = ["--home", str(tmp_path / "stack")], CliRunner()
    try:
        started = runner.invoke(up, [*home, "--free-ports", "--only", "redis"])
        assert started.exit_code == 0, started.output
        assert "redis" in started.output
        name, _, folder = started.output.splitlines()[-1].partition("export ")[2].partition("=")
        monkeypatch.setenv(name, folder)
        with redis.Redis.from_url(Settings().redis.url) as client:
            assert client.ping()
        shown = runner.invoke(status, home)
        assert shown.exit_code == 0, shown.output
        assert "running" in shown.output
    finally:
        stopped = runner.invoke(down, home)
    assert "stopped 1 process" in stopped.output
    assert runner.invoke(status, home).exit_code == 3


def test_every_program_of_the_shared_stack_is_healthy(stack: Stack) -> None:
    assert {row.name: row.detail for row in stack.status() if not row.healthy} == {}


def test_stores_that_are_killed_together_restart_with_their_data(
    stack: Stack, suffix: str, create_topic: Callable[..., str]
) -> None:
    names = ("kafka", "cassandra", "redis", "triton")
    topic = create_topic(f"kept.{suffix}", partitions=3)
    with Cluster(["127.0.0.1"], port=stack.ports["cassandra"]) as cluster:
        options = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        cluster.connect().execute(f"CREATE KEYSPACE kept_{suffix} WITH replication = {options}")
    for name in names:
        os.kill(stack.pid(name), signal.SIGKILL)
    _until(lambda: all(row.healthy for row in stack.status() if row.name in names), 90)
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{stack.ports['kafka']}"})
    assert len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 3
    with Cluster(["127.0.0.1"], port=stack.ports["cassandra"]) as cluster:
        cluster.connect().execute(f"DROP KEYSPACE kept_{suffix}")


def test_a_killed_task_manager_is_replaced_by_one_with_as_many_slots(stack: Stack) -> None:
    def registered() -> list[dict[str, object]]:
        managers: list[dict[str, object]] = httpx.get(f"{rest}/taskmanagers", timeout=5).json()["taskmanagers"]
        return managers

    rest = stack.environment()["PENSTOCK_FLINK_REST"]
    before = registered()[0]["id"]
    os.kill(stack.pid("taskmanager"), signal.SIGKILL)
    _until(lambda: [manager["slotsNumber"] for manager in registered() if manager["id"] != before] == [8], 60)


def test_a_task_manager_can_be_stopped_while_it_starts(stack: Stack) -> None:
    stack.stop("taskmanager")
    stack._supervision.start_program(PROGRAMS["taskmanager"])
    started = time.monotonic()
    stack.stop("taskmanager")
    assert time.monotonic() - started < 20
    stack.start("taskmanager")
