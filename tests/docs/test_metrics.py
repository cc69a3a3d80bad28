"""The page on metrics has every metric of scorer and quality, and all that alerts and dashboard read."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry

from penstock.client import ClientMetrics
from penstock.gateway.gateway_metrics import GatewayMetrics
from scoring.quality.quality_metrics import QualityMetrics
from scoring.scorer_metrics import ScorerMetrics
from streams.drift.data_quality.quality_metrics import DataQualityMetrics
from tests.deploy.monitoring_files import expressions
from tests.docs.pages import page, spans
from tests.promql import selectors

# `name{label,label}`, as the page writes a metric.
_METRIC = re.compile(r"(penstock_\w+)(?:\{([\w,…]*)\})?")


def _documented() -> dict[str, set[str]]:
    """The metrics on the page, with their labels."""
    found = (_METRIC.fullmatch(span.text) for span in spans(page("reference/metrics.md")))
    return {metric[1]: {"pipeline", *filter(None, (metric[2] or "").split(","))} for metric in found if metric}


@pytest.mark.parametrize(
    "of_service",
    [
        lambda registry: ScorerMetrics(registry, "fraud", 100),
        lambda registry: QualityMetrics(registry, "fraud", ["labels.fraud"], lambda _version: None),
        ClientMetrics,
        GatewayMetrics,
        lambda registry: DataQualityMetrics(registry, "fraud", ["events.transactions"]),
    ],
    ids=["scorer", "quality", "client", "gateway", "data-quality"],
)
def test_the_page_has_every_metric_of_a_service_with_its_labels(of_service) -> None:  # type: ignore[no-untyped-def]
    registry, documented = CollectorRegistry(), _documented()
    of_service(registry)
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        assert name in documented, f"docs/reference/metrics.md lacks {name}"
        shown = {label for sample in metric.samples for label in sample.labels} - {"le"}
        assert not shown or shown == documented[name], name


def test_the_page_has_every_metric_of_our_services_that_alerts_and_dashboard_read() -> None:
    read = {(place, selector.metric) for place, text in expressions() for selector in selectors(text)}
    ours = {(place, re.sub(r"_(bucket|sum|count)$", "", name)) for place, name in read if name.startswith("penstock_")}
    assert ours
    assert sorted(each for each in ours if each[1] not in _documented()) == []
