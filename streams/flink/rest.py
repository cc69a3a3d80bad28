"""A client of Flink's REST interface: finds, inspects, stops and cancels jobs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import httpx

from penstock.errors import PenstockError
from penstock.home import set_or_correct

# A JobManager that writes a savepoint or lacks CPU answers late; a missing one refuses the connection at once.
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_POLL_S = 0.2
# What a JobManager answers that starts, or that another one takes over from.
_NO_LEADER = 503


@dataclass(frozen=True)
class Job:
    """A job as Flink reports it.

    Args:
        id: Flink's job id, new with every submission.
        name: ``penstock-<pipeline>``.
        state: As Flink names it: ``RUNNING``, ``RESTARTING``, ``FINISHED``, ...
        start_ms: The time of submission, epoch ms.
        tasks: The number of tasks.
        tasks_running: The number of running tasks.
        restarts: The number of restarts after failures.
        checkpoints: The number of completed checkpoints.
        checkpoint: The path of the newest completed checkpoint.
        failure: The first lines of the newest failure.
    """

    id: str
    name: str
    state: str
    start_ms: int
    tasks: int
    tasks_running: int
    restarts: int = 0
    checkpoints: int = 0
    checkpoint: str | None = None
    failure: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether it has not ended: it runs, starts, restarts or is being stopped."""
        return self.state not in ("FINISHED", "CANCELED", "FAILED")


class Flink:
    """A client of one JobManager, given the base URL of its REST interface. A context manager."""

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=_TIMEOUT, trust_env=False, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def jobs(self, name: str) -> list[Job]:
        """All jobs of that name that the JobManager knows, ended ones included, in no order."""
        return [job for job in self.every_job() if job.name == name]

    def every_job(self) -> list[Job]:
        """All jobs that the JobManager knows, ended ones included, in no order."""
        return [_job(job) for job in self._get("/jobs/overview")["jobs"]]

    def free_slots(self) -> int:
        """How many tasks could be started now."""
        return int(self._get("/overview")["slots-available"])

    def job(self, job_id: str) -> Job:
        """The job of that id.

        Raises:
            PenstockError: if Flink does not know it.
        """
        for job in self._get("/jobs/overview")["jobs"]:
            if job["jid"] == job_id:
                return _job(job)
        raise PenstockError(f"Flink does not know job {job_id}", where=self.url)

    def with_details(self, job: Job) -> Job:
        """The same job with its restarts, checkpoints and newest failure."""
        checkpoints = self._get(f"/jobs/{job.id}/checkpoints")
        completed = (checkpoints.get("latest") or {}).get("completed") or {}
        history = self._get(f"/jobs/{job.id}/exceptions").get("exceptionHistory", {}).get("entries", [])
        return replace(
            job,
            restarts=self._restarts(job.id),
            checkpoints=(checkpoints.get("counts") or {}).get("completed", 0),
            checkpoint=completed.get("external_path"),
            failure=_failure(history[0]) if history else None,
        )

    def stop(self, job_id: str, timeout_s: float) -> str:
        """Stop a job with a savepoint and wait for it; returns the savepoint's path.

        The savepoint has Flink's canonical format, which every state backend reads.

        Raises:
            PenstockError: if the savepoint fails (the job keeps running), or is not complete after ``timeout_s``.
        """
        trigger = self._request("POST", f"/jobs/{job_id}/stop", json={"drain": False, "formatType": "CANONICAL"})[
            "request-id"
        ]
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answer = self._get(f"/jobs/{job_id}/savepoints/{trigger}")
            if answer["status"]["id"] == "COMPLETED":
                operation = answer["operation"]
                if "location" in operation:
                    return str(operation["location"])
                raise PenstockError(
                    f"the savepoint failed: {_first_lines(operation['failure-cause']['stack-trace'])}",
                    where=f"{self.url}, job {job_id}",
                    safe="the job keeps running",
                    next="penstock logs jobmanager",
                )
            time.sleep(_POLL_S)
        raise PenstockError(
            f"the savepoint was not complete after {timeout_s:.0f} s", where=f"{self.url}, job {job_id}"
        )

    def savepoint(self, job_id: str) -> str | None:
        """The path of the newest complete savepoint of a job; None if it has none."""
        newest = (self._get(f"/jobs/{job_id}/checkpoints").get("latest") or {}).get("savepoint") or {}
        return newest.get("external_path")

    def has_ended(self, job_id: str, part: str) -> bool:
        """Whether the tasks of a job whose name has ``part`` have ended, while others may run on."""
        return all(
            vertex["status"] == "FINISHED"
            for vertex in self._get(f"/jobs/{job_id}")["vertices"]
            if part in vertex["name"]
        )

    def dispose(self, savepoint: str) -> None:
        """Request that Flink deletes a savepoint."""
        self._send("POST", "/savepoint-disposal", json={"savepoint-path": savepoint})

    def parameters(self, job_id: str) -> dict[str, str]:
        """The parameters that the job was submitted with; Flink shows them to all users."""
        parameters: dict[str, str] = self._get(f"/jobs/{job_id}/config")["execution-config"]["user-config"]
        return parameters

    def available_slots(self, job_id: str) -> int:
        """The maximum number of tasks per operator for the job: the free slots and its own."""
        vertices = self._get(f"/jobs/{job_id}")["vertices"]
        own = max((vertex["parallelism"] for vertex in vertices), default=0)
        return self.free_slots() + own

    def checkpoint(self, job_id: str) -> None:
        """Request a checkpoint now."""
        self._send("POST", f"/jobs/{job_id}/checkpoints", json={"checkpointType": "CONFIGURED"})

    def cancel(self, job_id: str) -> None:
        """Request that a job ends at once, without a savepoint; Flink keeps its last checkpoint."""
        self._send("PATCH", f"/jobs/{job_id}?mode=cancel")

    def await_end(self, job_id: str, timeout_s: float) -> None:
        """Wait until a job that was stopped or cancelled has ended.

        Raises:
            PenstockError: if it has not ended after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while self.job(job_id).is_active:
            if time.monotonic() > deadline:
                raise PenstockError(f"the job did not end within {timeout_s:.0f} s", where=f"{self.url}, job {job_id}")
            time.sleep(_POLL_S)

    def _restarts(self, job_id: str) -> int:
        metrics = self._get(f"/jobs/{job_id}/metrics?get=numRestarts")
        return int(float(metrics[0]["value"])) if metrics else 0

    def _get(self, path: str) -> Any:
        return self._request("GET", path)

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        return self._send(method, path, **arguments).json()

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise PenstockError(
                f"Flink cannot be reached ({type(error).__name__})",
                where=self.url,
                next=f"penstock up; for another cluster: {set_or_correct('PENSTOCK_FLINK_REST')}",
            ) from error
        if answer.is_error:
            errors = answer.json().get("errors", []) if "json" in answer.headers.get("content-type", "") else []
            reason = _first_lines(str(errors[-1])) if errors else answer.reason_phrase
            again = "the same again in some seconds, when it has a leader; " if answer.status_code == _NO_LEADER else ""
            raise PenstockError(
                f"Flink answered {answer.status_code}: {reason}",
                where=f"{self.url}{path}",
                next=f"{again}penstock logs jobmanager",
            )
        return answer


def _job(overview: dict[str, Any]) -> Job:
    return Job(
        id=overview["jid"],
        name=overview["name"],
        state=overview["state"],
        start_ms=overview["start-time"],
        tasks=overview["tasks"]["total"],
        tasks_running=overview["tasks"]["running"],
    )


def _failure(entry: dict[str, Any]) -> str:
    lines = entry["stacktrace"].splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return _first_lines(causes[-1] if causes else lines[0])


def _first_lines(text: str) -> str:
    return " / ".join(line.strip() for line in text.splitlines()[:2])[:500]
