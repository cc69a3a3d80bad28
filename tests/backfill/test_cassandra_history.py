"""The rows of a backfill in the history: those that the sink would write, whatever is interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from backfill import parts
from backfill.cassandra_history import Upserted, upsert_history
from backfill.manifest import load_manifest
from backfill.parquet import Backfill
from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError
from penstock.errors import PenstockError
from penstock.settings import Settings
from sinks.cassandra_rows import Row
from sinks.cassandra_tables import history_table
from sinks.emitted_vectors import EmittedVector
from sinks.store_interface import StoreUnavailable
from sinks.stores.cassandra import existing_store
from streams.plan.project import Project
from tests.backfills import write_backfill
from tests.sinks.payments import T0, encoded_features, features, payments, spending, trade

PROJECT = Project.of(payments(), Path("nothing is committed"))
SINK = existing_store(PROJECT, Settings())
TABLES = {table.name: table for table in (history_table(PROJECT.plan, view, 1) for view in PROJECT.plan.views)}
EPOCH = 0xA - 2**32
RECORDS = [
    features(
        number,
        spending=spending(f"c{number % 3}", number, T0 + number, amount_mean_1h=None if number % 2 else 0.1 * number),
        trade=None if number % 4 == 0 else trade(seq=number, as_of=T0 + number, is_new=bool(number % 2)),
    )
    for number in range(10)
]


class History:
    """The tables: rows by key. The writes of these numbers are not acknowledged; what they wrote stays."""

    place = "here:9042 k"

    def __init__(self, *fails_at: int, then: Callable[[], None] = lambda: None) -> None:
        self.rows: dict[tuple[Any, ...], Row] = {}
        self.writes = 0
        self._fails_at, self._then = fails_at, then

    def row_of(self, vector: EmittedVector) -> Row:
        return SINK.row_of(vector)

    def write(self, records: Sequence[Sequence[Row]]) -> Future[Any]:
        for row in records[0]:
            self.rows[row.table, row.values[:-1]] = row
        self.writes += 1
        self._then()
        done: Future[Any] = Future()
        if self.writes in self._fails_at:
            done.set_exception(StoreUnavailable("Cassandra does not take writes", where="here:9042"))
        else:
            done.set_result({})
        return done


@pytest.fixture
def backfill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backfill:
    """Ten events in five parts."""
    monkeypatch.setattr(parts, "ROWS_PER_PART", 2)
    found = write_backfill(payments(), tmp_path, RECORDS)
    assert len(found.manifest.parts) == 5
    return found


def upsert(backfill: Backfill, history: History, stop: threading.Event | None = None, max_per_s: int = 0) -> Upserted:
    manifest = load_manifest(backfill.folder) or backfill.manifest
    with ProgressBar(Console(file=StringIO())) as progress:
        return upsert_history(
            backfill.folder,
            manifest,
            PROJECT.plan,
            history,
            progress,
            stop or threading.Event(),
            max_per_s=max_per_s,
        )


def of_the_sink(records: Sequence[dict[str, Any]]) -> dict[tuple[Any, ...], Row]:
    """The rows that the sink writes of the served records, with the backfill's epoch in place of theirs."""
    epoch = EPOCH.to_bytes(8, "big", signed=True)
    found = {}
    for rows in SINK.decode(PROJECT.plan.features_topic, [encoded_features("payments", one) for one in records]):
        assert isinstance(rows, list)
        for row in rows:
            place = list(TABLES[row.table].columns).index("epoch")
            values = (*row.values[:place], epoch, *row.values[place + 1 :])
            found[row.table, values[:-1]] = row._replace(values=values)
    return found


def test_each_vector_becomes_the_row_that_the_sink_writes_of_it_under_the_backfills_own_epoch(
    backfill: Backfill,
) -> None:
    history = History()
    assert upsert(backfill, history) == Upserted(17, 0)
    assert history.rows == of_the_sink(RECORDS)


def test_after_a_failure_the_same_rows_are_there_and_whole_parts_are_not_written_again(backfill: Backfill) -> None:
    history = History(3)
    with pytest.raises(PenstockError, match="does not take writes") as refused:
        upsert(backfill, history)
    assert refused.value.next == "penstock status; then the same command again"
    left = sum(part.rows for part in backfill.manifest.parts[2:])
    assert history.writes == 3
    upsert(backfill, history)
    assert (history.writes, left) == (6, 6)
    assert history.rows == of_the_sink(RECORDS)
    assert upsert(backfill, history) == Upserted(0, 0)
    elsewhere = History()
    elsewhere.place = "there:9042 k"
    assert upsert(backfill, elsewhere) == Upserted(17, 0)


def test_a_stop_ends_it_before_the_next_rows_and_the_same_call_continues(backfill: Backfill) -> None:
    stop = threading.Event()
    history = History(then=stop.set)
    with pytest.raises(StoppedError):
        upsert(backfill, history, stop)
    assert history.writes == 1
    upsert(backfill, history)
    assert history.rows == of_the_sink(RECORDS)


def test_a_rate_limits_how_many_events_a_write_has_and_waits_between_them(backfill: Backfill) -> None:
    waited = []

    class Impatient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0)
            return False

    history, stop = History(), Impatient()
    upsert(backfill, history, stop, max_per_s=1)
    assert history.writes == len(waited) == 10
    assert all(0 < seconds <= number for number, seconds in enumerate(waited, 1))


def test_a_vector_that_no_row_can_hold_is_left_out_and_counted(tmp_path: Path) -> None:
    long = features(0, spending=spending("c" * 65_001), trade=trade())
    assert upsert(write_backfill(payments(), tmp_path, [long]), History()) == Upserted(1, 1)


def test_only_the_views_of_the_backfill_have_rows(tmp_path: Path) -> None:
    history = History()
    upsert(write_backfill(payments(), tmp_path, RECORDS, views=("trade",)), history)
    assert {row.table for row in history.rows.values()} == {"features_payments_trade_v3"}


def test_a_damaged_part_is_an_error_that_names_it(backfill: Backfill) -> None:
    (backfill.folder / backfill.manifest.parts[1].file).write_bytes(b"no Parquet")
    history = History()
    with pytest.raises(PenstockError, match="missing or damaged") as refused:
        upsert(backfill, history)
    assert str(refused.value.where).endswith(backfill.manifest.parts[1].file)
    assert history.writes == 1
