"""An archive that was killed within calls to the filesystem, at seeded moments, has the bytes of one that was not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sinks.archive.checking import check, repair
from sinks.archive.compaction import CLOSED_AFTER_MS, compact
from tests.killed_process import contents, process
from tests.sinks.archive.archive_helpers import HOUR, TOPIC, archive_all, folder, record
from tests.sinks.payments import T0

RECORDS = [record(n, timestamp=T0 + n // 4 * HOUR) for n in range(14)]
NOW = T0 + 5 * HOUR + CLOSED_AFTER_MS


def archive(path: Path, at: int | None = None) -> int:
    """A process that archives what is left and merges it; returns the steps that it took."""
    with process(at) as one:
        archive_all(folder(path), RECORDS, end=15)
        compact(folder(path), TOPIC, NOW)
    return one.steps


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_seeded_moments_and_run_again_it_has_the_bytes_of_a_clean_run(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    steps = archive(tmp_path / "clean")
    for _ in range(rng.randint(1, 4)):
        archive(tmp_path / "killed", rng.randrange(steps))
    archive(tmp_path / "killed")
    storage = folder(tmp_path / "killed")
    repair(storage, check(storage, grace_ms=0))
    assert check(storage, grace_ms=0).findings == []
    assert contents(tmp_path / "killed") == contents(tmp_path / "clean")
