import click
import pytest

from penstock.event_time import EventTime, iso


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1772366400000", 1_772_366_400_000),
        ("2026-03-01", 1_772_323_200_000),
        ("2026-03-01T12:00:00", 1_772_366_400_000),
        ("2026-03-01T12:00:00Z", 1_772_366_400_000),
        ("2026-03-01T13:00:00+01:00", 1_772_366_400_000),
        ("1970-01-01T00:00:00.850", 850),
    ],
)
def test_a_time_is_epoch_milliseconds_or_iso_in_utc(text, ms):
    assert EventTime().convert(text, None, None) == ms


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "12:00"])
def test_anything_else_is_refused(text):
    with pytest.raises(click.BadParameter, match="neither epoch milliseconds nor ISO 8601"):
        EventTime().convert(text, None, None)


@pytest.mark.parametrize("ms", [0, 1_772_366_400_850, -1])
def test_what_is_shown_is_read_back(ms):
    assert EventTime().convert(iso(ms), None, None) == ms


def test_a_time_beyond_the_calendar_is_shown_in_milliseconds():
    assert iso(2**62) == str(2**62)
