"""Reads the files of ``deploy/monitoring`` for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from deploy.local.prometheus_config import MONITORING


def rules() -> list[dict[str, Any]]:
    """Every rule of alerts.yml: those with ``alert``, and those with ``record``."""
    document = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    return document


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of all rules and panels, each with its place."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
