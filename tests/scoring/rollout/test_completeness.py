from scoring.rollout.completeness import Completeness, Cut, measure

LIVE, SHADOW = ("predictions.taps", 1), ("predictions.taps.shadow", 1)


def with_cut(answered=100, live=40, shadow=30):
    completeness = Completeness()
    completeness.add({1: Cut(answered, {LIVE: live, SHADOW: shadow})})
    return completeness


def test_what_is_answered_counts_once_all_answers_of_that_moment_are_read():
    completeness = with_cut()
    assert completeness.reached({LIVE: 40, SHADOW: 29}) == {}
    assert completeness.reached({LIVE: 39, SHADOW: 31}) == {}
    assert completeness.reached({LIVE: 41, SHADOW: 30}) == {1: 100}
    assert completeness.reached({LIVE: 41, SHADOW: 30}) == {}


def test_a_later_cut_does_not_put_off_one_that_is_not_reached_yet():
    completeness = with_cut()
    completeness.add({1: Cut(900, {LIVE: 400, SHADOW: 300})})
    assert completeness.reached({LIVE: 40, SHADOW: 30}) == {1: 100}
    completeness.add({1: Cut(900, {LIVE: 400, SHADOW: 300})})
    assert completeness.reached({LIVE: 400, SHADOW: 300}) == {1: 900}


def test_a_partition_that_is_not_read_is_not_complete():
    assert with_cut().reached({LIVE: 40}) == {}


def test_pending_are_the_answers_of_the_last_cut_that_are_not_read():
    completeness = with_cut()
    assert completeness.pending({LIVE: 35, SHADOW: 45}) == 5
    completeness.add({1: Cut(200, {LIVE: 50, SHADOW: 50})})
    assert completeness.pending({LIVE: 35, SHADOW: 45}) == 20


def test_ends_are_measured_after_what_is_answered_with_open_transactions():
    class FakeLag:
        def __init__(self):
            self.asked = []

        def committed_offsets(self, group, topic, *, pending):
            self.asked.append((group, topic, pending))
            return {0: 7}

        def log_ends(self, topic):
            self.asked.append(topic)
            return {0: len(topic), 1: 99}

    lag = FakeLag()
    assert measure(lag, "scorers", "features", ("live", "shadow")) == {0: Cut(7, {("live", 0): 4, ("shadow", 0): 6})}
    assert lag.asked == [("scorers", "features", False), "live", "shadow"]
