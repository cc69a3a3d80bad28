"""The reference values, against values computed by hand and DuckDB's functions."""

from __future__ import annotations

import math
import random
from typing import Any

import duckdb
import pytest

from schemas.feature_types import FeatureValue
from streams.definitions.aggregates.lists import MAX_COUNTED_VALUES
from streams.definitions.aggregates.spec import SPECS, Operation
from streams.definitions.aggregates.window_contents import WindowContents
from streams.oracle.values import allowed_error, reference_value
from streams.plan.model import FeaturePlan

WINDOW_MS = 60_000


def window(
    operation: Operation, matching: list[tuple[int, Any]], *, current: Any = None, as_of: int | None = None
) -> WindowContents:
    """The window when the last of ``matching`` has just arrived, or else a ``current`` event that does not match."""
    feature = FeaturePlan(
        name="f",
        operation=operation,
        column="x",
        column_type="double",
        where=None,
        window_ms=WINDOW_MS,
        hop_ms=1_000,
        type="double",
        half_life_ms=1_000,
        k=2,
        buckets=(1.0, 5.0) if operation == "histogram" else None,
        q=0.5,
        bound=3,
        gap_ms=1_000,
    )
    newest = max((time for time, _ in matching), default=0)
    return WindowContents(
        feature=feature,
        as_of=newest if as_of is None else as_of,
        matching=tuple(matching),
        others=tuple(matching[:-1]),
        current=matching[-1][1] if matching and current is None else current,
    )


def value(operation: Operation, *matching: tuple[int, Any], as_of: int | None = None) -> FeatureValue:
    return reference_value(window(operation, list(matching), as_of=as_of))


@pytest.mark.parametrize("operation", list(SPECS))
def test_an_empty_window_has_the_value_of_its_spec(operation: Operation) -> None:
    empty = SPECS[operation].empty
    assert reference_value(window(operation, [])) == ([0, 0, 0] if operation == "histogram" else empty)
    assert allowed_error(window(operation, [])) == 0.0


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("sum", "sum"),
        ("mean", "avg"),
        ("variance", "var_samp"),
        ("std", "stddev_samp"),
        ("skewness", "skewness"),
        ("kurtosis", "kurtosis"),
        ("min", "min"),
        ("max", "max"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 50])
def test_numbers_agree_with_duckdb(operation: Operation, function: str, size: int) -> None:
    rng = random.Random(f"{operation}/{size}")
    values = [rng.lognormvariate(2, 1) for _ in range(size)]
    rows = ", ".join(f"({v!r}::DOUBLE)" for v in values)
    found = duckdb.sql(f"SELECT {function}(x) FROM (VALUES {rows}) AS t(x)").fetchone()
    assert found is not None
    assert value(operation, *enumerate(values)) == pytest.approx(found[0], rel=1e-9)


def test_equal_values_have_no_spread() -> None:
    same = [(i, 0.1) for i in range(7)]
    assert value("std", *same) == pytest.approx(0, abs=1e-15)
    for operation in ("zscore", "skewness", "kurtosis"):
        assert value(operation, *same) is None


def test_a_zscore_is_of_the_current_event() -> None:
    assert value("zscore", (1, 0.0), (2, 0.0), (3, 3.0)) == pytest.approx(2 / 3**0.5)
    assert value("zscore", (1, 3.0), (2, 0.0), (3, 0.0)) == pytest.approx(-1 / 3**0.5)


def test_of_equal_times_the_first_is_the_earlier_arrival_and_the_last_the_later() -> None:
    same = ((5, "a"), (5, "b"), (5, "c"))
    assert value("first", *same) == "a"
    assert value("last", *same) == "c"


def test_a_value_has_changed_if_the_latest_other_one_differs() -> None:
    assert value("changed", (1, "a"), (2, "b")) is True
    assert value("changed", (1, "b"), (2, "a"), (3, "a")) is False
    assert value("changed", (1, "a")) is None


def test_a_late_value_is_compared_with_the_latest_in_event_time() -> None:
    assert value("changed", (5, "a"), (9, "b"), (1, "b")) is False


def test_the_time_since_the_previous_event_leaves_out_the_current_event() -> None:
    assert value("time_since_previous", (1_000, 1), (3_500, 1)) == 2.5
    assert value("time_since_previous", (1_000, 1)) is None


def test_the_time_since_the_first_event_is_up_to_as_of() -> None:
    assert value("time_since_first", (4_000, 1), (1_000, 1), as_of=6_000) == 5.0


def test_a_rate_is_per_second_of_the_windows_length() -> None:
    assert value("rate", *((i, 1) for i in range(30))) == 0.5


def test_weights_are_halved_for_every_half_life() -> None:
    events = ((0, 8.0), (1_000, 4.0), (2_000, 2.0))
    assert value("decayed_count", *events) == 1.75
    assert value("decayed_sum", *events) == 2 + 2 + 2
    assert value("decayed_mean", *events) == pytest.approx(6 / 1.75)
    assert value("decayed_count", *events, as_of=3_000) == 0.875


def test_a_median_is_the_least_value_that_half_of_them_do_not_exceed() -> None:
    assert value("quantile", *enumerate([9.0, 1.0, 5.0])) == 5.0
    assert value("quantile", *enumerate([9.0, 1.0, 5.0, 2.0])) == 2.0


def test_a_frequency_is_of_the_current_value() -> None:
    assert value("frequency", (1, "a"), (2, "b"), (3, "a")) == 2
    assert reference_value(window("frequency", [(1, "a"), (2, "a")], current="b")) == 0


def test_a_frequency_beyond_the_bound_may_be_too_low_by_a_share_of_all_values() -> None:
    assert allowed_error(window("frequency", [(i, "abc"[i % 3]) for i in range(8)])) == 0
    assert allowed_error(window("frequency", [(i, "abcd"[i % 4]) for i in range(8)])) == 2


def test_sessions_are_cut_where_the_gap_is_exceeded() -> None:
    events = ((5_001, 1), (1_000, 1), (2_000, 1), (4_000, 1))
    assert value("session_count", *events) == 3
    assert value("session_length", *events) == 0.0
    assert value("session_length", *events, (5_000, 1)) == 1.001


def test_a_decayed_mean_is_right_if_the_weights_underflow() -> None:
    assert value("decayed_mean", (0, 3.0), as_of=10_000_000) == 3.0
    assert value("decayed_sum", (0, 3.0), as_of=10_000_000) == 0.0


def test_first_k_is_oldest_first_and_last_k_newest_first_with_ties_by_arrival() -> None:
    events = ((5, "a"), (9, "b"), (5, "c"), (9, "d"), (1, "e"))
    assert value("first_k", *events) == ["e", "a"]
    assert value("last_k", *events) == ["d", "b"]


def test_top_k_and_bottom_k_are_doubles_and_repeat_equal_values() -> None:
    events = ((1, 3), (2, 7), (3, 7), (4, -1))
    assert value("top_k", *events) == [7.0, 7.0]
    assert value("bottom_k", *events) == [-1.0, 3.0]


def test_of_equally_frequent_values_the_smaller_comes_first() -> None:
    assert value("most_frequent", (1, "b"), (2, "c"), (3, "a"), (4, "c")) == ["c", "a"]
    assert value("most_frequent", (1, True), (2, False)) == [False, True]


def test_the_most_frequent_are_exact_up_to_a_number_of_distinct_values() -> None:
    few = window("most_frequent", [(i, i % MAX_COUNTED_VALUES) for i in range(1_000)])
    many = window("most_frequent", [(i, i % (MAX_COUNTED_VALUES + 1)) for i in range(1_000)])
    assert (allowed_error(few), allowed_error(many)) == (0.0, math.inf)


def test_an_edge_belongs_to_the_bucket_above_it() -> None:
    assert value("histogram", *enumerate([0.9, 1.0, 1, 4.9, 5.0, 100])) == [1, 3, 2]


def test_fewer_than_k_values_give_a_shorter_list() -> None:
    for operation in ("first_k", "last_k", "top_k", "bottom_k", "most_frequent"):
        assert value(operation, (1, 2.0)) == [2.0]


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e-160, 1e160, 1e200])
def test_deviations_are_exact_also_where_their_squares_leave_a_double(scale: float) -> None:
    values = [(number, x * scale) for number, x in enumerate((2.0, 4.0, 9.0))]
    std = value("std", *values)
    assert isinstance(std, float)
    assert std == pytest.approx(scale * math.sqrt(13.0), rel=1e-12)
    assert allowed_error(window("std", values)) == pytest.approx(9e-9 * scale)


@pytest.mark.parametrize(("x", "expected"), [(1e154, pytest.approx(5e307)), (1e155, None), (1e200, None)])
def test_a_variance_that_no_double_can_hold_is_null_for_every_engine(x: float, expected: Any) -> None:
    values = [(0, 0.0), (1, x)]
    assert value("variance", *values) == expected
    assert math.isfinite(allowed_error(window("variance", values)))


def test_a_zscore_takes_a_spread_whose_square_is_no_double() -> None:
    assert value("zscore", (0, 1e200), (1, -1e200)) == pytest.approx(-math.sqrt(0.5))


@pytest.mark.parametrize("operation", ["skewness", "kurtosis"])
def test_a_shape_is_null_where_the_fourth_power_of_the_deviation_is_too_large(operation: Operation) -> None:
    values = [(number, x * 1e70) for number, x in enumerate((0.0, 0.5, 1.0, 2.0))]
    assert value(operation, *values) is not None
    assert value(operation, *values, (4, 1e71)) is None
    assert allowed_error(window(operation, [*values, (4, 1e71)])) == 0.0
