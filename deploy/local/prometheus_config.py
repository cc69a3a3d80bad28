"""Prometheus's configuration for one local stack: ``deploy/monitoring`` with the stack's own addresses."""

from __future__ import annotations

import json
import shutil

from deploy.local.services import SERVICES
from deploy.local.services.service import HOST, Layout, write
from penstock.paths import ROOT

MONITORING = ROOT / "deploy" / "monitoring"

# Where docs/operations/operate.md starts the services of a pipeline on a developer's machine, by --metrics-port.
SERVICE_PORTS = {
    "sink-redis": 19101,
    "sink-cassandra": 19102,
    "scorer": 19103,
    "drift": 19104,
    "rollout": 19105,
}
# Those that not everybody runs: they are missed only if they have answered within a day.
OPTIONAL_PORTS = {
    "parity": 19106,
    "archive": 19107,
    "quality": 19108,
    "incidents": 19109,
    "data-quality": 19110,
    "gateway": 19111,
}


def write_prometheus_config(layout: Layout) -> None:
    """Writes ``monitoring/`` into the stack's folder, for ``prometheus --config.file``."""
    folder = layout.home / "monitoring"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copyfile(MONITORING / name, folder / name)
    jobs = {"service": list(SERVICE_PORTS.values()), "optional": list(OPTIONAL_PORTS.values())}
    for service in SERVICES.values():
        if service.metrics:
            jobs[service.name] = [layout.ports[name] for name in service.metrics]
    targets = [{"labels": {"job": job}, "targets": [f"{HOST}:{port}" for port in ports]} for job, ports in jobs.items()]
    # Prometheus reads YAML; JSON is YAML.
    write(folder / "targets.yml", json.dumps(targets, indent=1) + "\n")
