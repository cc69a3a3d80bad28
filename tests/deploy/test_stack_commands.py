"""`penstock up | status`: what they print about the stack, without starting one."""

from __future__ import annotations

import os
import shlex
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.local.ports import Ports
from deploy.local.services import PROGRAMS, Layout
from deploy.local.stack import Stack, select_services
from deploy.local.supervision import ProcessState
from penstock.commands.stack import status, up
from penstock.errors import PenstockError
from penstock.paths import DEFAULT_HOME


@pytest.fixture(autouse=True)
def starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "up", lambda *_, **__: None)
    monkeypatch.setattr(Stack, "_saved", lambda _: None)
    for name in ("PENSTOCK_HOME", "PENSTOCK_PORTS"):
        monkeypatch.delenv(name, raising=False)


def test_taken_ports_are_a_list_with_their_holders_and_how_to_choose_others(tmp_path: Path) -> None:
    stack = Stack(tmp_path, Ports.free())
    with socket.create_server(("127.0.0.1", stack.ports["kafka"])), pytest.raises(PenstockError) as taken:
        stack._refuse_taken_ports(select_services(["kafka"]))
    first, *ports = taken.value.what.splitlines()
    assert first == "ports that the stack needs are taken:"
    assert [line.split()[:5] for line in ports] == [
        ["kafka", str(stack.ports["kafka"]), "held", "by", "pid"],
    ]
    assert (taken.value.next or "").startswith(f"penstock up --home {tmp_path} --free-ports, or with --port NAME=PORT")


def _printed_by_up(*arguments: str) -> str:
    result = CliRunner().invoke(up, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_up_prints_the_address_of_every_server() -> None:
    assert _printed_by_up().splitlines() == [
        "Kafka 127.0.0.1:19092  Cassandra :19042  Redis :16379  Triton :18001 (gRPC)  Flink http://127.0.0.1:18081"
    ]


def test_up_in_another_folder_prints_the_export_that_other_commands_need(tmp_path: Path) -> None:
    home = tmp_path / "a b"
    assert _printed_by_up("--home", str(home)).endswith(f"export PENSTOCK_HOME={shlex.quote(str(home))}\n")


def test_up_on_other_ports_prints_the_export_for_the_default_folder_too() -> None:
    assert _printed_by_up("--port", "kafka=29092").endswith(f"export PENSTOCK_HOME={shlex.quote(str(DEFAULT_HOME))}\n")


def test_up_prints_no_export_where_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_HOME", "stack")
    assert "export" not in _printed_by_up("--port", "kafka=29092")


def test_up_prints_the_export_where_it_names_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "other"))
    assert _printed_by_up("--home", str(DEFAULT_HOME)).endswith(
        f"export PENSTOCK_HOME={shlex.quote(str(DEFAULT_HOME))}\n"
    )


def test_free_ports_of_a_stack_that_runs_are_those_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Layout(tmp_path, Ports.free(), "id")
    monkeypatch.setattr(Stack, "_saved", lambda _: saved)
    monkeypatch.setattr(Stack, "running", True)
    started: list[Ports] = []
    monkeypatch.setattr(Stack, "up", lambda stack, *_, **__: started.append(stack.ports))
    _printed_by_up("--home", str(tmp_path), "--free-ports")
    monkeypatch.setattr(Stack, "running", False)
    _printed_by_up("--home", str(tmp_path), "--free-ports")
    first, second = started
    assert first == saved.ports != second


@pytest.mark.parametrize(
    ("state", "next_step"),
    [
        (
            "RUNNING",
            "the same command with --timeout 0.2, which leaves what runs as it is; or look why: penstock logs ",
        ),
        ("FATAL", "penstock logs "),
    ],
)
def test_a_program_that_is_slow_is_given_more_time_and_one_that_ended_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, next_step: str
) -> None:
    stack = Stack(tmp_path, Ports())
    monkeypatch.setattr(stack._supervision, "states", lambda: {"redis": ProcessState("redis", state, 1, 0.0, "")})

    def answer(_: Layout) -> str:
        raise ConnectionError("not yet")

    program = replace(PROGRAMS["redis"], ready=answer)
    with pytest.raises(PenstockError, match="redis did not become ready") as slow:
        stack._wait(program, 0.1, threading.Event())
    assert (slow.value.next or "").startswith(next_step)


def test_a_shell_reads_the_environment_that_status_prints(tmp_path: Path) -> None:
    home = tmp_path / "a b"
    printed = CliRunner().invoke(status, ["--home", str(home), "--env"]).output
    read = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
    assert {name: shlex.split(value) for name, value in read.items()} == {
        name: [value] for name, value in Stack(home, Ports()).environment().items()
    }
    assert os.fspath(home) == shlex.split(read["PENSTOCK_HOME"])[0]
