"""Scores in Cassandra: a row for each event and version, written again without a change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import OperationTimedOut
from cassandra.query import UNSET_VALUE

from backfill.scores import cassandra as module
from backfill.scores import rows as rows_module
from backfill.scores.cassandra import scores_table, upsert
from backfill.scores.manifest import ScoresManifest, load_scores
from penstock.errors import PenstockError
from penstock.settings import Settings
from tests.backfill.scores.world import World


class Cassandra:
    """The table: rows by key. The n-th part that is written fails, if ``fails_at`` says so."""

    def __init__(self, fails_at: int = 0, keyspaces: Sequence[str] = ("penstock",)) -> None:
        self.rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.statements: list[str] = []
        self.writes = 0
        self.is_open = False
        self._fails_at = fails_at
        self.metadata = SimpleNamespace(keyspaces=dict.fromkeys(keyspaces))

    def connect(self, _: object = None) -> Any:
        self.is_open = True
        return self

    def execute(self, statement: str) -> None:
        self.statements.append(statement)

    def prepare(self, statement: str) -> str:
        return statement

    def shutdown(self) -> None:
        self.is_open = False

    def insert(self, _session: object, _statement: str, rows: Iterable[list[Any]], *, concurrency: int) -> None:
        assert concurrency > 1
        table = scores_table("taps")
        for row in rows:
            values = dict(zip(table.columns, row, strict=True))
            self.rows[tuple(values[name] for name in table.key)] = values
        self.writes += 1
        if self.writes == self._fails_at:
            raise OperationTimedOut


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(rows_module, "ROWS_PER_PART", 1)
    return World(tmp_path)


def run(cassandra: Cassandra, folder: Path, manifest: ScoresManifest | None, monkeypatch: pytest.MonkeyPatch) -> int:
    assert manifest is not None
    monkeypatch.setattr(module, "execute_concurrent_with_args", cassandra.insert)
    connect: Any = cassandra.connect
    try:
        return upsert(folder, manifest, Settings().cassandra, connect, lambda: False)
    finally:
        assert not cassandra.is_open


def test_each_event_and_version_has_a_row(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cassandra, out = Cassandra(), tmp_path / "out"
    outcome = world.run(out)
    assert run(cassandra, out, outcome.manifest, monkeypatch) == len(cassandra.rows) == len(world.in_range())
    for one in world.in_range():
        source = one["source"]["partition"], one["source"]["offset"]
        row = cassandra.rows[one["event_id"], "taps", one["model_version"], world.policy.version, *source]
        assert (row["score"], row["decision"], row["outputs"]) == (one["score"], one["decision"], [])
        assert row["entity"] == (UNSET_VALUE if one["entity"] is None else one["entity"])
        assert row["error"] is UNSET_VALUE
    assert "CREATE TABLE IF NOT EXISTS" in cassandra.statements[0]


def test_versions_do_not_replace_each_other(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cassandra = Cassandra()
    for version in (1, 2):
        out = tmp_path / f"out-{version}"
        run(cassandra, out, world.run(out, version=version).manifest, monkeypatch)
    assert len(cassandra.rows) == 2 * len(world.in_range())


def test_after_a_failure_the_same_rows_are_written_and_what_is_written_is_not_asked_for_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, cassandra, out = Cassandra(), Cassandra(fails_at=2), tmp_path / "out"
    outcome = world.run(out)
    assert len(outcome.manifest.parts) > 1
    with pytest.raises(PenstockError, match="Cassandra does not take the scores: OperationTimedOut"):
        run(cassandra, out, outcome.manifest, monkeypatch)
    run(cassandra, out, load_scores(out), monkeypatch)
    assert cassandra.writes == len(outcome.manifest.parts) + 1
    assert run(cassandra, out, load_scores(out), monkeypatch) == 0
    world.run(tmp_path / "clean")
    run(clean, tmp_path / "clean", load_scores(tmp_path / "clean"), monkeypatch)
    assert cassandra.rows == clean.rows


def test_without_its_keyspace_nothing_is_written(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = world.run(tmp_path / "out").manifest
    with pytest.raises(PenstockError, match="Cassandra has no keyspace penstock"):
        run(Cassandra(keyspaces=()), tmp_path / "out", manifest, monkeypatch)
