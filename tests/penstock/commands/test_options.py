"""Parameter types of the command line."""

from __future__ import annotations

import click
import pytest

from penstock.commands.options import EventTime


def test_an_event_time_becomes_epoch_milliseconds() -> None:
    assert EventTime().convert("2026-03-01T12:00:00", None, None) == 1_772_366_400_000
    assert EventTime().convert(5, None, None) == 5


def test_an_invalid_event_time_is_a_usage_error() -> None:
    with pytest.raises(click.BadParameter, match="neither epoch milliseconds nor ISO 8601"):
        EventTime().convert("yesterday", None, None)
