"""The audit slice is uniform, sticky and independent of others, and its counts are the regret."""

from __future__ import annotations

import hashlib
import itertools
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scoring.audit import AuditCounts, in_slice, positions
from scoring.cascade import upper_bound

IDS = [f"payment-{number}" for number in range(50_000)]
UUIDS = [str(uuid.UUID(int=number)) for number in range(50_000)]


def test_a_position_is_the_beginning_of_a_hash() -> None:
    for each in ("", "a", "payment-1", "Größe"):
        digest = hashlib.sha256(b"salt\x1f" + each.encode()).digest()
        (found,) = positions("salt", [each])
        assert found == (int.from_bytes(digest, "big") >> 203) / 2**53


@pytest.mark.parametrize("ids", [IDS, UUIDS])
@pytest.mark.parametrize("salt", ["audit", "1", "exploration"])
def test_positions_are_uniform(salt: str, ids: list[str]) -> None:
    counts = np.histogram(positions(salt, ids), bins=200, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize(("one", "other"), itertools.combinations(["audit", "audit2", "exploration"], 2))
def test_positions_of_two_salts_are_independent(one: str, other: str) -> None:
    table = np.histogram2d(positions(one, IDS), positions(other, IDS), bins=10, range=[(0, 1), (0, 1)])[0]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_an_id_is_in_the_slice_whatever_comes_with_it() -> None:
    whole = in_slice("audit", IDS, 0.1)
    assert np.array_equal(whole[::-1], in_slice("audit", IDS[::-1], 0.1))
    assert [in_slice("audit", [each], 0.1)[0] for each in IDS[:100]] == whole[:100].tolist()


@given(shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_smaller_slice_is_in_the_larger_one(shares: tuple[float, float]) -> None:
    small, large = (in_slice("audit", IDS[:500], share) for share in sorted(shares))
    assert not (small & ~large).any()


def test_all_or_none_may_be_in_the_slice() -> None:
    assert in_slice("audit", IDS, 1.0).all()
    assert not in_slice("audit", IDS, 0.0).any()
    assert in_slice("audit", IDS).sum() == pytest.approx(500, abs=90)
    assert in_slice("audit", []).tolist() == []


def test_decisions_that_differ_are_counted() -> None:
    counts = AuditCounts.of(np.array([0.1, 0.2, 0.5, 0.9]), np.array([0.2, 0.6, 0.4, 0.8]), 0.5)
    assert (counts.audited, counts.differing, counts.labelled) == (4, 2, 0)
    assert counts.bound(0.05) == upper_bound(2, 4, 0.05)


def test_a_score_at_the_threshold_is_a_positive_decision() -> None:
    assert AuditCounts.of(np.array([0.5, 0.9]), np.array([0.9, 0.5]), 0.5).differing == 0


@pytest.mark.parametrize(
    ("fast", "strong", "label", "positives", "negatives"),
    [
        (0.9, 0.1, 0.0, 1, 0),
        (0.1, 0.9, 1.0, 0, 1),
        (0.1, 0.9, 0.0, -1, 0),
        (0.9, 0.1, 1.0, 0, -1),
        (0.9, 0.9, 0.0, 0, 0),
        (0.1, 0.1, 1.0, 0, 0),
    ],
)
def test_wrong_decisions_of_the_fast_model_count_and_those_of_the_strong_one_count_against(
    fast: float, strong: float, label: float, positives: int, negatives: int
) -> None:
    counts = AuditCounts.of(np.array([fast, fast]), np.array([strong, strong]), 0.5, np.array([label, np.nan]))
    assert (counts.audited, counts.labelled) == (2, 1)
    assert (counts.extra_false_positives, counts.extra_false_negatives) == (positives, negatives)


def test_without_audited_events_there_is_no_certainty() -> None:
    assert AuditCounts().bound() == 1.0
