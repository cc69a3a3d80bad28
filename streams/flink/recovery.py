"""Waits for a job while Flink is away, or a JobManager that starts or takes over recovers its jobs."""

from __future__ import annotations

import time
from collections.abc import Callable

from penstock.errors import PenstockError
from streams.flink.rest import Job

# Longer than a restart of the JobManager or a takeover by another one.
_FLINK_DOWN_LIMIT_S = 180.0
_JOB_UNKNOWN_LIMIT_S = 10.0


def await_listed(find: Callable[[], Job | None], pause: Callable[[], None]) -> Job | None:
    """The job that ``find`` gives; None if Flink answers but does not list it for a while.

    Args:
        find: Asks Flink.
        pause: Waits a moment before it is asked again; what it raises ends the wait.

    Raises:
        PenstockError: if Flink cannot be reached for long.
    """
    started, unknown_since = time.monotonic(), None
    while True:
        now = time.monotonic()
        try:
            job = find()
        except PenstockError:
            unknown_since = None
            if now - started > _FLINK_DOWN_LIMIT_S:
                raise
        else:
            unknown_since = now if unknown_since is None else unknown_since
            if job is not None or now - unknown_since > _JOB_UNKNOWN_LIMIT_S:
                return job
        pause()
