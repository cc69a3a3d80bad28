"""The regret of a cascade, from its predictions."""

from __future__ import annotations

from typing import Any

from backfill.regret import Regret, regrets
from scoring.audit import AuditCounts


def prediction(name: str, fast: float, strong: float | None = None, *, audited: bool = False, **changes: Any) -> Any:
    way = {"fast_version": "1", "strong_version": "2", "low": 0.25, "high": 0.75}
    way |= {"fast_score": fast, "strong_score": strong, "audited": audited, **changes}
    return {"event_id": name, "event_time": 7, "decision": "pass", "cascade": way}


def test_audited_events_are_counted_for_each_pair_of_versions_and_their_band() -> None:
    predictions = [
        {"event_id": "before", "cascade": None},
        prediction("clear", 0.1),
        prediction("unclear", 0.25, 0.9),
        prediction("above", 0.75),
        prediction("missed", 0.1, 0.9, audited=True),
        prediction("alarm", 0.8, 0.2, audited=True),
        prediction("same", 0.8, 0.9, audited=True),
        prediction("unknown", 0.8, 0.2, audited=True),
        prediction("no number", 0.8, None, audited=True),
        prediction("later", 0.8, fast_version="3"),
    ]
    labels = {("missed", 7, "pass"): True, ("alarm", 7, "pass"): False, ("same", 7, "pass"): False}
    assert regrets(predictions, 0.5, lambda *event: labels.get(event)) == [
        Regret("1", "2", 0.25, 0.75, 8, 1, AuditCounts(4, 3, 3, 1, 1)),
        Regret("3", "2", 0.25, 0.75, 1, 0, AuditCounts()),
    ]
