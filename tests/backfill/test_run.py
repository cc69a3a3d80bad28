"""The end of a backfill: every row that the job wrote is read before it counts as complete."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from rich.console import Console

from backfill import run
from backfill.progress_bar import ProgressBar
from penstock.errors import PenstockError
from tests.backfill.test_manifest import manifest


class HeldUp:
    """Of twelve offsets the last four come after a transaction that is still open."""

    def __init__(self, _: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def log_ends(self, _: str) -> dict[int, int]:
        return {0: 12}

    def end_offsets(self, _: str) -> dict[int, int]:
        return {0: 8}


def test_rows_after_an_open_transaction_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[Mapping[int, int]] = []

    def read_to(ends: Mapping[int, int], _timeout_s: float) -> Iterator[list[Any]]:
        wanted.append(ends)
        return iter(())

    monkeypatch.setattr(run, "Lag", HeldUp)
    monkeypatch.setattr("backfill.scratch.has_all_records", lambda *_: True)
    records: Any = SimpleNamespace(done=0, read_to=read_to)
    parts: Any = SimpleNamespace(finish=lambda: None)
    settings: Any = SimpleNamespace(kafka=SimpleNamespace(access=None))
    with ProgressBar(Console(file=StringIO())) as progress:
        run._write_rest(records, parts, settings, manifest(), progress, threading.Event())
    assert wanted == [{0: 12}]


def test_a_folder_whose_first_manifest_was_half_written_can_be_used_again(tmp_path: Path) -> None:
    for name in (".lock", ".manifest.json"):
        (tmp_path / name).write_text('{"form')
    run._require_empty(tmp_path)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(PenstockError, match="not of a backfill"):
        run._require_empty(tmp_path)


@pytest.mark.parametrize(
    ("began", "now", "says"),
    [(None, "a", "began from Kafka"), ("s3://bucket", None, "began from the archive s3://bucket")],
)
def test_an_unfinished_backfill_is_not_continued_from_another_source(
    began: str | None, now: str | None, says: str, tmp_path: Path
) -> None:
    request = run.BackfillRequest(1_000, 2_000, (), archive=now)
    run._require_same_source(manifest(archive=now), request, tmp_path)
    with pytest.raises(PenstockError, match=says):
        run._require_same_source(manifest(archive=began), request, tmp_path)
