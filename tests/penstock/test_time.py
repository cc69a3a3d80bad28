"""Parsing and printing of times."""

from __future__ import annotations

import pytest

from penstock.time import iso, parse, readable


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1772366400000", 1_772_366_400_000),
        ("2026-03-01", 1_772_323_200_000),
        ("20260301", 1_772_323_200_000),
        ("2026-W09", 1_771_804_800_000),
        ("2026-W09-7", 1_772_323_200_000),
        ("2026-03-01T12:00:00", 1_772_366_400_000),
        ("2026-03-01 12:00", 1_772_366_400_000),
        ("20260301T120000", 1_772_366_400_000),
        ("2026-03-01T12:00:00Z", 1_772_366_400_000),
        ("2026-03-01T13:00:00+01:00", 1_772_366_400_000),
        ("1970-01-01T00:00:00.850", 850),
    ],
)
def test_a_time_is_epoch_milliseconds_or_iso_in_utc(text: str, ms: int) -> None:
    assert parse(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "",
        "-",
        "--5",
        "2026-13-01",
        "20261301",
        "2026-03",
        "12:00",
        " 20260301",
        "1772366400000 ",
        "1_772_366_400_000",
        "1772366400000.0",
        "\u0661\u0667\u0667\u0662\u0663\u0666\u0666\u0664\u0660\u0660\u0660\u0660\u0660",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither epoch milliseconds nor ISO 8601"):
        parse(text)


@pytest.mark.parametrize("text", ["2026-03-01-05:00", "2026-03-01+02:00", "20260301-05:00"])
def test_a_date_with_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither epoch milliseconds nor ISO 8601"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "unit"),
    [("1772366400", "seconds"), ("1772366400000000", "microseconds"), (f"1772366400{'0' * 9}", "nanoseconds")],
)
def test_a_number_in_another_unit_is_refused_with_the_unit_and_the_time(text: str, unit: str) -> None:
    with pytest.raises(ValueError, match=f"looks like {unit}.* 13 digits: if you mean 2026-03-01T12:00:00.000Z, write"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0", "1970-01-01T00:00:00.000Z"),
        ("-1", "1969-12-31T23:59:59.999Z"),
        ("-1772366400000", "1913-11-02T12:00:00.000Z"),
        ("946684800000", "2000-01-01T00:00:00.000Z"),
        ("17723664000000", "2531-08-23T00:00:00.000Z"),
        ("202603011200", "1976-06-02T22:36:51.200Z"),
        ("0001772366400", "1970-01-21T12:19:26.400Z"),
        ("2026", "1970-01-01T00:00:02.026Z"),
    ],
)
def test_an_implausible_number_of_milliseconds_is_refused_with_its_time(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"is no plausible time, .* 13 digits: if you mean {meant}, write that"):
        parse(text)


@pytest.mark.parametrize("text", [str(2**62 * 1000), "9" * 5000])
def test_a_number_beyond_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no plausible time, .*: write ISO 8601"):
        parse(text)


@pytest.mark.parametrize("ms", [0, 1_772_366_400_850, -1])
def test_printed_times_are_parsed_to_the_same_value(ms: int) -> None:
    assert parse(iso(ms)) == ms


def test_a_time_beyond_the_calendar_is_shown_in_milliseconds() -> None:
    assert iso(2**62) == str(2**62)
    assert readable(2**62, zone=" UTC") == f"{2**62} ms"


def test_a_readable_time_has_the_given_precision() -> None:
    assert readable(1_772_366_400_850) == "2026-03-01 12:00:00.850+00:00"
    assert readable(1_772_366_400_850, "seconds", zone=" UTC") == "2026-03-01 12:00:00 UTC"
    assert readable(1_772_366_400_850, "minutes", zone="") == "2026-03-01 12:00"
