"""How long rows can live in Cassandra, by its mode and the date."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.errors import PenstockError
from sinks.cassandra_expiry import check_expiry, last_expiry_s

NOW_S = int(datetime(2026, 11, 28, tzinfo=UTC).timestamp())
REMEDY = "penstock sink run cassandra p --history-ttl {days}d or {seconds}"
DAY_S = 86_400


def check(ttl_s: int, compatibility: str | None = "CASSANDRA_4", now_s: int = NOW_S) -> None:
    check_expiry(ttl_s, last_expiry_s(compatibility), now_s, "k.t", REMEDY)


@pytest.mark.parametrize("compatibility", [None, "CASSANDRA_4", "UPGRADING"])
def test_a_row_can_expire_until_2038_unless_cassandra_says_otherwise(compatibility: str | None) -> None:
    last = datetime(2038, 1, 19, 3, 14, 6, tzinfo=UTC)
    check(int(last.timestamp()) - NOW_S, compatibility)
    with pytest.raises(PenstockError, match="would expire"):
        check(int(last.timestamp()) - NOW_S + 1, compatibility)


def test_without_compatibility_a_row_can_expire_until_2106() -> None:
    check(7_300 * DAY_S, "NONE")
    in_2087 = int(datetime(2087, 1, 1, tzinfo=UTC).timestamp())
    with pytest.raises(PenstockError, match="2106-02-07 06:28"):
        check(7_300 * DAY_S, "NONE", in_2087)


def test_the_error_names_the_dates_the_longest_life_of_today_and_a_command_that_lasts_for_a_year() -> None:
    with pytest.raises(PenstockError) as refused:
        check(7_300 * DAY_S)
    error = refused.value
    assert "7,300 days" in error.what
    assert "2038-01-19 03:14" in error.what
    assert "today 4,070 days" in error.what
    assert error.where == "k.t"
    assert str(error.next).startswith("penstock sink run cassandra p --history-ttl 3705d or 320112000;")
    check(3_705 * DAY_S, now_s=NOW_S + 365 * DAY_S)
