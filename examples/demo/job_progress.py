"""How far a feature job has read its raw topic, from the metrics of its TaskManager."""

from __future__ import annotations

import httpx

from penstock.running.job_offsets import OFFSET, next_offsets

_TIMEOUT_S = 2.0


class JobProgress:
    """Reads the offset after the last record that a job has taken, by partition.

    The job's committed offsets tell the same later: Flink commits them after a checkpoint, and its source takes up to
    ten seconds for that while no record arrives.

    Args:
        job: The job's name in Flink.
        url: The TaskManager's metrics page.
    """

    def __init__(self, job: str, url: str) -> None:
        self._job = job
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=False)
        self._url = url
        self._latest: dict[tuple[str, int], int] = {}

    def next_offset(self, topic: str, partition: int) -> int:
        """The offset after the last record taken, as of the last :meth:`refresh`; 0 if there is none."""
        return self._latest.get((topic, partition), 0)

    def refresh(self) -> None:
        """Read the page. What was read before stays if it cannot be read, or the job has ended."""
        try:
            # The whole page has thousands of metrics.
            page = self._client.get(self._url, params={"name[]": OFFSET}).raise_for_status().text
        except httpx.HTTPError:
            return
        self._latest = next_offsets(page, self._job) or self._latest

    def close(self) -> None:
        """Disconnect."""
        self._client.close()
