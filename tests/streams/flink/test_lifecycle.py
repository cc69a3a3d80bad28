"""How Flink's answers and errors are read. Everything else about jobs needs a cluster."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from penstock.errors import PenstockError
from streams.flink import lifecycle
from streams.flink.rest import Flink, Job
from streams.flink.submission import Options
from streams.flink.submit import _innermost_message


def test_the_error_shows_the_innermost_cause_of_a_java_exception() -> None:
    stderr = (
        "Traceback\npy4j: An error\n: a.B: outer\n\tat a.B.c(D.java:1)\n"
        "Caused by: a.E: inner\n\tat a.E.f(G.java:2)\n\t... 3 more\n"
    )

    assert _innermost_message(stderr) == "a.E: inner"


def test_the_error_shows_a_java_exception_without_a_cause() -> None:
    assert (
        _innermost_message("py4j.Error: calling\n: java.lang.Oops: why\n\tat a.B.c(D.java:1)\n")
        == "java.lang.Oops: why"
    )


def flink(answer: Callable[[httpx.Request], httpx.Response]) -> Flink:
    return Flink("http://flink", transport=httpx.MockTransport(answer))


def test_a_failed_savepoint_shows_the_reason_and_that_the_job_keeps_running() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"request-id": "r"})
        failure = {"failure-cause": {"stack-trace": "java.io.IOException: disk full\n at x"}}
        return httpx.Response(200, json={"status": {"id": "COMPLETED"}, "operation": failure})

    with flink(answer) as client, pytest.raises(PenstockError, match="disk full") as failed:
        client.stop("j", 1)
    assert failed.value.safe == "the job keeps running"


@pytest.mark.parametrize(("status", "again"), [(503, True), (500, False)])
def test_an_error_of_flink_says_what_to_do(status: int, again: bool) -> None:
    answer = httpx.Response(status, json={"errors": ["Service temporarily unavailable due to an ongoing election."]})
    with flink(lambda _: answer) as client, pytest.raises(PenstockError, match=f"answered {status}") as failed:
        client.every_job()
    assert failed.value.next is not None
    assert ("again" in failed.value.next, "penstock logs jobmanager" in failed.value.next) == (again, True)


def test_stop_waits_for_a_savepoint_in_progress() -> None:
    answers = iter(
        [
            {"status": {"id": "IN_PROGRESS"}},
            {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/s"}},
        ]
    )

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            assert json.loads(request.content) == {"drain": False, "formatType": "CANONICAL"}
            return httpx.Response(202, json={"request-id": "r"})
        return httpx.Response(200, json=next(answers))

    with flink(answer) as client:
        assert client.stop("j", 5) == "file:/s"


def test_an_error_shows_the_first_lines_of_flinks_message() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"errors": ["NotFound: job j\nat a\nat b"]})

    with flink(answer) as client, pytest.raises(PenstockError, match="404: NotFound: job j"):
        client.job("j")


PROJECT: Any = SimpleNamespace(name="ads", reference="ads/pipeline.py")
UNUSED: Any = None


def test_a_savepoint_is_named_from_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept" / "savepoint-1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "kept")
    for name in ("savepoint-1", "./savepoint-1", "../kept/savepoint-1"):
        assert lifecycle._savepoint_path(PROJECT, UNUSED, name) == str(tmp_path / "kept" / "savepoint-1")


@pytest.mark.parametrize("name", ["/data/flink/savepoint-1", "s3://bucket/savepoint-1", "file:/data/savepoint-1"])
def test_a_savepoint_on_flinks_machines_is_named_as_flink_takes_it(name: str) -> None:
    assert lifecycle._savepoint_path(PROJECT, UNUSED, name) == name


def test_a_savepoint_that_is_not_there_is_an_error_with_the_path_that_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PenstockError, match="there is no savepoint savepoint-1") as missing:
        lifecycle._savepoint_path(PROJECT, UNUSED, "savepoint-1")
    assert missing.value.where == str(tmp_path / "savepoint-1")
    assert "penstock job start ads/pipeline.py --from-savepoint" in (missing.value.next or "")


class Stopped:
    """A Flink with the jobs of a test."""

    url = "http://flink"

    def __init__(self, *jobs: Job) -> None:
        self.known = jobs

    def jobs(self, _name: str) -> tuple[Job, ...]:
        return self.known

    def with_details(self, job: Job) -> Job:
        return job

    def savepoint(self, job_id: str) -> str:
        return f"file:/of-{job_id}"


FORGETFUL: Any = Stopped()


@pytest.fixture
def state(tmp_path: Path) -> Any:
    return SimpleNamespace(flink=SimpleNamespace(state=tmp_path))


def test_the_savepoint_of_the_last_stop_is_kept_with_the_options_of_its_job(state: Any) -> None:
    options = Options(exactly_once=True, parallelism=2)
    lifecycle.record_latest(PROJECT, state, "file:/s", options)
    assert lifecycle.latest(PROJECT, state) == "file:/s"
    assert lifecycle.latest_options(PROJECT, state) == options
    assert lifecycle.left_state(FORGETFUL, PROJECT, state) == lifecycle.LATEST


def test_a_savepoint_that_an_earlier_release_recorded_is_read(state: Any, tmp_path: Path) -> None:
    file = tmp_path / "latest-savepoints" / "ads"
    file.parent.mkdir()
    file.write_text("file:/s\n")
    assert lifecycle.latest(PROJECT, state) == "file:/s"
    assert lifecycle.latest_options(PROJECT, state) == Options()


def test_a_savepoint_that_a_job_has_gone_beyond_is_only_taken_by_its_name(state: Any) -> None:
    lifecycle.record_latest(PROJECT, state, "file:/s", Options(parallelism=2))
    for _ in range(2):  # again does nothing
        lifecycle.note_progress(PROJECT, state)
    assert lifecycle._savepoint_path(PROJECT, state, lifecycle.LATEST) == "file:/s"
    assert lifecycle.left_state(FORGETFUL, PROJECT, state) is None
    assert lifecycle.latest_options(PROJECT, state) == Options()
    with pytest.raises(PenstockError, match="does not know the job that ran last") as refused:
        lifecycle._require_no_state(FORGETFUL, PROJECT, state)
    assert refused.value.where == "it began after savepoint file:/s"
    lifecycle.record_latest(PROJECT, state, "file:/t", Options())
    assert lifecycle.left_state(FORGETFUL, PROJECT, state) == lifecycle.LATEST
    assert lifecycle.latest(PROJECT, state) == "file:/t"


def test_the_savepoint_of_a_stop_that_was_killed_before_it_recorded_it_is_found_in_flink(state: Any) -> None:
    lifecycle.record_latest(PROJECT, state, "file:/s", Options())
    lifecycle.note_progress(PROJECT, state)
    flink: Any = Stopped(Job("j", "penstock-ads", "FINISHED", 1, 0, 2))
    assert lifecycle.left_state(flink, PROJECT, state) == "file:/of-j"


def test_a_job_that_has_started_has_gone_beyond_the_last_savepoint(state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("j", "penstock-ads", "RUNNING", 1, 2, 2)
    fake: dict[str, Any] = {
        "require_ready": lambda *_: None,
        "Flink": lambda _url: contextlib.nullcontext(Stopped()),
        "starts": lambda *_, **__: {},
        "submit_job": lambda *_, **__: "j",
        "await_running": lambda *_: job,
    }
    for name, value in fake.items():
        monkeypatch.setattr(lifecycle, name, value)
    state.flink.rest = "http://flink"
    lifecycle.record_latest(PROJECT, state, "file:/s", Options())
    assert lifecycle.start(PROJECT, state, savepoint=lifecycle.LATEST) is job
    assert lifecycle.left_state(FORGETFUL, PROJECT, state) is None
