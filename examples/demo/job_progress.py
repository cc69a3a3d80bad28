"""How far a feature job has read its raw topic, from the metrics of its TaskManager."""

from __future__ import annotations

import re

import httpx

_TIMEOUT_S = 2.0
_OFFSET = "flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_currentOffset"
_SAMPLE = re.compile(rf"^{_OFFSET}\{{(.*)\}} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


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
            page = self._client.get(self._url, params={"name[]": _OFFSET}).raise_for_status().text
        except httpx.HTTPError:
            return
        self._latest = next_offsets(page, self._job) or self._latest

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def next_offsets(page: str, job: str) -> dict[tuple[str, int], int]:
    """The offset after the last record taken, by topic and partition, of a job on a metrics page."""
    found = {}
    for labels_text, value in _SAMPLE.findall(page):
        labels = dict(_LABEL.findall(labels_text))
        if labels.get("job_name") == job:
            found[labels["topic"], int(labels["partition"])] = int(float(value)) + 1
    return found
