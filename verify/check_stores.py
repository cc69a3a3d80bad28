"""Checks the stores against the topics: Redis (latest vectors) and Cassandra (all vectors and predictions)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.plan.model import PipelinePlan, ViewPlan
from verify import store_formats as formats
from verify.findings import Findings
from verify.published import Published
from verify.run_data import StoredTable

Order = tuple[int, int, int, int]
_NO_TABLE = StoredTable((), (), ())


@dataclass
class StoreFindings(Findings):
    """Result of the check of one store: ``checked`` vectors or keys of rows, of which ``compared`` rows as a whole."""

    checked: int = 0
    compared: int = 0


def check_redis(
    plan: PipelinePlan, records: Sequence[Published], stored: Mapping[str, bytes], read_at_ms: int
) -> StoreFindings:
    """Compare the stored vector of every entity of every view with the newest one on the topic.

    ``stored`` has every key of the pipeline at ``read_at_ms``. A vector of an entity that was never emitted is a
    mismatch; vectors of other versions of a view are left alone. A vector may be missing once all of its windows are
    over by the wall clock, counted from its publication.
    """
    findings = StoreFindings()
    ahead_ms = max(source.max_future_ms for source in plan.sources)
    for view in plan.views:
        reader = formats.VectorReader(view)
        expected = {formats.vector_key(plan, view, entity): latest for entity, latest in _latest(view, records).items()}
        prefix = formats.vector_key(plan, view, "").removesuffix("}")
        for key in stored.keys() - expected.keys():
            if key.startswith(prefix):
                findings.mismatch(f"Redis {key}: no vector of this entity was emitted")
        longest_ms = view.longest_window_ms
        for key, (order, record) in expected.items():
            part, newest = record.value[view.name], record.value["event_time"] if record.is_timer else None
            blob = stored.get(key)
            if blob is None and longest_ms is not None and read_at_ms - record.timestamp >= longest_ms + ahead_ms:
                continue
            findings.checked += 1
            if blob is None:
                findings.mismatch(f"Redis {key}: is missing, the latest is {order}")
                continue
            try:
                found = reader.read(blob)
            except (ValueError, EOFError, IndexError) as error:
                findings.mismatch(f"Redis {key}: cannot be read: {error}")
                continue
            if (found.order, found.newest_ms) != (order, newest):
                findings.mismatch(f"Redis {key}: has {found.order}, the latest is {order}")
            elif found.record != part:
                wrong = [name for name in part if found.record.get(name) != part[name]]
                findings.mismatch(f"Redis {key}: {', '.join(wrong)} differ from the feature record")
    return findings


def check_cassandra(
    plan: PipelinePlan,
    records: Sequence[Published],
    predictions: Sequence[Published],
    tables: Mapping[str, StoredTable],
) -> StoreFindings:
    """Compare the key of every row with the published records, and every column of the rows that were read."""
    findings = StoreFindings()
    for view in plan.views:
        rows = [
            formats.history_row(record.value[view.name], record.value)
            for record in records
            if record.value[view.name] is not None
        ]
        _check_table(formats.history_table(plan, view), formats.HISTORY_KEY, rows, tables, findings)
    by_event, by_entity = formats.prediction_tables(plan.pipeline)
    rows = [formats.prediction_row(prediction.value) for prediction in predictions]
    _check_table(by_event, formats.PREDICTION_KEY, rows, tables, findings)
    of_entities = [formats.prediction_by_entity_row(prediction.value) for prediction in predictions]
    rows = [row for row in of_entities if row is not None]
    _check_table(by_entity, formats.PREDICTION_BY_ENTITY_KEY, rows, tables, findings)
    return findings


def _latest(view: ViewPlan, records: Iterable[Published]) -> dict[str, tuple[Order, Published]]:
    """The newest vector of each entity: its order, and its record."""
    latest: dict[str, tuple[Order, Published]] = {}
    for record in records:
        part = record.value[view.name]
        if part is None:
            continue
        order = (part["epoch"], part["seq"], record.value["attempt"], part["as_of"])
        if part["entity"] not in latest or order > latest[part["entity"]][0]:
            latest[part["entity"]] = order, record
    return latest


def _check_table(
    name: str,
    key: tuple[str, ...],
    rows: Sequence[Mapping[str, Any]],
    tables: Mapping[str, StoredTable],
    findings: StoreFindings,
) -> None:
    table = tables.get(name, _NO_TABLE)
    expected = {tuple(row[column] for column in key): row for row in rows}
    stored = Counter(table.keys)
    findings.checked += len(table.keys)
    for one in expected.keys() ^ stored.keys():
        why = "was never published" if one in stored else "is missing"
        findings.mismatch(f"Cassandra {name}: {one} {why}")
    for row in table.rows:
        one = tuple(row[column] for column in key)
        published = expected.get(one)
        findings.compared += 1
        if published is None:
            findings.mismatch(f"Cassandra {name}: {one} was never published")
            continue
        wrong = [column for column, value in row.items() if column not in published or published[column] != value]
        wrong += [column for column in published if column not in row]
        if wrong:
            findings.mismatch(f"Cassandra {name}: {one} differs in {', '.join(wrong)}")
