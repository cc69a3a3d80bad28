"""Rates are of the last seconds; off a terminal the screen is lines."""

from __future__ import annotations

import io

from rich.console import Console

from examples.demo.screen import Meter, Screen


def test_a_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter()
    for second in range(10):
        meter.set(second * 100, float(second))
    assert (meter.total, meter.per_second) == (900, 100.0)
    for second in range(10, 20):
        meter.set(900, float(second))
    assert meter.per_second == 0.0


def test_one_reading_is_no_rate() -> None:
    meter = Meter()
    meter.set(5, 1.0)
    assert meter.per_second == 0.0


def test_off_a_terminal_each_step_is_a_line_with_its_duration() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=100)) as screen:
        screen.step("first")
        screen.step("second")
        screen.finish()
    done = [line for line in out.getvalue().splitlines() if line.startswith("✓")]
    assert [line.split()[1] for line in done] == ["first", "second"]
