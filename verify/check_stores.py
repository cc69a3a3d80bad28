"""Checks the stores against the topics: Redis (latest vectors) and Cassandra (all vectors and predictions)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from penstock.counts import counted
from penstock.kafka.reading import Record
from streams.plan.model import PipelinePlan, ViewPlan
from verify import store_formats as formats
from verify.dead_letters import read_letter
from verify.findings import Findings
from verify.published import Position, Published
from verify.run_data import BackfillData, StoredTable

Order = tuple[int, int, int, int]
_NO_TABLE = StoredTable((), (), ())

_REFUSED = ("penstock.sink.cassandra", "penstock.Undecodable")
# What docs/reference/dead-letters.md says of keys and rows; a row that is surely shorter was not refused for its size.
_MAX_KEY_BYTES, _ALWAYS_TAKEN_BYTES, _CELL_BYTES = 65_000, 15 * 2**20, 16


@dataclass
class StoreFindings(Findings):
    """Result of the check of one store: ``checked`` vectors or keys of rows, of which ``compared`` rows as a whole.

    ``refused`` counts records that have a dead letter in place of their rows. ``unchecked`` says in words what could
    not be checked.
    """

    checked: int = 0
    compared: int = 0
    refused: int = 0
    unchecked: list[str] = field(default_factory=list)


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
    feature_letters: Iterable[Record] = (),
    prediction_letters: Iterable[Record] = (),
    backfills: Sequence[BackfillData] = (),
    keyspace: str = "",
) -> StoreFindings:
    """Compare the key of every row with the published records, and every column of the rows that were read.

    The rows of a record may be missing if the sink has written a dead letter of it, and one of them is a row that
    Cassandra does not take. The letters are those of the features topic and of the predictions topic.

    A history row with a negative epoch is a backfill's, and is compared with it. All of a backfill's rows must be there
    if its manifest says that all went to this keyspace. Rows of backfills that are not given cannot be checked.
    """
    findings = StoreFindings()
    rows: dict[str, list[_Row]] = {formats.history_table(plan, view): [] for view in plan.views}
    by_event, by_entity = formats.prediction_tables(plan.pipeline)
    rows |= {by_event: [], by_entity: []}
    keys: dict[str, tuple[str, ...]] = dict.fromkeys(rows, formats.HISTORY_KEY)
    keys |= {by_event: formats.PREDICTION_KEY, by_entity: formats.PREDICTION_BY_ENTITY_KEY}
    of_features = _rows_of_features(plan, records)
    of_predictions = (
        (one, {by_event: formats.prediction_row(one.value), by_entity: formats.prediction_by_entity_row(one.value)})
        for one in predictions
    )
    for published, letters in ((of_features, feature_letters), (of_predictions, prediction_letters)):
        refused = _refused_by_the_sink(letters)
        for record, of_record in published:
            found = {name: row for name, row in of_record.items() if row is not None}
            is_refused = Position(record.partition, record.offset) in refused and any(
                _is_too_large(row, keys[name]) for name, row in found.items()
            )
            findings.refused += is_refused
            for name, row in found.items():
                rows[name].append(_Row(row, is_refused))
    for name, of_backfill in _rows_of_backfills(plan, backfills, keyspace):
        rows[name].append(of_backfill)
    tables = _without_other_backfills(tables, {backfill.epoch for backfill in backfills}, findings)
    for name, of_table in rows.items():
        _check_table(name, keys[name], of_table, tables, findings)
    return findings


class _Row(NamedTuple):
    """A published row, and whether it may be missing."""

    values: Mapping[str, Any]
    may_be_missing: bool


def _rows_of_features(
    plan: PipelinePlan, records: Iterable[Published]
) -> Iterator[tuple[Published, dict[str, Mapping[str, Any] | None]]]:
    """Each feature record with its row in each history table."""
    names = [(formats.history_table(plan, view), view.name) for view in plan.views]
    for record in records:
        parts = ((name, record.value[view]) for name, view in names)
        yield record, {name: part and formats.history_row(part, record.value) for name, part in parts}


def _rows_of_backfills(
    plan: PipelinePlan, backfills: Iterable[BackfillData], keyspace: str
) -> Iterator[tuple[str, _Row]]:
    """Each vector of the backfills as a row, with its table; a view that is missing is a finding elsewhere."""
    for backfill in backfills:
        may_be_missing = keyspace not in backfill.keyspaces
        for view in plan.views:
            names = ["entity", "seq", "as_of", "late", *(feature.name for feature in view.outputs)]
            wanted = ["event_id", *(f"{view.name}.{name}" for name in names)]
            if not set(wanted) <= set(backfill.rows.column_names):
                continue
            columns = [_values(backfill.rows[column]) for column in wanted]
            for event_id, *values in zip(*columns, strict=True):
                part = dict(zip(names, values, strict=True)) | {"epoch": backfill.epoch}
                if part["entity"] is not None:
                    row = formats.history_row(part, {"attempt": 0, "event_id": event_id})
                    is_refused = may_be_missing or _is_too_large(row, formats.HISTORY_KEY)
                    yield formats.history_table(plan, view), _Row(row, is_refused)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column, times as epoch milliseconds."""
    values: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values


def _without_other_backfills(
    tables: Mapping[str, StoredTable], epochs: AbstractSet[int], findings: StoreFindings
) -> dict[str, StoredTable]:
    """The tables without the rows of backfills with another epoch than these."""
    found = {}
    for name, table in tables.items():
        if table.key != formats.HISTORY_KEY:
            found[name] = table
            continue
        place = table.key.index("epoch")
        keys = [key for key in table.keys if key[place] >= 0 or key[place] in epochs]
        rows = [row for row in table.rows if row["epoch"] >= 0 or row["epoch"] in epochs]
        found[name] = StoredTable(table.key, keys, rows)
        if unknown := len(table.keys) - len(keys):
            findings.unchecked.append(
                f"{counted(unknown, 'row')} of backfills in Cassandra's {name}: for them, give --backfill their folders"
            )
    return found


def _refused_by_the_sink(letters: Iterable[Record]) -> set[Position]:
    """The places of the records of which the Cassandra sink has written a dead letter."""
    found = set()
    for record in letters:
        with suppress(ValueError):  # the checks of the scorer's and of the job's letters report it
            letter = read_letter(record)
            if (letter.component, letter.reason) == _REFUSED:
                found.add(letter.position)
    return found


def _is_too_large(row: Mapping[str, Any], key: tuple[str, ...]) -> bool:
    """Whether Cassandra does not take the row: for its size, or for a text in its key."""
    texts = [len(row[column].encode()) for column in key if isinstance(row[column], str)]
    is_empty = key == formats.PREDICTION_KEY and not row[key[0]]  # of several columns, one may be empty
    return is_empty or max(texts) > _MAX_KEY_BYTES or _least_bytes(row) > _ALWAYS_TAKEN_BYTES


def _least_bytes(value: Any) -> int:
    """No more than what a value takes in a message to Cassandra, and a few bytes for each cell and element."""
    if isinstance(value, str | bytes):
        return _CELL_BYTES + len(value.encode() if isinstance(value, str) else value)
    if isinstance(value, Mapping):
        return sum(map(_least_bytes, value.values()))
    return sum(map(_least_bytes, value)) if isinstance(value, list | tuple) else _CELL_BYTES


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
    rows: Sequence[_Row],
    tables: Mapping[str, StoredTable],
    findings: StoreFindings,
) -> None:
    table = tables.get(name, _NO_TABLE)
    expected = {tuple(row.values[column] for column in key): row.values for row in rows}
    stored = Counter(table.keys)
    excused = {tuple(row.values[column] for column in key) for row in rows if row.may_be_missing} - stored.keys()
    findings.checked += len(table.keys)
    for one in (expected.keys() ^ stored.keys()) - excused:
        why = "was never published" if one in stored else "is missing"
        findings.mismatch(f"Cassandra {name}: {one} {why}")
    for row in table.rows:
        one = tuple(row[column] for column in key)
        published = expected.get(one)
        findings.compared += 1
        if published is None:
            findings.mismatch(f"Cassandra {name}: {one} was never published")
            continue
        if row != published:
            findings.mismatch(f"Cassandra {name}: {one} differs in {', '.join(_differing(row, published))}")


def _differing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The names of the values that differ or are only on one side."""
    wrong = []
    for name in sorted(found.keys() | expected.keys()):
        one, other = found.get(name, ...), expected.get(name, ...)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            wrong += [f"{name}.{inner}" for inner in _differing(one, other)]
        elif one != other:
            wrong.append(name)
    return wrong
