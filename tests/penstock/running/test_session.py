"""Ports that are taken, a disk that is full, and how a run ended."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.running import session
from penstock.running.parts import Part
from penstock.running.record import PartRecord, RunFolder
from penstock.running.session import _RecordWriter, choose_ports, require_stopped_in_order
from tests.penstock.running.test_record import record_of

PARTS = [Part("drift", ("drift",), 0), Part("quality", ("quality",), 0), Part("job", ("job",), 1, has_metrics=False)]


def test_a_taken_port_is_named_with_who_has_it_and_another_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(session, "SERVICE_PORTS", {"drift": port})
        ports = choose_ports(PARTS, said.append)
    assert ports.keys() == {"drift", "quality"}, "a part without a usual port gets a free one"
    assert ports["drift"] not in (port, 0)
    (line,) = said
    assert f"port {port} is taken by pid {os.getpid()}" in line
    assert f"drift serves its metrics on {ports['drift']}" in line


def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    folder = RunFolder(tmp_path)
    writer = _RecordWriter(folder, record_of(os.getpid()), said.append)
    monkeypatch.setattr(RunFolder, "write", lambda *_: (_ for _ in ()).throw(OSError("No space left")))
    for number in range(3):
        writer.write((PartRecord(name="scorer", state="running", since_ms=number),), frozenset())
    assert said == ["the state of the run cannot be written: No space left; everything runs on"]
    monkeypatch.undo()
    writer.write((PartRecord(name="scorer", state="stopped", since_ms=9),), frozenset({"scorer"}))
    record = folder.read()
    assert record is not None
    assert [(part.state, part.ready) for part in record.parts] == [("stopped", True)]


@pytest.mark.parametrize(
    ("killed", "failures", "expected"),
    [(True, [], "were killed"), (False, ["features: the savepoint failed"], "the savepoint failed")],
)
def test_a_run_that_did_not_stop_in_order_names_the_commands_for_its_job(
    killed: bool, failures: list[str], expected: str
) -> None:
    supervisor: Any = SimpleNamespace(was_killed=killed, failures=failures)
    with pytest.raises(PenstockError, match=expected) as ended:
        require_stopped_in_order(supervisor, "ads")
    assert "penstock job stop ads" in (ended.value.next or "")
