"""Flight delays: will this flight arrive more than 15 minutes late?

A flight is an event at its *scheduled* departure, with what is known at that minute: the schedule, and whether the
flight has already left. How late it leaves and when it arrives are not known yet and not in the event, so no feature
can leak them. The views describe recent flights of the airport, the airline, the aircraft and the route.
The events come from :mod:`examples.flights.replay`.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    Contract,
    Derived,
    Entity,
    Labels,
    Model,
    Monitors,
    Pipeline,
    PythonColumn,
    Source,
    View,
    approx_distinct,
    count,
    last,
    mean,
    min_,
    std,
    sum_,
    time_since_last,
)

Airport = Annotated[str, Field(pattern="^[A-Z]{3}$")]


class FlightDue(Contract, name="flight_due", version=1):
    """A flight at the minute of its scheduled departure. Clock times are local, as hours * 100 + minutes."""

    flight_id: Annotated[str, EVENT_ID, Field(min_length=1, max_length=32)]
    event_time: Annotated[int, EVENT_TIME, Field(description="scheduled departure")]
    flight_date: Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="local, of departure")]
    carrier: Annotated[str, ENTITY, Field(pattern="^[0-9A-Z]{2}$")]
    flight: Annotated[int, Field(ge=1, le=9999)]
    # Tail numbers begin with N, with one exception in the data.
    tailnum: Annotated[str | None, ENTITY, Field(pattern="^[0-9A-Z]{1,6}$")] = None
    origin: Annotated[Literal["EWR", "JFK", "LGA"], ENTITY]
    dest: Airport
    sched_dep_time: Annotated[int, Field(ge=0, le=2400)]
    sched_arr_time: Annotated[int, Field(ge=0, le=2400)]
    distance: Annotated[int, Field(gt=0, le=20_000, description="miles")]
    dep_delay: Annotated[
        int | None, Field(le=0, description="minutes, if it left by its scheduled departure; null while it has not")
    ] = None


class FlightLabel(Contract, name="flight_label", version=1):
    """How a flight ended, known when it has landed."""

    flight_id: Annotated[str, EVENT_ID, Field(min_length=1, max_length=32)]
    landed_at: Annotated[int, EVENT_TIME]
    arr_time: Annotated[int, Field(ge=1, le=2400, description="local clock; midnight is 2400")]
    arr_delay: Annotated[int, Field(description="minutes; negative is early")]
    is_late: Annotated[bool, Field(description="more than 15 minutes")]


def days_to_holiday(flight_date: str) -> int:
    """Days from a date (ISO 8601) to the nearest of nine US holidays on which people travel.

    >>> days_to_holiday("2013-11-27"), days_to_holiday("2013-12-31"), days_to_holiday("2013-02-04")
    (1, 1, 14)
    """
    return _days_to_holiday(flight_date)


@lru_cache(maxsize=1024)
def _days_to_holiday(flight_date: str) -> int:
    day = date.fromisoformat(flight_date)
    return min(
        abs((day - holiday).days) for year in (day.year - 1, day.year, day.year + 1) for holiday in _holidays(year)
    )


@lru_cache(maxsize=16)
def _holidays(year: int) -> tuple[date, ...]:
    return (
        date(year, 1, 1),
        _monday(year, 1, 15),  # Martin Luther King Jr. Day
        _monday(year, 2, 15),  # Presidents' Day
        _monday(year, 5, 25),  # Memorial Day
        date(year, 7, 4),
        _monday(year, 9, 1),  # Labor Day
        _monday(year, 10, 8),  # Columbus Day
        _monday(year, 11, 19) + timedelta(days=3),  # Thanksgiving, the fourth Thursday
        date(year, 12, 25),
    )


def _monday(year: int, month: int, earliest: int) -> date:
    """The first Monday from that day of the month on."""
    day = date(year, month, earliest)
    return day + timedelta(days=-day.weekday() % 7)


carrier = Entity(name="carrier", key="carrier")
origin = Entity(name="origin", key="origin")
aircraft = Entity(name="aircraft", key="tailnum")
route = Entity(name="route", key="route")

derived = {
    "route": Derived(sql="origin || '-' || dest", type="string"),
    "has_left": Derived(sql="CASE WHEN dep_delay IS NULL THEN 0e0 ELSE 1e0 END", type="double"),
    "is_held": Derived(sql="CASE WHEN dep_delay IS NULL THEN 1e0 ELSE 0e0 END", type="double"),
    "departure_hour": Derived(
        sql="FLOOR(sched_dep_time / 100e0) + MOD(sched_dep_time, 100) / 60e0",
        type="double",
    ),
    "arrival_hour": Derived(sql="FLOOR(sched_arr_time / 100e0)", type="double"),
    # Monday is 0. Assumes UTC-5 for New York all year: wrong only for the hour after midnight in summer.
    "day_of_week": Derived(sql="FLOOR(MOD(event_time + 241200000, 604800000) / 86400000e0)", type="double"),
    # SQL cannot compute movable holidays: the examples' only Python column; docs/start/examples.md states its cost.
    "days_to_holiday": PythonColumn(function=days_to_holiday, columns=("flight_date",), type="long"),
}

carrier_punctuality = View(
    name="carrier_punctuality",
    version=1,
    entity=carrier,
    aggregates=(
        count(over=("1h", "3h", "24h")),
        mean("is_held", over=("1h", "3h", "24h", "7d")),
        mean("dep_delay", over=("3h", "24h")),
        std("dep_delay", over="24h"),
        approx_distinct("tailnum", over=("3h", "24h")),
        time_since_last(where="dep_delay IS NOT NULL", name="since_left", over="24h"),
    ),
)

origin_congestion = View(
    name="origin_congestion",
    version=1,
    entity=origin,
    aggregates=(
        count(over=("30m", "1h", "3h", "24h")),
        mean("is_held", over=("30m", "1h", "3h", "24h")),
        mean("dep_delay", over=("1h", "3h")),
        min_("dep_delay", over="1h"),
        time_since_last(where="dep_delay IS NOT NULL", name="since_left", over="24h"),
    ),
)

aircraft_history = View(
    name="aircraft_history",
    version=1,
    entity=aircraft,
    aggregates=(
        count(over=("24h", "7d")),
        sum_("distance", over=("24h", "7d")),
        mean("is_held", over=("24h", "7d")),
        last("dep_delay", name="last_dep_delay", over="7d"),
        time_since_last(where="dep_delay IS NULL", name="since_held", over="7d"),
    ),
)

route_history = View(
    name="route_history",
    version=1,
    entity=route,
    aggregates=(
        count(over=("6h", "24h", "7d")),
        mean("is_held", over=("6h", "24h", "7d")),
        mean("dep_delay", over=("24h", "7d")),
        approx_distinct("carrier", over="7d"),
    ),
)

pipeline = Pipeline(
    name="flights",
    # One partition is enough for one flight every 90 seconds, and gives every entity its events in schedule order.
    source=Source(topic="events.flights", contract=FlightDue, key="origin", partitions=1),
    entities=(carrier, origin, aircraft, route),
    derived=derived,
    views=(carrier_punctuality, origin_congestion, aircraft_history, route_history),
    model=Model(
        name="flights",
        inputs=(
            "event.has_left",
            "event.dep_delay",
            "event.departure_hour",
            "event.arrival_hour",
            "event.day_of_week",
            "event.days_to_holiday",
            "event.distance",
            *carrier_punctuality.inputs(),
            *origin_congestion.inputs(),
            *aircraft_history.inputs(),
            *route_history.inputs(),
        ),
        threshold=0.5,
        positive="late",
        negative="on_time",
    ),
    labels=Labels(topic="labels.flights", contract=FlightLabel, value="is_late"),
    passthrough=("carrier", "origin", "dest"),
    monitors=Monitors(
        inputs=(
            "event.dep_delay",
            "event.distance",
            "carrier_punctuality.is_held_mean_24h",
            "origin_congestion.is_held_mean_3h",
            "origin_congestion.dep_delay_mean_3h",
            "aircraft_history.last_dep_delay_7d",
            "route_history.is_held_mean_7d",
        ),
        # About two days of flights, so that differences between hours do not count as drift.
        window=2_000,
        false_alarm_every=100_000,
    ),
)
