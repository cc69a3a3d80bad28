"""The vectors in a feature record."""

from __future__ import annotations

import pytest

from schemas.codec import Undecodable
from sinks.emitted_vectors import emitted_vectors
from tests.sinks.payments import PLAN, T0, features, spending, trade


def test_a_record_has_one_vector_per_view_that_has_an_entity() -> None:
    both = emitted_vectors(PLAN, features(spending=spending(), trade=trade(), attempt=4))
    assert [(e.view.id, e.entity, e.attempt) for e in both] == [("spending@1", "c1", 4), ("trade@3", "s1", 4)]
    assert [e.view.id for e in emitted_vectors(PLAN, features(spending=spending()))] == ["spending@1"]


@pytest.mark.parametrize("negative", [{"epoch": -1}, {"seq": -1}])
def test_a_vector_with_a_negative_epoch_or_seq_is_refused(negative: dict[str, int]) -> None:
    with pytest.raises(Undecodable, match="spending@1"):
        emitted_vectors(PLAN, features(spending=spending() | negative))


def test_a_timers_vector_has_the_time_of_the_entitys_newest_event() -> None:
    (timer,) = emitted_vectors(PLAN, features(trigger="timer", event_time=T0, spending=spending(as_of=T0 + 5)))
    assert (timer.newest_ms, timer.order[3]) == (T0, T0 + 5)
    (event,) = emitted_vectors(PLAN, features(spending=spending()))
    assert event.newest_ms is None
