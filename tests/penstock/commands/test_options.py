"""Parameter types of the command line."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from penstock.commands.options import EventTime, Finite, NewFile


def test_an_event_time_becomes_epoch_milliseconds() -> None:
    assert EventTime().convert("2026-03-01T12:00:00", None, None) == 1_772_366_400_000
    assert EventTime().convert(5, None, None) == 5


def test_an_invalid_event_time_is_a_usage_error() -> None:
    with pytest.raises(click.BadParameter, match="neither epoch milliseconds nor ISO 8601"):
        EventTime().convert("yesterday", None, None)


@pytest.mark.parametrize("text", ["nan", "inf", "-1"])
def test_a_number_that_must_be_finite_and_in_range_is_checked(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Finite(min=0).convert(text, None, None)
    assert Finite(min=0).convert("1e-5", None, None) == 1e-5


def test_a_file_to_write_needs_a_folder(tmp_path: Path) -> None:
    assert NewFile().convert(str(tmp_path / "new"), None, None) == tmp_path / "new"
    with pytest.raises(click.BadParameter, match="does not exist"):
        NewFile().convert(str(tmp_path / "no" / "new"), None, None)
    with pytest.raises(click.BadParameter, match="is a directory"):
        NewFile().convert(str(tmp_path), None, None)
