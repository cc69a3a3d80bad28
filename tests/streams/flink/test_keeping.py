"""Keeping a job going, with a Flink of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Self

import pytest

from penstock.errors import PenstockError
from streams.flink import keeping
from streams.flink.rest import Job
from streams.flink.submission import Options

PROJECT: Any = SimpleNamespace(name="ads", reference="ads", pipeline=SimpleNamespace(source=SimpleNamespace(topic="t")))
SETTINGS: Any = SimpleNamespace(flink=SimpleNamespace(rest="http://flink"), kafka=SimpleNamespace(access=None))
JOB = Job("j1", "penstock-ads", "RUNNING", 1, 2, 2, checkpoint="s3://c/7")


class FakeFlink:
    """Stands for Flink and the functions that ask it; ``states`` are those that it tells, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stop = threading.Event()
        self.active: Job | None = None
        self.left: str | None = None
        self.ended: list[Job] = []
        self.committed: dict[int, int] = {}
        self.states: list[Job | PenstockError | None] = []
        self.started: list[dict[str, Any]] = []
        self.noted: list[Job | None] = []
        for name, value in {
            "Flink": lambda _url: self,
            "Lag": lambda _kafka: self,
            "lifecycle.active_job": lambda *_: self.active,
            "lifecycle.left_state": lambda *_: self.left,
            "lifecycle.options_of": lambda *_: Options(parallelism=3),
            "lifecycle.latest_options": lambda *_: Options(exactly_once=True),
            "lifecycle.note_progress": lambda *_: self.noted.append(self.active),
            "lifecycle.status": self._status,
            "lifecycle.start": self._start,
            "lifecycle.stop": lambda *_: "s3://savepoint",
        }.items():
            monkeypatch.setattr(f"streams.flink.keeping.{name}", value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def jobs(self, _name: str) -> list[Job]:
        return self.ended

    def committed_offsets(self, _group: str, _topic: str) -> dict[int, int]:
        return self.committed

    def keep(self) -> str | None:
        return keeping.keep_job(PROJECT, SETTINGS, self.stop, poll_s=0.001)

    def _start(self, *_: object, **given: Any) -> Job:
        self.started.append(given)
        self.active = JOB
        return JOB

    def _status(self, *_: object) -> Job | None:
        found = self.states.pop(0)
        if not self.states:
            self.stop.set()
        if isinstance(found, PenstockError):
            raise found
        return found


@pytest.fixture
def flink(monkeypatch: pytest.MonkeyPatch) -> FakeFlink:
    return FakeFlink(monkeypatch)


def test_a_first_job_starts_empty_and_ends_with_a_savepoint(flink: FakeFlink) -> None:
    flink.states = [JOB, JOB]
    assert flink.keep() == "s3://savepoint"
    assert [given["savepoint"] for given in flink.started] == [None]


def test_a_job_that_runs_goes_on(flink: FakeFlink) -> None:
    flink.active, flink.states = JOB, [JOB]
    flink.keep()
    assert flink.started == []


def test_a_job_continues_from_what_the_last_one_left_with_its_options(flink: FakeFlink) -> None:
    flink.left, flink.ended, flink.states = "s3://c/7", [JOB], [JOB]
    flink.keep()
    assert [(given["savepoint"], given["parallelism"]) for given in flink.started] == [("s3://c/7", 3)]


def test_a_job_that_flink_has_forgotten_goes_on_from_its_savepoint_with_its_options(flink: FakeFlink) -> None:
    flink.left, flink.states = "latest", [JOB]
    flink.keep()
    assert [(given["savepoint"], given["exactly_once"]) for given in flink.started] == [("latest", True)]


def test_a_job_that_runs_is_noted_to_have_gone_beyond_the_last_savepoint(flink: FakeFlink) -> None:
    flink.active, flink.states = JOB, [JOB]
    flink.keep()
    assert flink.noted == [JOB]


def test_a_job_does_not_start_empty_where_one_ran_before(flink: FakeFlink) -> None:
    flink.committed = {0: 12}
    with pytest.raises(PenstockError, match="nothing is known of its state") as refused:
        flink.keep()
    assert flink.started == []
    assert "--empty" in (refused.value.next or "")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: None, "no longer knows job j1"),
        (lambda: replace(JOB, state="FAILED", failure="disk full"), "has failed: disk full"),
    ],
)
def test_a_job_that_failed_or_is_gone_is_an_error(
    flink: FakeFlink, found: Callable[[], Job | None], expected: str
) -> None:
    flink.states = [JOB, found(), JOB]
    with pytest.raises(PenstockError, match=expected) as failed:
        flink.keep()
    assert "events wait in Kafka" in (failed.value.safe or "")


def test_the_last_checkpoint_is_named_where_flink_has_forgotten_the_job(flink: FakeFlink) -> None:
    flink.states = [JOB, None, JOB]
    with pytest.raises(PenstockError) as failed:
        flink.keep()
    assert failed.value.next == "penstock job start ads --from-savepoint s3://c/7"


def test_a_flink_that_does_not_answer_ends_nothing(flink: FakeFlink) -> None:
    flink.states = [JOB, PenstockError("Flink cannot be reached"), JOB]
    assert flink.keep() == "s3://savepoint"


def test_a_job_that_a_command_stopped_stays_stopped_and_another_one_is_watched(flink: FakeFlink) -> None:
    flink.active, stopped = JOB, replace(JOB, state="FINISHED")
    flink.states = [stopped, stopped, replace(JOB, id="j2")]
    assert flink.keep() == "s3://savepoint"
    assert flink.started == []


def test_a_job_that_does_not_run_at_the_end_needs_no_savepoint(
    flink: FakeFlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    flink.active = JOB

    def stopped(*_: object) -> Job:
        flink.active = None
        flink.stop.set()
        return replace(JOB, state="FINISHED")

    monkeypatch.setattr("streams.flink.keeping.lifecycle.status", stopped)
    assert flink.keep() is None
