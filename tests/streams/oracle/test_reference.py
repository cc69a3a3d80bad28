"""The oracle of windows, against cases computed by hand."""

from __future__ import annotations

import pytest

from streams.oracle.reference import Timed, accept_events, agrees, in_window, tolerance, vector, vectors
from streams.plan.model import FeaturePlan, ViewPlan

MINUTE = 60_000


def feature(operation: str, column: str | None = "x", *, where: str | None = None, window: int = MINUTE) -> FeaturePlan:
    return FeaturePlan.model_validate(
        {
            "name": operation,
            "operation": operation,
            "column": column,
            "column_type": "double" if column else None,
            "where": where,
            "window_ms": window,
            "hop_ms": 1_000,
            "type": "long" if operation in ("count", "approx_distinct") else "double",
        }
    )


def view(*features: FeaturePlan) -> ViewPlan:
    return ViewPlan(name="v", version=1, entity="e", key="k", key_type="string", hash="", features=features)


def rows(*values: tuple[int, float | None]) -> list[Timed]:
    return [Timed(time, {"k": "a", "x": x, "big": None if x is None else x > 5}) for time, x in values]


def test_a_window_has_its_oldest_tile_whole_but_never_covers_more_than_its_length() -> None:
    assert in_window(1_000, 60_999, MINUTE, 1_000)
    assert not in_window(999, 60_999, MINUTE, 1_000)
    assert not in_window(1_999, 61_000, MINUTE, 1_000)


def test_windows_of_negative_tile_numbers_are_as_long_as_others() -> None:
    assert in_window(0, 30_000, MINUTE, 1_000)


def test_the_current_event_counts() -> None:
    assert vector(view(feature("count", None)), rows((5, 1.0))).features == {"count": 1}


def test_all_aggregates_but_the_count_of_rows_skip_nulls() -> None:
    history = rows((1, None), (2, 3.0), (3, None))
    assert vector(view(feature("count", None)), history).features["count"] == 3
    assert vector(view(feature("count", "x")), history).features["count"] == 1
    assert vector(view(feature("mean")), history).features["mean"] == 3.0


@pytest.mark.parametrize("operation", ["sum", "mean", "min", "max", "std", "last", "time_since_last"])
def test_an_empty_window_is_null(operation: str) -> None:
    assert vector(view(feature(operation)), rows((1, None))).features[operation] is None


@pytest.mark.parametrize("operation", ["count", "approx_distinct"])
def test_an_empty_window_counts_zero(operation: str) -> None:
    assert vector(view(feature(operation)), rows((1, None))).features[operation] == 0


def test_std_is_the_sample_deviation_and_needs_two_values() -> None:
    assert vector(view(feature("std")), rows((1, 2.0))).features["std"] is None
    assert vector(view(feature("std")), rows((1, 2.0), (2, 4.0))).features["std"] == pytest.approx(2**0.5)


def test_last_is_by_event_time_and_then_by_arrival() -> None:
    history = rows((9, 1.0), (9, 2.0), (5, 3.0))
    assert vector(view(feature("last")), history).features["last"] == 2.0


def test_time_since_last_uses_only_events_that_fulfil_the_condition() -> None:
    late = vector(view(feature("time_since_last", None, where="big")), rows((1_000, 9.0), (4_500, 1.0)))
    assert late.features["time_since_last"] == 3.5


def test_as_of_never_goes_back_and_a_late_event_counts_in_its_own_tile() -> None:
    emitted = vector(view(feature("count", None)), rows((50_000, 1.0), (20_000, 1.0)))
    assert (emitted.as_of, emitted.late, emitted.features["count"]) == (50_000, False, 2)


def test_an_event_older_than_every_window_is_late_and_changes_nothing() -> None:
    emitted = vector(view(feature("count", None)), rows((500_000, 1.0), (20_000, 1.0)))
    assert (emitted.late, emitted.features["count"]) == (True, 1)


def test_an_event_inside_any_window_of_the_view_is_not_late() -> None:
    both = view(feature("count", None), feature("sum", window=20 * MINUTE))
    emitted = vector(both, rows((500_000, 1.0), (20_000, 1.0)))
    assert (emitted.late, emitted.features) == (False, {"count": 1, "sum": 2.0})


def test_a_row_without_the_entity_emits_nothing_and_entities_do_not_mix() -> None:
    stream = [Timed(1, {"k": "a"}), Timed(2, {"k": None}), Timed(3, {"k": "b"}), Timed(4, {"k": "a"})]
    emitted = vectors(view(feature("count", None)), stream)
    assert [v and v.features["count"] for v in emitted] == [1, None, 1, 2]


def test_the_same_id_within_the_horizon_is_a_duplicate_of_its_own_key_only() -> None:
    stream = [("a", "1", 0), ("a", "1", 0), ("b", "1", 0), ("a", "2", 5), (None, "1", 0), (None, "1", 3)]
    assert accept_events(stream, 10) == [True, False, True, True, True, False]


def test_the_same_id_after_the_horizon_is_a_new_event() -> None:
    assert accept_events([("a", "1", 0), ("a", "2", 9), ("a", "1", 0)], 10) == [True, True, False]
    assert accept_events([("a", "1", 0), ("a", "2", 10), ("a", "1", 0)], 10) == [True, True, True]


def test_a_duplicate_does_not_move_the_clock() -> None:
    assert accept_events([("a", "1", 0), ("a", "1", 9), ("a", "1", 10)], 10) == [True, False, True]


def test_exact_aggregates_have_no_tolerance_and_sums_a_relative_one() -> None:
    history = rows((1, -4.0), (2, 4.0))
    assert tolerance(feature("max"), history, 2) == 0
    assert tolerance(feature("sum"), history, 2) == pytest.approx(8e-9)


def test_null_does_not_agree_with_zero_nor_text_with_a_number() -> None:
    assert not agrees(0, None, 1.0)
    assert not agrees(None, 0, 1.0)
    assert not agrees("0", 0, 1.0)
    assert agrees(-0.0, 0.0, 0.0)
    assert agrees(1.0 + 1e-10, 1.0, 1e-9)


def test_lists_agree_element_by_element() -> None:
    assert agrees([-0.0, "a"], [0.0, "a"], 0.0)
    assert not agrees([1.0, 2.0], [2.0, 1.0], 0.0)
    assert not agrees([1.0], [1.0, 2.0], 0.0)
    assert not agrees([], None, 0.0)
    assert not agrees(1.0, [1.0], 0.0)
