"""Values by key that wait in a file: all of them are found again, in bounded memory, and nothing is left behind."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.scores import spilled
from backfill.scores.spilled import Spilled
from penstock.errors import PenstockError

VALUES = st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text() | st.lists(st.floats(0, 1))


@given(
    pairs=st.lists(st.tuples(st.text(max_size=3) | st.just("a\0b"), VALUES), max_size=30),
    asked=st.lists(st.text(max_size=3) | st.just("a\0b"), max_size=10),
)
def test_the_values_of_a_key_are_those_that_were_added_in_their_order(pairs: list[Any], asked: list[str]) -> None:
    expected = defaultdict(list)
    for key, value in pairs:
        expected[key].append(value)
    keys = [*asked, *(key for key, _ in pairs[::2])]
    with TemporaryDirectory() as folder, Spilled[str](Path(folder)) as kept:
        kept.add(pairs[:10])
        kept.add(pairs[10:])
        assert kept.of(keys) == {key: expected[key] for key in keys if key in expected}
        assert not [*Path(folder).iterdir()]


def test_a_number_is_no_text_and_a_float_keeps_its_last_bit(tmp_path: Path) -> None:
    with Spilled[int](tmp_path) as kept:
        kept.add([(2**62, [0.1 + 0.2, float("inf"), -0.0, True, 1])])
        (found,) = kept.of([2**62, 5])[2**62]
        assert list(map(repr, found)) == ["0.30000000000000004", "inf", "-0.0", "True", "1"]


def test_memory_does_not_grow_with_the_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilled, "CACHE_KB", 100)
    monkeypatch.setattr(spilled, "_AT_ONCE", 1_000)
    with Spilled[str](tmp_path) as kept:
        tracemalloc.start()
        kept.add((f"event {number * 7_919 % 50_000}", [number, "x" * 100]) for number in range(50_000))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_000_000, "of Python"
        assert kept._sql.execute("PRAGMA cache_size").fetchone() == (-100,)
        assert kept.of(["event 7919"]) == {"event 7919": [[1, "x" * 100]]}


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    with Spilled[int](tmp_path) as kept:
        kept._sql.execute("PRAGMA max_page_count = 10")
        with pytest.raises(PenstockError, match="cannot wait on the disk: database or disk is full") as full:
            kept.add((number, "x" * 1_000) for number in range(1_000))
        assert full.value.where == str(tmp_path)


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="cannot wait on the disk"):
        Spilled[int](tmp_path / "none")


def test_the_error_of_the_reader_is_not_taken_for_one_of_the_disk(tmp_path: Path) -> None:
    def broken() -> Any:
        yield 1, "a"
        raise PenstockError("Kafka is away")

    with Spilled[int](tmp_path) as kept, pytest.raises(PenstockError, match="Kafka is away"):
        kept.add(broken())
    with pytest.raises(sqlite3.ProgrammingError):
        kept._sql.execute("SELECT 1")
