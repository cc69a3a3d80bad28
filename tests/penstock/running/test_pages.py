"""Metrics pages of services, and of Flink's TaskManager."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import PartitionLag, Waiting
from penstock.kafka.lag_watch import LagWatch
from penstock.running.figures import Health
from penstock.running.job_offsets import JobOffsets
from penstock.running.metrics_pages import MetricsPages, OwnLag
from penstock.telemetry import ProgressTracker

FLINK = (
    "flink_taskmanager_job_task_operator_KafkaSourceReader_topic_partition_currentOffset"
    '{{job_name="{job}",topic="events.ads",partition="{partition}",}} {value}\n'
)


@pytest.fixture
def page() -> str:
    """What the scorer of a pipeline serves: the names are those that it has."""
    watch = LagWatch(KafkaAccess(bootstrap="none:1"), "ads", "scorer", ProgressTracker(lambda: 0.0))
    watch._positions = {("features.ads", 0): 1, ("features.ads", 1): 1}
    watch._lags = {
        ("features.ads", 0): PartitionLag(5_000, 3, Waiting(0, 1_000)),
        ("features.ads", 1): PartitionLag(5_000, 4, Waiting(0, 3_000)),
    }
    registry = CollectorRegistry()
    registry.register(watch)
    return generate_latest(registry).decode()


def pages(page: str, status: int = 200) -> MetricsPages:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "away":
            raise httpx.ConnectError("refused")
        if request.url.path == "/healthz":
            return httpx.Response(status, text="3 records behind\n")
        return httpx.Response(200, text=page)

    return MetricsPages("ads", httpx.MockTransport(answer))


def test_a_page_says_the_part_its_health_and_its_lag(page: str) -> None:
    for status in (200, 503):
        found = pages(page, status).read("here:1")
        assert found == ("scorer", Health(status == 200, "3 records behind"), OwnLag(7, 4.0))


def test_a_page_of_another_pipeline_or_program_or_none_is_passed_over(page: str) -> None:
    assert pages(page.replace('"ads"', '"fraud"')).read("here:1") is None
    assert pages("<html>not metrics</html>").read("here:1") is None
    assert pages(page).read("away:1") is None


def test_a_service_that_has_not_measured_its_lag_has_none() -> None:
    page = '# TYPE penstock_service_healthy gauge\npenstock_service_healthy{pipeline="ads",part="drift"} 1.0\n'
    assert pages(page).read("here:1") == ("drift", Health(True, "3 records behind"), None)


def test_the_offsets_of_a_job_are_those_of_the_page_that_has_them() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host != "flink":
            return httpx.Response(404)
        lines = FLINK.format(job="penstock-ads", partition=1, value="41.0")
        return httpx.Response(200, text=lines + FLINK.format(job="penstock-other", partition=0, value="9.0"))

    offsets = JobOffsets("penstock-ads", ["here:1", "flink:2"], httpx.MockTransport(answer))
    assert [offsets.read(), offsets.read()] == [{("events.ads", 1): 42}] * 2
    assert asked == ["here", "flink", "flink"]
