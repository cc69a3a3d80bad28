"""The drift app's metrics say which detectors watch nothing."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from streams.drift.drift_metrics import DriftMetrics
from tests.streams.drift.references import monitor_reference, reference


def test_a_refused_detector_is_1_and_all_others_0() -> None:
    registry, known = CollectorRegistry(), reference("x")
    refused = known.model_copy(update={"monitors": (monitor_reference("x", refused=("psi",)),)})
    DriftMetrics(registry, "p", refused)
    values = {
        name: registry.get_sample_value("penstock_drift_refused", {"pipeline": "p", "monitor": "x", "detector": name})
        for name in ("psi", "adwin", "missing")
    }
    assert values == {"psi": 1.0, "adwin": 0.0, "missing": 0.0}
