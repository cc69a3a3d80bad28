"""What the client of a job makes of what Flink and the submission say; the rest needs a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from penstock.errors import PenstockError
from streams.flink.rest import Flink
from streams.flink.submit import _cause


def test_the_innermost_cause_of_a_java_error_is_named() -> None:
    stderr = (
        "Traceback\npy4j: An error\n: a.B: outer\n\tat a.B.c(D.java:1)\n"
        "Caused by: a.E: inner\n\tat a.E.f(G.java:2)\n\t... 3 more\n"
    )

    assert _cause(stderr) == "a.E: inner"


def test_a_java_error_without_a_cause_is_named_itself() -> None:
    assert _cause("py4j.Error: calling\n: java.lang.Oops: why\n\tat a.B.c(D.java:1)\n") == "java.lang.Oops: why"


def flink(answer: Callable[[httpx.Request], httpx.Response]) -> Flink:
    return Flink("http://flink", transport=httpx.MockTransport(answer))


def test_a_failed_savepoint_says_why_and_that_the_job_goes_on() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"request-id": "r"})
        failure = {"failure-cause": {"stack-trace": "java.io.IOException: disk full\n at x"}}
        return httpx.Response(200, json={"status": {"id": "COMPLETED"}, "operation": failure})

    with flink(answer) as client, pytest.raises(PenstockError, match="disk full") as failed:
        client.stop("j", 1)
    assert failed.value.safe == "the job goes on"


def test_a_savepoint_in_progress_is_waited_for() -> None:
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


def test_an_error_of_flink_is_told_in_its_first_lines() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"errors": ["NotFound: job j\nat a\nat b"]})

    with flink(answer) as client, pytest.raises(PenstockError, match="404: NotFound: job j"):
        client.job("j")
