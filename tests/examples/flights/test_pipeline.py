from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from examples.flights.pipeline import FlightDue, days_to_holiday, pipeline
from examples.flights.replay import messages
from schemas.avro import contract_schema
from schemas.codec import Decoder
from streams.oracle.derived_columns import derive
from streams.plan.compiler import compile_plan


@pytest.fixture(scope="module")
def rows():
    decoder = Decoder(contract_schema(FlightDue))
    return derive(compile_plan(pipeline), [decoder.decode(m.value) for m in messages(5_000) if m.kind == "event"])


@pytest.mark.parametrize(
    "day",
    [
        "2013-01-01",
        "2013-01-21",
        "2013-02-18",
        "2013-05-27",
        "2013-07-04",
        "2013-09-02",
        "2013-10-14",
        "2013-11-28",
        "2013-12-25",
        "2014-01-20",
    ],
)
def test_holidays_are_those_of_the_calendar(day):
    assert days_to_holiday(day) == 0


def test_the_nearest_holiday_may_be_in_the_next_year():
    assert days_to_holiday("2013-12-30") == 2


def test_the_day_of_the_week_is_that_of_the_flight_date(rows):
    assert {row["day_of_week"] - date.fromisoformat(row["flight_date"]).weekday() for row in rows} == {0.0}


def test_the_day_of_the_week_holds_in_daylight_saving_time():
    # 01:06 and 23:59 on Sunday, 2013-07-07, in New York: the earliest and the latest minute of any schedule.
    times = [datetime(2013, 7, 7, 5, 6, tzinfo=UTC), datetime(2013, 7, 8, 3, 59, tzinfo=UTC)]
    event = Decoder(contract_schema(FlightDue)).decode(next(iter(messages(1))).value)
    rows = derive(compile_plan(pipeline), [event | {"event_time": int(time.timestamp() * 1_000)} for time in times])
    assert [row["day_of_week"] for row in rows] == [6.0, 6.0]


def test_a_flight_is_held_until_it_is_known_to_have_left(rows):
    assert {(row["dep_delay"] is None, row["is_held"], row["has_left"]) for row in rows} == {
        (True, 1.0, 0.0),
        (False, 0.0, 1.0),
    }


def test_hours_are_those_of_the_local_clock(rows):
    assert rows[0]["sched_dep_time"] == 515
    assert rows[0]["departure_hour"] == 5.25
    assert rows[0]["arrival_hour"] == 8.0


def test_the_event_contains_nothing_about_the_arrival():
    assert not {"arr_time", "arr_delay", "dep_time", "air_time", "is_late"} & set(FlightDue.model_fields)


def test_a_delay_that_is_not_known_at_the_scheduled_departure_is_refused(rows):
    event = {name: rows[0][name] for name in FlightDue.model_fields}
    with pytest.raises(ValidationError, match="dep_delay"):
        FlightDue.model_validate(event | {"dep_delay": 5})
