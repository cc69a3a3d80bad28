"""The clock goes no further than every partition that still has records to read."""

from __future__ import annotations

from scoring.quality.reading_clock import Reached, ReadingClock

L0, L1, P0 = ("labels", 0), ("labels", 1), ("predictions", 0)
EVERYTHING = {L0, L1, P0}


def clock() -> ReadingClock:
    return ReadingClock({L0, L1}, EVERYTHING, None)


def test_before_every_partition_was_read_or_is_empty_there_is_no_time() -> None:
    one = clock()
    assert one.read({L0: 100}, [L0], []).reached.mature_ms is None
    assert one.read({}, [], [L1]).reached.mature_ms is None
    assert one.read({}, [], [P0]).reached.mature_ms == 100


def test_a_partition_that_lags_holds_it_and_one_that_has_ended_does_not() -> None:
    one = clock()
    one.read({L0: 100, L1: 50, P0: 70}, EVERYTHING, [])
    assert one.reached.mature_ms == 50
    assert one.read({}, [], [L1]).reached.mature_ms == 70
    assert one.read({}, [], [P0]).reached.mature_ms == 100


def test_predictions_alone_move_nothing_on() -> None:
    one = clock()
    one.read({P0: 900}, [P0], EVERYTHING)
    assert (one.reached.mature_ms, one.reached.forget_ms) == (None, None)


def test_events_are_forgotten_only_as_far_as_predictions_have_come() -> None:
    one = clock()
    one.read({L0: 900, P0: 100}, [L0, P0], EVERYTHING)
    assert (one.reached.mature_ms, one.reached.forget_ms) == (900, 100)


def test_it_never_goes_back_also_after_a_restart() -> None:
    one = clock()
    one.read({L0: 900, P0: 800}, [L0, P0], EVERYTHING)
    again = ReadingClock({L0, L1}, EVERYTHING, one.reached)
    assert again.read({L0: 5, L1: 5, P0: 5}, EVERYTHING, []).reached == one.reached
    assert again.read({L1: 901}, [L1], EVERYTHING).reached.mature_ms == 901


def test_partitions_that_are_far_ahead_of_the_last_wait_for_it() -> None:
    one = clock()
    one.read({L0: 100, P0: 10}, [L0, P0], [L1])
    assert one.ahead(89) == {L0}
    assert one.ahead(90) == set()
    one.read({}, [], [P0])
    assert one.ahead(0) == set()


def test_as_long_as_a_partition_has_said_nothing_none_waits() -> None:
    one = clock()
    one.read({L0: 100, P0: 10}, [L0, P0], [])
    assert one.ahead(0) == set()


def test_reached_survives_json() -> None:
    reached = Reached(labels_ms=1, predictions_ms=2, mature_ms=1)
    assert Reached.model_validate_json(reached.model_dump_json()) == reached
