"""How speeds and rates are typed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from penstock.playing.pace import Pace, rate_of, speed_of


@pytest.mark.parametrize(
    ("read", "text"),
    [(speed_of, "0x"), (speed_of, "-1"), (speed_of, "fast"), (speed_of, "inf"), (rate_of, "max"), (rate_of, "5/m")],
)
def test_what_is_no_pace_is_refused_with_an_example(read: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        read(text)


def test_at_the_greatest_speed_everything_is_due_at_once() -> None:
    assert Pace(speed=speed_of("max")).due_s(9, 10**9) == 0
    assert Pace(speed=60).takes_s(0, 0) == 0
    assert [Pace(math.inf).is_greatest, Pace(math.inf, rate=5).is_greatest, Pace(60).is_greatest] == [
        True,
        False,
        False,
    ]
