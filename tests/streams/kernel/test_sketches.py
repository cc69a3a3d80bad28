"""Aggregates with bounded state, beyond their bound: the stated errors, and the same bits in every run."""

from __future__ import annotations

import base64
import bisect
import random
from typing import Any

import datasketches
import pytest

from streams.inprocess.kernel import Kernel
from streams.oracle.reference import Timed, in_window, vector
from streams.plan.model import PipelinePlan
from tests.plans import make_plan, view_of
from tests.streams.kernel.test_semantics import FIELDS, LIFETIME

WINDOW = {"window_ms": 60_000, "hop_ms": 1_000}


def quantile(q: float, **window: int) -> dict[str, Any]:
    kind = {"operation": "quantile", "column": "x", "column_type": "double", "where": None, "type": "double"}
    return kind | WINDOW | window | {"name": f"p{100 * q:g}", "q": q}


def distinct(bound: int) -> dict[str, Any]:
    kind = {"operation": "distinct", "column": "n", "column_type": "long", "where": None, "type": "long"}
    return kind | WINDOW | {"name": "d", "bound": bound}


def plan(*features: dict[str, Any]) -> dict[str, Any]:
    return make_plan(fields=FIELDS, views=[view_of(*features)]).model_dump(mode="json")


def events(values: list[float], step_ms: int = 20, late_ms: int = 0) -> list[dict[str, Any]]:
    """An event every ``step_ms``, every seventh ``late_ms`` late; two events in a row share their number ``n``."""
    return [
        dict.fromkeys(("j", "s", "b", "w0", "w1"))
        | {"id": f"{i}", "time": 10_000 + i * step_ms - (i % 7 == 0) * late_ms, "k": "a", "x": value, "n": i // 2}
        for i, value in enumerate(values)
    ]


def features(kernel: Kernel, plan: dict[str, Any], rows: list[dict[str, Any]], every: int = 0) -> list[dict[str, Any]]:
    return [answer["v"]["features"] for answer in kernel.features(plan, rows, every) if answer is not None]


def values(seed: int, count: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(3, 2) for _ in range(count)]


def test_a_quantile_has_the_rank_of_the_decimal_that_was_written(kernel: Kernel) -> None:
    """For every share of two decimals, and up to 200 values, in the kernel and in the oracle."""
    lifetime = {"window_ms": LIFETIME.size, "hop_ms": LIFETIME.hop}
    quantiles = plan(*(quantile(percent / 100, **lifetime) for percent in range(1, 100)))
    rows = events([float(n) for n in range(1, 201)], step_ms=1)
    (view,) = PipelinePlan.model_validate(quantiles).views
    history = [Timed(row["time"], row) for row in rows]
    for n, answer in enumerate(features(kernel, quantiles, rows), 1):
        expected = {f"p{percent}": float(-(-percent * n // 100)) for percent in range(1, 100)}
        assert answer == expected
        if n % 25 == 0:
            assert vector(view, history[:n]).features == expected


@pytest.mark.parametrize("window", [WINDOW, {"window_ms": LIFETIME.size, "hop_ms": LIFETIME.hop}])
def test_a_quantile_of_many_values_is_one_of_them_with_a_rank_within_the_sketchs_error(
    kernel: Kernel, window: dict[str, int]
) -> None:
    rows, quantiles = events(values(1, 6_000)), {"p5": 0.05, "p50": 0.5, "p99": 0.99}
    answers = features(kernel, plan(*(quantile(q, **window) for q in quantiles.values())), rows)
    for number in range(500, 6_000, 500):
        newest = rows[number]["time"]
        in_order = sorted(row["x"] for row in rows[: number + 1] if in_window(row["time"], newest, **window))
        for name, q in quantiles.items():
            found = answers[number][name]
            low, high = bisect.bisect_left(in_order, found), bisect.bisect_right(in_order, found)
            assert high > low
            assert low / len(in_order) - 0.027 <= q <= high / len(in_order) + 0.027


@pytest.mark.parametrize("late_ms", [0, 4_000])
@pytest.mark.parametrize("every", [1, 37])
def test_a_restored_quantile_gives_the_same_bits(kernel: Kernel, late_ms: int, every: int) -> None:
    rows, quantiles = events(values(2, 2_500), step_ms=5, late_ms=late_ms), plan(quantile(0.5), quantile(0.95))
    assert features(kernel, quantiles, rows, every) == features(kernel, quantiles, rows)


def test_another_process_gives_the_same_bits(kernel: Kernel) -> None:
    rows, sketches = events(values(3, 2_500)), plan(quantile(0.5), distinct(100))
    other = Kernel()
    try:
        # Another pipeline in the same process must not change the result.
        features(other, plan(quantile(0.5)), events(values(4, 1_000)))
        assert features(other, sketches, rows) == features(kernel, sketches, rows)
    finally:
        other.close()


def test_queries_of_a_sketch_do_not_change_its_later_results(kernel: Kernel) -> None:
    rows = events(values(5, 2_000))
    alone, beside = plan(quantile(0.5)), plan(quantile(0.5), quantile(0.01), quantile(0.99))
    assert [f["p50"] for f in features(kernel, alone, rows)] == [f["p50"] for f in features(kernel, beside, rows)]


def test_distinct_values_are_counted_exactly_to_the_bound_and_estimated_beyond(kernel: Kernel) -> None:
    rows = events([0.0] * 5_000, step_ms=10)
    found = [f["d"] for f in features(kernel, plan(distinct(1_000)), rows)]
    assert found[:2_000] == [i // 2 + 1 for i in range(2_000)]
    assert all(abs(d - (i // 2 + 1)) <= 0.08 * (i // 2 + 1) for i, d in enumerate(found))
    assert found[-1] != 2_500 or found[-3] != 2_499


def test_distinct_values_are_exact_again_after_enough_of_them_have_left_the_window(kernel: Kernel) -> None:
    rows = events([0.0] * 600, step_ms=10)
    rows.append(rows[-1] | {"id": "later", "time": rows[-1]["time"] + 58_000})
    assert features(kernel, plan(distinct(200)), rows)[-1]["d"] == len({r["n"] for r in rows if r["time"] >= 14_000})


@pytest.mark.parametrize("every", [0, 50])
def test_a_frequency_beyond_its_bound_is_too_low_by_a_bounded_share_and_never_too_high(
    kernel: Kernel, every: int
) -> None:
    rng = random.Random(6)
    kind = {"operation": "frequency", "column": "n", "column_type": "long", "where": None, "type": "long"}
    frequency = plan(kind | WINDOW | {"name": "f", "bound": 20})
    rows = [row | {"n": int(rng.paretovariate(0.6)) % 1_000} for row in events([0.0] * 3_000)]
    found = features(kernel, frequency, rows, every)
    exact = 0
    for number in range(0, 3_000, 41):
        newest = rows[number]
        window = [row["n"] for row in rows[: number + 1] if in_window(row["time"], newest["time"], **WINDOW)]
        too_low_by = window.count(newest["n"]) - found[number]["f"]
        assert 0 <= too_low_by <= len(window) / 21
        exact += too_low_by == 0
    assert exact < 70


def session(what: str, **window: int) -> dict[str, Any]:
    kind = {"operation": f"session_{what}", "column": None, "column_type": None, "where": None, "gap_ms": 10}
    return kind | WINDOW | window | {"name": what, "type": "long" if what == "count" else "double"}


def test_thousands_of_sessions_in_one_tile_are_counted_and_only_the_newest_thousand_can_change(kernel: Kernel) -> None:
    lifetime = {"window_ms": LIFETIME.size, "hop_ms": LIFETIME.hop}
    sessions = plan(session("count", **lifetime), session("length", **lifetime))
    rows = events([0.0] * 1_500)
    joins, comes_too_late = rows[-500]["time"] + 10, rows[200]["time"] + 10
    rows += [rows[-1] | {"id": f"late{i}", "time": time} for i, time in enumerate((joins, comes_too_late, 0))]
    found = features(kernel, sessions, rows, every=100)
    assert [f["count"] for f in found[:1_500]] == list(range(1, 1_501))
    assert [(f["count"], f["length"]) for f in found[1_500:]] == [(1_499, 0.0)] * 3


def test_the_python_library_reads_a_quantile_sketch(kernel: Kernel) -> None:
    rows = events(values(8, 20_000))
    (written,) = kernel.request({"sketches": {"plan": plan(quantile(0.5)), "rows": rows}})
    sketch = datasketches.kll_doubles_sketch.deserialize(base64.b64decode(written))
    lifetime = quantile(0.9, window_ms=LIFETIME.size, hop_ms=LIFETIME.hop)
    assert (sketch.n, sketch.k) == (20_000, 200)
    assert sketch.get_quantile(0.9, inclusive=True) == pytest.approx(sorted(r["x"] for r in rows)[18_000], rel=0.2)
    # KLL's coin tosses also depend on the events' times; a sketch of few values has tossed no coins.
    few = rows[:150]
    (written,) = kernel.request({"sketches": {"plan": plan(lifetime), "rows": few}})
    sketch = datasketches.kll_doubles_sketch.deserialize(base64.b64decode(written))
    assert sketch.get_quantile(0.9, inclusive=True) == features(kernel, plan(lifetime), few)[-1]["p90"]


@pytest.mark.parametrize("count", [10, 300, 20_000])
def test_the_python_library_reads_a_sketch_of_distinct_values(kernel: Kernel, count: int) -> None:
    rows = events([0.0] * count, step_ms=1)
    (written,) = kernel.request({"sketches": {"plan": plan(distinct(1)), "rows": rows}})
    sketch = datasketches.hll_sketch.deserialize(base64.b64decode(written))
    found = features(kernel, plan(distinct(1) | {"window_ms": LIFETIME.size, "hop_ms": LIFETIME.hop}), rows)[-1]["d"]
    assert round(sketch.get_estimate()) == found
