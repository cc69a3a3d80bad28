"""What signals ask of `penstock run`."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from penstock.commands.running import run as run_module
from penstock.commands.running.run import _Display, _requests
from penstock.running.session import Requests

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
