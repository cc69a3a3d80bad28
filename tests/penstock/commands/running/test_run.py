"""What signals ask of `penstock run`."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from penstock.commands.running.run import _requests

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
