"""Drift references for tests."""

from __future__ import annotations

from scoring.repository import ModelRepository
from scoring.version_files import write_hashes
from streams.drift.drift_reference import REFERENCE_FILE, DriftReference, MonitorReference, Thresholds

WINDOW = 100
UNTIL_MS = 1_000


def monitor_reference(name: str = "x", **changes: object) -> MonitorReference:
    """The reference of values with mean 10 and deviation 2, a tenth of them null, in four bins."""
    limits = {"adwin_delta": 0.002, "page_hinkley": 20.0, "psi": 0.4, "kl": 0.2, "missing": 0.3}
    content = {
        "name": name,
        "rows": 1_000,
        "mean": 10.0,
        "std": 2.0,
        "edges": (8.0, 10.0, 12.0),
        "shares": (0.15, 0.3, 0.3, 0.15, 0.1),
        "thresholds": Thresholds(**limits),
    }
    return MonitorReference.model_validate(content | changes)


def reference(*names: str) -> DriftReference:
    """A reference of these monitors."""
    return DriftReference(
        pipeline="p",
        model="m",
        until_ms=UNTIL_MS,
        window=WINDOW,
        false_alarm_every=10_000,
        seed=0,
        monitors=tuple(monitor_reference(name) for name in names or ("x",)),
    )


def add_reference(repository: ModelRepository, reference: DriftReference) -> None:
    """Put a reference into version 1 of its model, as if training had written it there."""
    folder = repository.folder(reference.model, 1)
    (folder / REFERENCE_FILE).write_text(reference.artifacts()[REFERENCE_FILE], encoding="utf-8")
    write_hashes(folder)
