"""What signals ask of `penstock run`, what it refuses, and what becomes of what was given up."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from penstock.commands.running import run as run_module
from penstock.commands.running.run import _detach, _Display, _requests, run
from penstock.errors import PenstockError
from penstock.running.record import PartRecord, RunFolder, RunRecord
from penstock.running.session import Requests
from tests.penstock.running.test_record import record_of

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("signals", "stop", "kill"),
    [
        ((), False, False),
        ((signal.SIGINT,), True, False),
        ((signal.SIGTERM, signal.SIGTERM), True, False),
        ((signal.SIGHUP, signal.SIGHUP), True, False),
        ((signal.SIGTERM, signal.SIGINT), True, True),
        ((signal.SIGINT, signal.SIGINT, signal.SIGTERM), True, True),
    ],
)
def test_only_a_second_ctrl_c_kills(signals: tuple[signal.Signals, ...], stop: bool, kill: bool) -> None:
    requests = _requests()
    for number in signals:
        signal.raise_signal(number)
    assert (requests.stop, requests.kill, requests.retry) == (stop, kill, False)


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    requests = _requests()
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGUSR1)
    assert (requests.stop, requests.retry) == (False, True)


def test_a_screen_that_cannot_be_drawn_is_said_once_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(run_module, "console_on", lambda **_: Console(file=out, force_terminal=True, width=200))
    monkeypatch.setattr(run_module, "_SHOW_EVERY_S", 0.0)

    def fail(*_: object) -> None:
        raise ValueError("no such colour")

    monkeypatch.setattr(run_module, "panel", fail)
    project: Any = SimpleNamespace(name="ads")
    supervisor: Any = SimpleNamespace(records=lambda: (), has_ended=False)
    watch: Any = SimpleNamespace(latest=None)
    display = _Display(project, [], Requests())
    with display:
        for _ in range(3):
            display.show(supervisor, watch)
    assert out.getvalue().count("the screen cannot be drawn: ValueError: no such colour") == 1


def test_without_the_key_of_personal_data_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PENSTOCK_PII_KEY", "PENSTOCK_PII_KEY_FILE"):
        monkeypatch.delenv(variable, raising=False)
    touched: list[str] = []
    for name in ("_detach", "_run"):
        monkeypatch.setattr(run_module, name, lambda *_, name=name: touched.append(name))
    for options in ([], ["--detach"]):
        refused = CliRunner().invoke(run, ["fraud", *options])
        assert isinstance(refused.exception, PenstockError)
        assert "no key to hash it with is set" in refused.exception.what
    assert touched == []
    CliRunner().invoke(run, ["fraud", "--detach", "--without", "features"], catch_exceptions=False)
    assert touched == ["_detach"]


SCORER = PartRecord(name="scorer", state="given up", since_ms=1, reason="no key is set", next="set the key")


@pytest.fixture
def other() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts what stands for a supervisor, with settings."""
    started = []

    def start(**settings: str) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        started.append(subprocess.Popen(["sleep", "60"], env=environment | settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


class Signalled:
    """Signals that a run was sent; by the first, its part becomes another one."""

    def __init__(self, folder: RunFolder, record: RunRecord, becomes: PartRecord = SCORER) -> None:
        self.sent: list[str] = []
        self._folder, self._becomes = folder, becomes
        folder.write(record)

    def send(self, record: RunRecord, number: signal.Signals) -> bool:
        self.sent.append(number.name)
        self._folder.write(record.model_copy(update={"parts": (self._becomes,)}))
        return True


def test_a_run_with_other_settings_is_not_told_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Callable[..., subprocess.Popen[bytes]]
) -> None:
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PENSTOCK_PII_KEY", "secret-now")
    record = record_of(other(PENSTOCK_REDIS_URL="secret-then", PENSTOCK_RUN="x").pid, parts=(SCORER,))
    folder = RunFolder(tmp_path)
    signalled = Signalled(folder, record)
    monkeypatch.setattr(run_module, "send", signalled.send)
    with pytest.raises(PenstockError, match="has the settings it was started with") as refused:
        _detach("my ads", ["--without", "drift"], folder)
    error = refused.value
    assert "PENSTOCK_PII_KEY, PENSTOCK_REDIS_URL" in error.what
    assert "secret" not in str(vars(error))
    assert error.next == "penstock stop 'my ads', then penstock run 'my ads' --without drift --detach"
    assert signalled.sent == []


@pytest.mark.parametrize(
    ("becomes", "expected"),
    [
        (PartRecord(name="scorer", state="running", since_ms=2, port=1, ready=True), None),
        (SCORER.model_copy(update={"since_ms": 2}), "given up: scorer; scorer: no key is set"),
        (
            PartRecord(name="scorer", state="pausing", since_ms=2, reason="Kafka", next="wait"),
            "pausing: Kafka; next: w",
        ),
        (PartRecord(name="scorer", state="running", since_ms=2, port=1), "running, but takes no records yet"),
        (PartRecord(name="scorer", state="running", since_ms=2, port=1, reason="Kafka"), "yet; it had ended: Kafka"),
        (SCORER, "given up: no key is set; next: set the key"),  # of before the signal
    ],
)
def test_what_was_given_up_is_tried_again_and_the_outcome_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    other: Callable[..., subprocess.Popen[bytes]],
    becomes: PartRecord,
    expected: str | None,
) -> None:
    monkeypatch.setattr(run_module, "_READY_S", 0.3)
    monkeypatch.setattr(run_module, "changed_settings", lambda _: [])
    folder = RunFolder(tmp_path)
    signalled = Signalled(folder, record_of(other().pid, parts=(SCORER,)), becomes)
    monkeypatch.setattr(run_module, "send", signalled.send)
    if expected is None:
        _detach("ads", [], folder)
        assert "scorer          running" in capsys.readouterr().out
    else:
        with pytest.raises(PenstockError) as failed:
            _detach("ads", [], folder)
        assert expected in failed.value.what
        assert "ads" in (failed.value.next or "")
    assert signalled.sent == ["SIGUSR1"]
