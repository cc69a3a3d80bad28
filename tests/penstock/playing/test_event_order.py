"""Events in the order of their times, in memory or not."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.playing.event_order import EventOrder


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    times=st.lists(st.integers(-5, 5), max_size=40),
    text=st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=5),
    in_memory=st.integers(1, 50),
    most_files=st.integers(2, 9),
)
def test_the_order_is_that_of_times_and_then_of_the_file_however_much_fits_into_memory(
    times: list[int], text: str, in_memory: int, most_files: int
) -> None:
    placed = [(time, number, text) for number, time in enumerate(times)]
    with EventOrder(in_memory, most_files) as order:
        for one in placed:
            order.add(*one)
        assert [*order] == [*order] == sorted(placed)
        assert len(order._files) < most_files
    if times:
        assert (order.count, order.first_ms, order.last_ms) == (len(times), min(times), max(times))


def test_what_comes_after_a_later_event_is_counted() -> None:
    with EventOrder() as order:
        for time in (1, 3, 2, 2, 3, 4):
            order.add(time, 0, "")
    assert order.out_of_order == 2
