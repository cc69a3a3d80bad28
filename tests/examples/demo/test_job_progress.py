"""How far a job has read, from the metrics page of its TaskManager."""

from __future__ import annotations

import httpx
import pytest

from examples.demo.job_progress import JobProgress
from penstock.running.job_offsets import next_offsets

_NAME = "flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_currentOffset"
PAGE = f"""# HELP {_NAME} currentOffset (scope: taskmanager_job_task_operator)
# TYPE {_NAME} gauge
{_NAME}{{job_name="penstock-fraud",partition="0",topic="events.transactions",tm_id="a-b",}} 7774.0
{_NAME}{{job_name="penstock-fraud",partition="1",topic="events.transactions",tm_id="a-b",}} -1.0
{_NAME}{{job_name="penstock-backfill-fraud",partition="1",topic="events.transactions",tm_id="a-b",}} 12.0
flink_taskmanager_job_task_operator_pendingRecords{{job_name="penstock-fraud",}} 3.0
"""


def test_the_next_offset_follows_the_last_record_that_this_job_took() -> None:
    assert next_offsets(PAGE, "penstock-fraud") == {("events.transactions", 0): 7_775, ("events.transactions", 1): 0}


def test_the_position_of_a_job_that_has_ended_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [PAGE, "", None, PAGE.replace("7774", "9")]

    def get(_: httpx.Client, url: str, params: dict[str, str]) -> httpx.Response:
        assert params == {"name[]": _NAME}
        page = pages.pop(0)
        if page is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, text=page, request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx.Client, "get", get)
    progress = JobProgress("penstock-fraud", "http://127.0.0.1:1/metrics")
    found = []
    for _ in range(4):
        progress.refresh()
        found.append(progress.next_offset("events.transactions", 0))
    assert found == [7_775, 7_775, 7_775, 10]
    assert progress.next_offset("events.transactions", 3) == 0
