from scoring.rollout.pace import Pace


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def due_after(pace, clock, took):
    """Do it once, for so long; returns how much later it is due again."""
    with pace.measured():
        clock.now += took
    begin = clock.now
    while not pace.is_due():
        clock.now += 0.25
    return clock.now - begin


def test_it_is_due_at_once_and_then_after_the_least_time():
    clock = Clock()
    pace = Pace(clock, 2.0, 10.0)
    assert pace.is_due()
    assert due_after(pace, clock, 0.125) == 2.0


def test_what_takes_long_is_done_for_a_fifth_of_the_time_but_not_more_rarely_than_the_most():
    clock = Clock()
    pace = Pace(clock, 2.0, 10.0)
    assert due_after(pace, clock, 1.0) == 5.0
    assert due_after(pace, clock, 100.0) == 10.0


def test_it_may_ask_for_a_pause():
    clock = Clock()
    pace = Pace(clock, 2.0, 10.0)
    pace.done(4.0)
    clock.now = 3.75
    assert not pace.is_due()
    clock.now = 4.0
    assert pace.is_due()
