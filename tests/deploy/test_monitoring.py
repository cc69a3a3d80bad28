"""Scrape configuration, alerts and dashboard are complete, documented, and agree with the rest of the repository."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from deploy.local.ports import Ports
from deploy.local.prometheus_config import MONITORING, OPTIONAL_PORTS, SERVICE_PORTS, write_prometheus_config
from deploy.local.services import Layout
from penstock.paths import ROOT
from penstock.telemetry import AGE_BUCKETS_S
from tests.deploy.monitoring_files import alerts, dashboard, expressions, rules
from tests.promql import Selector, grouping_labels, selectors


def test_the_parser_of_expressions_distinguishes_metrics_from_functions_labels_and_keywords() -> None:
    expression = 'sum by (le, pipeline) (rate(a_bucket{pipeline=~"$p", le!="x{y}"}[5m])) / on (pipeline) b > 1e3 and c'
    found = set(selectors(expression))
    assert found == {
        Selector("a_bucket", frozenset({"pipeline", "le"})),
        Selector("b", frozenset()),
        Selector("c", frozenset()),
    }
    assert grouping_labels(expression) == {"le", "pipeline"}


def test_every_alert_has_a_summary_a_reason_for_its_threshold_and_a_link() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in {"page", "ticket"}, alert["alert"]
        assert set(alert["annotations"]) == {"summary", "threshold", "runbook_url"}, alert["alert"]


def test_every_alert_has_its_section_in_the_operators_guide_and_every_section_its_alert() -> None:
    guide = (ROOT / "docs" / "operations" / "alerts.md").read_text(encoding="utf-8")
    sections = re.findall(r"^#+ (Penstock[A-Z]\w+)$", guide, re.MULTILINE)
    assert sections == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        assert alert["annotations"]["runbook_url"] == f"docs/operations/alerts.md#{alert['alert'].lower()}"


def test_the_latency_objective_is_an_edge_of_the_histogram() -> None:
    edges = {edge for rule in rules() for edge in re.findall(r'le="([\d.]+)"', rule["expr"])}
    assert edges
    assert {float(edge) for edge in edges} <= set(AGE_BUCKETS_S)


def test_the_recorded_series_are_exactly_those_that_are_used() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {selector.metric for _, text in expressions() for selector in selectors(text) if ":" in selector.metric}
    assert used == recorded


def test_panels_fill_the_grid_without_overlap_and_have_descriptions() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"], panel["title"]
    identities = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(identities)) == len(identities)


def test_the_dashboard_has_a_row_for_each_part() -> None:
    titles = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    parts = [
        "Feature job",
        "Sinks",
        "Scorer",
        "Triton",
        "Drift",
        "Rollout",
        "Archive and parity",
        "Quality",
        "Data quality",
        "Gateway",
    ]
    assert titles == ["Overview", *parts]


def test_every_variable_of_a_panel_is_one_of_the_dashboard() -> None:
    declared = {variable["name"] for variable in dashboard()["templating"]["list"]}
    used = {name for panel in dashboard()["panels"] for name in re.findall(r"\$\{?([a-z]\w*)", json.dumps(panel))}
    assert used == declared


def test_targets_in_containers_are_the_services_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    groups = yaml.safe_load((MONITORING / "targets.yml").read_text(encoding="utf-8"))
    hosts = {target.split(":")[0] for group in groups for target in group["targets"]}
    aliases = {a for service in compose["services"].values() for a in _aliases(service)}
    assert hosts <= set(compose["services"]) | aliases


def test_what_not_everybody_runs_is_missed_only_where_it_has_run() -> None:
    groups = yaml.safe_load((MONITORING / "targets.yml").read_text(encoding="utf-8"))
    targets = {group["labels"]["job"]: group["targets"] for group in groups}
    assert targets["optional"] == [
        "fraud-quality:9464",
        "fraud-incidents:9464",
        "fraud-parity:9464",
        "fraud-archive:9464",
        "fraud-data-quality:9464",
        "fraud-gateway:9464",
    ]
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    (down,) = (
        rule["expr"] for group in groups for rule in group["rules"] if rule.get("alert") == "PenstockServiceDown"
    )
    assert down.split("\nor ") == [
        'up{job="service"} == 0',
        '(up{job="optional"} == 0 and max_over_time(up{job="optional"}[1d]) == 1)\n',
    ]


def _aliases(service: dict) -> list[str]:  # type: ignore[type-arg]
    networks = service.get("networks") or {}
    return [] if isinstance(networks, list) else [a for n in networks.values() for a in (n or {}).get("aliases", ())]


def test_a_local_stack_gets_a_configuration_with_its_own_addresses(tmp_path: Path) -> None:
    ports = Ports().with_overrides({"triton_metrics": 28002})
    write_prometheus_config(Layout(tmp_path, ports, "x"))
    folder = tmp_path / "monitoring"
    targets = {group["labels"]["job"]: group["targets"] for group in json.loads((folder / "targets.yml").read_text())}
    assert targets["triton"] == ["127.0.0.1:28002"]
    assert targets["flink"] == [
        f"127.0.0.1:{port}" for port in (ports["jobmanager_metrics"], ports["taskmanager_metrics"])
    ]
    assert len(targets["service"]) == len(SERVICE_PORTS)
    assert len(targets["optional"]) == len(OPTIONAL_PORTS)
    assert (folder / "alerts.yml").read_text() == (MONITORING / "alerts.yml").read_text()


def test_metrics_ports_of_local_services_do_not_collide_with_ports_of_the_stack() -> None:
    assert not {*SERVICE_PORTS.values(), *OPTIONAL_PORTS.values()} & set(Ports().values())
