"""The record of incidents and of the quality over time."""

from __future__ import annotations

from examples.demo.loop_record import stretches
from examples.demo.loop_section import marks
from tests.examples.demo.sample_loop import BEGAN_MS, loop, scored


def test_stretches_follow_each_other_in_the_order_of_scoring_and_have_all_predictions_of_a_version():
    found = stretches(scored()[::-1], BEGAN_MS)
    assert [one.version for one in found] == [1, 1, 1, 1, 2, 2]
    assert [one.area.events for one in found] == [2_000] * 6
    assert [round(one.from_s) for one in found] == [10, 12, 85, 87, 130, 132]
    assert min(one.area.low for one in found[:2]) > max(one.area.high for one in found[2:4])


def test_predictions_of_one_class_make_no_stretch():
    assert stretches([one for one in scored() if one.truth], BEGAN_MS) == ()


def test_the_plot_numbers_what_happened_in_its_order():
    assert list(marks(loop())) == [
        (84.0, "the first drifted event was scored"),
        (86.5, "the first alert"),
        (91.0, "the cause was known"),
        (100.0, "a version was trained"),
        (110.0, "it began in shadow"),
        (140.0, "its rollout ended"),
    ]
