"""A training set whose build was killed within calls to the filesystem, at seeded moments, has the bytes of another."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from backfill.training_sets import parts
from backfill.training_sets.build import build_training_set
from tests.backfill.training_sets.worlds import Event, Label, World
from tests.killed_process import contents, process

WORLD = World(
    [Event(f"e{n}", n, n, (n / 7, 1.0, None), card=f"c{n % 5}", timestamp=n, scored_at=n) for n in range(60)],
    [Label(f"e{n}", n + n % 20, n % 3 == 0) for n in range(60)] + [Label("end", 80, True)],
    {"horizon": 20, "absent": "negative"},
)


def build(folder: Path, at: int | None = None, *, served: bool) -> int:
    """A process that builds the set; returns the steps that it took."""
    inputs = WORLD.inputs(folder.with_name("backfill"), served=served)
    with process(at) as one:
        build_training_set(WORLD.project(), inputs, WORLD.request(served=served), folder, "512MB")
    return one.steps


@pytest.fixture(autouse=True)
def _several_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of at most 20 rows."""
    monkeypatch.setattr(parts.write_parts, "__defaults__", (20,))


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_killed_at_seeded_moments_and_run_again_it_has_the_bytes_of_a_clean_build(
    tmp_path: Path, seed: int, served: bool
) -> None:
    rng = random.Random(seed)
    steps = build(tmp_path / "clean", served=served)
    for _ in range(rng.randint(1, 3)):
        build(tmp_path / "killed", rng.randrange(steps), served=served)
    build(tmp_path / "killed", served=served)
    clean = contents(tmp_path / "clean")
    assert contents(tmp_path / "killed") == clean
    assert [*clean] == ["manifest.json", "part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
