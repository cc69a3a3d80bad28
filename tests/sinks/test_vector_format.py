"""How a stored vector reads at a given time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Undecodable, UnknownSchema
from sinks.emitted_vectors import EmittedVector
from sinks.vector_format import VectorFormat, VectorState, time_to_live_ms, window_is_empty
from streams.definitions.windows import LIFETIME_MS
from streams.oracle.reference import in_window
from streams.plan.model import ViewPlan
from tests.sinks.feature_batches import trades
from tests.sinks.payments import PLAN, T0, spending, trade

VIEW, OTHER = PLAN.view("spending"), PLAN.view("trade")
MINUTE = 60_000
HOUR = 60 * MINUTE
VALUES = {
    "count_1m": 1,
    "count_1h": 2,
    "amount_mean_1h": 12.5,
    "shop_last_1h": "s1",
    "shop_last_k_1h": ["s1", ""],
    "amount_histogram_1h": [0, 2, 0],
    "busy": 0.5,
}
EMPTY = {
    "count_1m": 0,
    "count_1h": 0,
    "amount_mean_1h": None,
    "shop_last_1h": None,
    "shop_last_k_1h": None,
    "amount_histogram_1h": [0, 0, 0],
    "busy": None,
}


def blob(**changes: int) -> bytes:
    return VectorFormat(VIEW).pack(EmittedVector(VIEW, "e", 5, spending(seq=9, epoch=3) | changes))


def test_a_vector_is_the_same_after_packing_and_reading() -> None:
    vector = VectorFormat(VIEW).read("c1", blob(), T0)
    assert (vector.view, vector.entity, vector.state) == ("spending@1", "c1", VectorState.PRESENT)
    assert (vector.as_of, vector.epoch, vector.seq, vector.attempt) == (T0, 3, 9, 5)
    assert vector.values == VALUES


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_any_64_bit_position_and_time_fits(epoch: int, seq: int, as_of: int) -> None:
    vector = VectorFormat(VIEW).read("c1", blob(epoch=epoch, seq=seq, as_of=as_of), as_of)
    assert (vector.epoch, vector.seq, vector.as_of, vector.state) == (epoch, seq, as_of, VectorState.PRESENT)


@pytest.mark.parametrize(
    ("after_ms", "state", "values"),
    [
        (-HOUR, VectorState.PRESENT, VALUES),
        (MINUTE - 1, VectorState.PRESENT, VALUES),
        (MINUTE, VectorState.STALE, VALUES | {"count_1m": 0, "busy": None}),
        (HOUR - 1, VectorState.STALE, VALUES | {"count_1m": 0, "busy": None}),
        (HOUR, VectorState.EXPIRED, EMPTY),
        (10 * HOUR, VectorState.EXPIRED, EMPTY),
    ],
)
def test_features_of_a_window_that_has_passed_the_newest_event_read_as_empty(
    after_ms: int, state: VectorState, values: dict[str, object]
) -> None:
    vector = VectorFormat(VIEW).read("c1", blob(), T0 + after_ms)
    assert (vector.state, vector.values) == (state, values)


@pytest.mark.parametrize(
    ("after_ms", "state", "values"),
    [
        (MINUTE, VectorState.STALE, VALUES | {"count_1m": 0}),
        (HOUR - 1, VectorState.STALE, VALUES | {"count_1m": 0}),
        (HOUR, VectorState.EXPIRED, EMPTY),
        (HOUR + 30 * MINUTE, VectorState.EXPIRED, EMPTY),
    ],
)
def test_a_timers_vector_is_as_old_as_its_newest_event(
    after_ms: int, state: VectorState, values: dict[str, object]
) -> None:
    timer = EmittedVector(VIEW, "", 5, spending(as_of=T0 + 30 * MINUTE), newest_ms=T0)
    vector = VectorFormat(VIEW).read("c1", VectorFormat(VIEW).pack(timer), T0 + after_ms)
    assert (vector.as_of, vector.state, vector.values) == (T0 + 30 * MINUTE, state, values)


def test_a_feature_over_a_lifetime_never_reads_as_empty() -> None:
    for_good = {"shop_last_1h": {"window_ms": LIFETIME_MS}}
    features = tuple(feature.model_copy(update=for_good.get(feature.name, {})) for feature in VIEW.features)
    view = VIEW.model_copy(update={"features": features})
    vector = VectorFormat(view).read("c1", blob(), T0 + 10**13)
    assert (vector.state, vector.values) == (VectorState.STALE, EMPTY | {"shop_last_1h": "s1"})
    assert not window_is_empty(view.features[0].model_copy(update={"window_ms": LIFETIME_MS}), -(2**63), T0)
    assert time_to_live_ms(view, MINUTE, HOUR) is None


def with_derived(*windows: list[int]) -> tuple[ViewPlan, bytes]:
    """The view with a derived feature that depends on these windows, and a vector of it."""
    busy = {"name": "busy", "sql": "count_1m / count_1h", "type": "double", "inputs": [], "windows": windows}
    view = ViewPlan.model_validate(VIEW.model_dump() | {"derived": [busy]})
    return view, VectorFormat(view).pack(EmittedVector(view, "e", 5, spending()))


@pytest.mark.parametrize(
    ("windows", "after_ms", "busy"),
    [
        ([[HOUR, MINUTE]], HOUR - 1, 0.5),
        ([[HOUR, MINUTE], [MINUTE, 1_000]], MINUTE - 1, 0.5),
        ([[HOUR, MINUTE], [MINUTE, 1_000]], MINUTE, None),
        ([[24 * HOUR, HOUR]], HOUR - 1, 0.5),
        ([[24 * HOUR, HOUR]], HOUR, None),
        ([], HOUR, None),
    ],
)
def test_a_derived_feature_is_null_once_a_window_behind_it_has_passed(
    windows: list[list[int]], after_ms: int, busy: float | None
) -> None:
    view, stored = with_derived(*windows)
    assert VectorFormat(view).read("c1", stored, T0 + after_ms).values["busy"] == busy


def test_a_vector_is_stale_when_only_a_derived_feature_reads_as_empty() -> None:
    view, stored = with_derived([1_000, 10])
    vector = VectorFormat(view).read("c1", stored, T0 + 1_000)
    assert (vector.state, vector.values) == (VectorState.STALE, VALUES | {"busy": None})


def test_nothing_stored_is_missing_and_reads_as_empty() -> None:
    vector = VectorFormat(VIEW).read("c1", None, T0)
    assert (vector.state, vector.values, vector.as_of, vector.seq) == (VectorState.MISSING, EMPTY, None, None)


@given(
    st.sampled_from(VIEW.features),
    st.integers(-(10**13), 10**13),
    st.integers(0, 2 * HOUR) | st.integers(0, 10**13),
)
def test_a_window_is_empty_exactly_when_the_reference_says_so(feature, as_of: int, later: int) -> None:  # type: ignore[no-untyped-def]
    covered = in_window(as_of, as_of + later, feature.window_ms, feature.hop_ms)
    assert window_is_empty(feature, as_of, as_of + later) is not covered


@given(st.integers(-(10**13), 10**13), st.integers(0, 10 * HOUR))
def test_the_store_drops_a_vector_only_after_it_reads_as_expired(as_of: int, ahead_ms: int) -> None:
    """The event was at most `max_future` ahead of the wall clock, which the reader uses, when it was written."""
    max_future = min(ahead_ms, MINUTE)
    time_to_live = time_to_live_ms(VIEW, MINUTE, 0)
    assert time_to_live is not None
    dropped_at = (as_of - max_future) + time_to_live
    assert VectorFormat(VIEW).read("c1", blob(as_of=as_of), dropped_at).state is VectorState.EXPIRED


@pytest.mark.parametrize("value", [b"", b"\x01", b"a string that someone put there, long enough for a header"])
def test_a_value_that_is_not_a_vector_is_refused(value: bytes) -> None:
    with pytest.raises(Undecodable, match="format 1"):
        VectorFormat(VIEW).read("c1", value, T0)


def test_a_vector_of_another_view_is_refused() -> None:
    value = VectorFormat(OTHER).pack(EmittedVector(OTHER, "e", 0, trade()))
    with pytest.raises(UnknownSchema):
        VectorFormat(VIEW).read("c1", value, T0)


@settings(derandomize=True, deadline=None)
@given(trades, st.none() | st.integers(0, HOUR), st.integers(-HOUR, 2 * HOUR))
def test_a_view_of_numbers_reads_as_the_decoder_reads_it(
    record: dict[str, Any], newest: int | None, after_ms: int
) -> None:
    record |= {"seq": abs(record["seq"])}
    timer = None if newest is None else T0 - newest
    quick, slow = VectorFormat(OTHER), VectorFormat(OTHER)
    assert quick.numbers is not None
    slow.numbers = None
    value = quick.pack(EmittedVector(OTHER, "e", 0, record, timer))
    entity = record["entity"]
    assert quick.read(entity, value, T0 + after_ms) == slow.read(entity, value, T0 + after_ms)


@pytest.mark.parametrize("view", [VIEW, OTHER])
def test_a_vector_of_another_entity_is_refused(view: ViewPlan) -> None:
    record = spending("c1") if view is VIEW else trade("c1")
    value = VectorFormat(view).pack(EmittedVector(view, "e", 0, record))
    with pytest.raises(Undecodable, match="another entity"):
        VectorFormat(view).read("c2", value, T0)


@pytest.mark.parametrize("length", [63, 64, 8_191, 8_192])
def test_an_entity_may_have_any_length(length: int) -> None:
    entity = "x" * length
    value = VectorFormat(OTHER).pack(EmittedVector(OTHER, "e", 0, trade(entity)))
    assert VectorFormat(OTHER).stored(entity, value).encoded is not None
    assert VectorFormat(OTHER).read(entity, value, T0).values == {"card_approx_distinct_10m": 7, "is_new": None}


def test_vectors_do_not_share_their_lists() -> None:
    reader = VectorFormat(VIEW)
    for value in (None, blob()):
        first = reader.read("c1", value, T0 + HOUR)
        first.values["amount_histogram_1h"].append(1)  # type: ignore[union-attr]
        assert reader.read("c1", value, T0 + HOUR).values["amount_histogram_1h"] == [0, 0, 0]


def test_a_vector_that_was_cut_short_is_refused() -> None:
    with pytest.raises(Undecodable):
        VectorFormat(VIEW).read("c1", blob()[:-1], T0)
