"""The leak check: whether a row's features were made later than they can have been, and what the probe says."""

from __future__ import annotations

import duckdb

from backfill.training_sets.manifest import LeakCheck, Probe, Verdict
from penstock.time import iso

_EXAMPLES = 5
SKIPPED = Probe(verdict="skipped", reason="--no-probe")


def check_leaks(sql: duckdb.DuckDBPyConnection, max_future_ms: int, to_ms: int, probe: Probe) -> LeakCheck:
    """Check all rows of a set.

    A vector is as of the latest event that it has. No event is further ahead of its Kafka timestamp than
    ``max_future_ms``, so no vector can be further ahead of the time at which it was made (``reach``). Rows that are as
    of ``to_ms`` or later are not judged: the rows of those events are not among these.
    """
    future = """
        FROM rows WHERE known_at > event_time AND known_at < $to AND known_at::HUGEINT > reach::HUGEINT + $ahead
    """
    limits = {"to": to_ms, "ahead": max_future_ms}
    (saw_future,) = sql.execute(f"SELECT count(*) {future}", limits).fetchone() or (0,)
    examples = sql.execute(
        f"SELECT event_id, event_time, known_at {future} ORDER BY event_time, event_id LIMIT {_EXAMPLES}",
        limits,
    ).fetchall()
    late, latest, early_labels = sql.execute(
        """
        SELECT count(*) FILTER (known_at > event_time), coalesce(max(known_at - event_time), 0),
            count(*) FILTER (label_known_at < event_time) FROM rows
        """
    ).fetchone() or (0, 0, 0)
    verdict: Verdict = "failed" if saw_future or probe.verdict == "failed" else "passed"
    return LeakCheck(
        verdict=verdict,
        saw_future=saw_future,
        examples=tuple(f"{event_id} of {iso(time)} is as of {iso(known)}" for event_id, time, known in examples),
        late=late,
        latest_ms=latest,
        labels_before_event=early_labels,
        probe=probe,
    )
