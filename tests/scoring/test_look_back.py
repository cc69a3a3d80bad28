import random

import pytest

from scoring.look_back import Ends, LookBack, Mark


def at(predictions: int, dead_letters: int = 0) -> Ends:
    return Ends(predictions, dead_letters)


def test_without_a_mark_nothing_is_known_of_an_event():
    assert LookBack(highest=7).start(5) is None


def test_the_answer_to_an_event_lies_after_the_newest_mark_that_is_not_above_it():
    look_back = LookBack(highest=9).marked(at(100)).answered([15, 19, 12]).marked(at(200, 3))
    assert look_back.highest == 19
    assert look_back.start(9) is None
    assert look_back.start(10) == look_back.start(19) == Mark(10, at(100))
    assert look_back.start(20) == Mark(20, at(200, 3))


def test_lower_offsets_answered_late_do_not_lower_the_highest():
    assert LookBack(highest=9).answered([3]).answered([]).highest == 9


def test_at_the_same_ends_the_earlier_mark_stays():
    look_back = LookBack(highest=9).marked(at(100))
    assert look_back.answered([20]).marked(at(100)).marks == look_back.marks


def test_it_is_the_same_after_a_commit():
    look_back = LookBack(highest=9).marked(at(100)).answered([15]).marked(at(200, 3))
    assert LookBack.load(look_back.dump()) == look_back


@pytest.mark.parametrize(
    "metadata",
    [None, "", "hello", "7", "[]", '{"penstock":2}', '{"penstock":1,"highest":1,"marks":[[1]]}', '{"penstock":1}'],
)
def test_the_metadata_of_another_tool_says_nothing(metadata):
    assert LookBack.load(metadata) is None


@pytest.mark.parametrize(("ends", "fits"), [(at(100, 5), True), (at(99, 6), False), (at(101, 4), False)])
def test_a_topic_that_is_shorter_than_a_mark_was_made_anew(ends, fits):
    assert LookBack(highest=0).marked(at(100, 5)).fits(ends) == fits


def test_a_billion_answers_take_less_than_a_kilobyte_and_a_start_is_at_most_about_four_times_too_far_back():
    rng = random.Random(5)
    look_back, end, every = LookBack(highest=-1), 0, []
    while end < 1_000_000_000:
        look_back = look_back.marked(at(end))
        every.append(end)
        end += rng.randrange(50_000, 150_000)
        look_back = look_back.answered([end - 1])  # here, an event and its answer have the same offset
    assert len(look_back.dump()) < 1_000
    newest = every[-1]
    for offset in rng.sample(range(newest - 500_000), 1_000):
        start = look_back.start(offset)
        assert start is not None
        assert start.raw <= offset
        assert newest - start.ends.predictions <= 4 * (newest - offset) + 500_000
