"""The probe finds vectors that stand one event too early, and is quiet for right ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from backfill.training_sets.manifest import Probe
from backfill.training_sets.probe import weighted_auc, weighted_r2
from tests.backfill.training_sets.worlds import Event, Label, World

EVENTS, CARDS = 3_000, 40


def probe(folder: Path, shift: int, seed: int = 0, events: int = EVENTS, **declared: str) -> Probe:
    """Of events whose amount tells their label; each vector is that of the card's event ``shift`` events later."""
    rng = np.random.default_rng(7)
    amounts, cards = rng.normal(size=events + CARDS), np.arange(events) % CARDS
    truth = amounts[:events] + rng.normal(size=events) > 0
    given = [
        Event(f"e{n}", n, n, (float(amounts[n + shift * CARDS]), 1.0, None), card=f"c{cards[n]}", timestamp=n)
        for n in range(events)
    ]
    value = (lambda n: float(amounts[n])) if declared else (lambda n: bool(truth[n]))
    world = World(given, [Label(f"e{n}", n, value(n)) for n in range(events)], dict(declared))
    return world.build(folder / "set", probe=True, to_ms=10_000, seed=seed).manifest.leak_check.probe


@pytest.mark.parametrize("declared", [{}, {"value": "loss", "task": "regression"}])
def test_right_vectors_score_better_than_moved_ones(tmp_path: Path, declared: dict[str, str]) -> None:
    found = probe(tmp_path, 0, **declared)
    assert found.verdict == "passed"
    assert found.high is not None
    assert found.high < 0


@pytest.mark.parametrize("declared", [{}, {"value": "loss", "task": "regression"}])
def test_vectors_of_the_entitys_next_event_fail(tmp_path: Path, declared: dict[str, str]) -> None:
    found = probe(tmp_path, 1, **declared)
    assert found.verdict == "failed"
    assert found.low is not None
    assert found.low > 0


def test_too_few_rows_leave_the_probe_inconclusive(tmp_path: Path) -> None:
    found = probe(tmp_path, 0, events=100)
    assert found.verdict == "inconclusive"
    assert "fewer than 50 rows of each class" in str(found.reason)


def test_values_that_are_all_the_same_in_the_later_part_leave_the_probe_inconclusive(tmp_path: Path) -> None:
    given = [Event(f"e{n}", n, n, (float(n % 7), 1.0, None), card=f"c{n % 5}", timestamp=n) for n in range(1_000)]
    world = World(
        given,
        [Label(f"e{n}", n, float(n % 7) * (n < 500)) for n in range(1_000)],
        {"value": "loss", "task": "regression"},
    )
    found = world.build(tmp_path / "set", probe=True, to_ms=10_000).manifest.leak_check.probe
    assert (found.verdict, found.own) == ("inconclusive", None)
    assert "R² of the later part" in str(found.reason)


def test_another_seed_gives_another_interval_and_the_same_seed_the_same(tmp_path: Path) -> None:
    one, again, other = (probe(tmp_path / str(n), 0, seed) for n, seed in enumerate([1, 1, 2]))
    assert one == again
    assert one != other


def test_weighted_measures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    truth, scores = rng.integers(0, 2, 200).astype(float), rng.integers(0, 9, 200) / 9
    weights = rng.poisson(1, 200).astype(float)
    assert weighted_auc(truth, scores, weights) == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights))
    assert weighted_r2(truth, scores, weights) == pytest.approx(r2_score(truth, scores, sample_weight=weights))
