"""Telemetry: health depends on progress; metrics and health are served on the given port."""

from __future__ import annotations

import logging
import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from penstock.errors import PenstockError
from penstock.telemetry import Health, ProgressTracker, configure_logging, serve


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> ProgressTracker:
    started = ProgressTracker(clock, stall_s=10, start_s=30)
    started.started()
    return started


def test_a_service_that_does_not_start_is_unhealthy_after_its_start_time(clock: Clock) -> None:
    progress = ProgressTracker(clock, stall_s=10, start_s=30)
    clock.now += 30
    assert progress.health().ok
    clock.now += 1
    assert progress.health() == Health(False, "not started after 31 s")


def test_an_idle_service_stays_healthy(clock: Clock, progress: ProgressTracker) -> None:
    progress.behind(0)
    clock.now += 1e6
    assert progress.health() == Health(True, "caught up")


def test_a_service_with_lag_and_progress_is_healthy(clock: Clock, progress: ProgressTracker) -> None:
    for _ in range(100):
        progress.behind(1_000_000)
        clock.now += 9
        progress.consumed()
        assert progress.health().ok


def test_a_service_with_lag_and_no_progress_is_unhealthy_and_says_since_when(
    clock: Clock, progress: ProgressTracker
) -> None:
    progress.behind(5)
    clock.now += 10
    assert progress.health().ok
    progress.behind(7)
    clock.now += 1
    assert progress.health() == Health(False, "7 records behind, the last progress 11 s ago")


def test_the_first_record_after_an_idle_time_has_the_full_time(clock: Clock, progress: ProgressTracker) -> None:
    progress.behind(0)
    clock.now += 1_000
    progress.behind(1)
    clock.now += 9
    assert progress.health().ok


def test_a_service_with_unknown_lag_is_healthy(clock: Clock, progress: ProgressTracker) -> None:
    progress.behind(5)
    progress.behind(None)
    clock.now += 1_000
    assert progress.health().ok
    progress.behind(5)
    assert progress.health().ok
    clock.now += 11
    assert not progress.health().ok


def test_metrics_are_served_in_prometheus_format() -> None:
    registry = CollectorRegistry()
    Counter("penstock_things", "Things", ["pipeline"], registry=registry).labels("fraud").inc(3)
    with serve(0, "127.0.0.1", lambda: Health(True, "well"), registry) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert [(s.labels, s.value) for s in families["penstock_things"].samples if s.name == "penstock_things_total"] == [
        ({"pipeline": "fraud"}, 3.0)
    ]


@pytest.mark.parametrize(("ok", "status"), [(True, 200), (False, 503)])
def test_health_is_served_with_its_reason(ok: bool, status: int) -> None:
    with serve(0, "127.0.0.1", lambda: Health(ok, "because"), CollectorRegistry()) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
    assert (answer.status_code, answer.text) == (status, "because\n")


def test_nothing_else_is_served() -> None:
    with serve(0, "127.0.0.1", lambda: Health(True, ""), CollectorRegistry()) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 404


def test_the_error_for_a_port_in_use_names_the_port_and_the_next_step() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(PenstockError, match="metrics cannot be served") as caught,
            serve(port, "127.0.0.1", lambda: Health(True, ""), CollectorRegistry()),
        ):
            pass
    assert caught.value.where == f"127.0.0.1:{port}"
    assert caught.value.next is not None


def test_the_port_is_free_again_afterwards() -> None:
    with serve(0, "127.0.0.1", lambda: Health(True, ""), CollectorRegistry()) as port:
        pass
    with serve(port, "127.0.0.1", lambda: Health(True, ""), CollectorRegistry()) as again:
        assert again == port


def test_without_a_port_nothing_is_served() -> None:
    with serve(None, "127.0.0.1", lambda: Health(True, ""), CollectorRegistry()) as port:
        assert port is None


def test_logs_go_to_stderr_with_a_level_for_each_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, library = logging.getLogger(), logging.getLogger("chatty")
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(library, "level", library.level)
    configure_logging(chatty=logging.CRITICAL)
    logging.getLogger("service").info("ready")
    logging.getLogger("service").debug("details")
    library.error("lost connection")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(" INFO service: ready")
