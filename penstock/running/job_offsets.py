"""How far a feature job has read its topics, from the metrics page of its TaskManager, if that is known.

The job's committed offsets tell the same later: Flink commits them after a checkpoint, and takes up to ten seconds for
that while no record arrives.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import httpx

from penstock.kafka.lag import Partition

_TIMEOUT_S = 1.0
OFFSET = "flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_currentOffset"
_SAMPLE = re.compile(rf"^{OFFSET}\{{(.*)\}} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class JobOffsets:
    """Reads the offset after the last record that a job has taken, by partition.

    Args:
        job: The job's name in Flink.
        addresses: ``host:port`` of pages, those of other programs included.
        transport: In place of the network, for tests.
    """

    def __init__(self, job: str, addresses: Collection[str], transport: httpx.BaseTransport | None = None) -> None:
        self._job, self._addresses = job, list(addresses)
        self._known: str | None = None
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=False, transport=transport)

    def read(self) -> dict[Partition, int]:
        """The offsets; empty if no page has them."""
        # Once a page has them, only that one is asked.
        for address in [self._known] if self._known is not None else self._addresses:
            try:
                # The whole page has thousands of metrics.
                page = self._client.get(f"http://{address}/metrics", params={"name[]": OFFSET}).raise_for_status().text
            except httpx.HTTPError:
                continue
            if found := next_offsets(page, self._job):
                self._known = address
                return found
        self._known = None
        return {}

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def next_offsets(page: str, job: str) -> dict[Partition, int]:
    """The offset after the last record taken, by topic and partition, of a job on a metrics page."""
    found = {}
    for labels_text, value in _SAMPLE.findall(page):
        labels = dict(_LABEL.findall(labels_text))
        if labels.get("job_name") == job:
            found[labels["topic"], int(labels["partition"])] = int(float(value)) + 1
    return found
