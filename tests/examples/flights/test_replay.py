import importlib.util
from collections import Counter
from itertools import islice

import pytest

from examples.flights import replay
from examples.flights.pipeline import FlightDue, FlightLabel, pipeline
from examples.flights.replay import landing_ms, messages
from penstock.errors import PenstockError
from schemas.avro import contract_schema
from schemas.codec import Decoder, Rejection, decode_event

FLIGHTS, LANDED = 336_776, 327_346
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


@pytest.fixture(scope="module")
def year():
    """Statistics of all messages of the year; the messages themselves would not fit in memory."""
    source, events, labels = pipeline.source, Decoder(contract_schema(FlightDue)), Decoder(contract_schema(FlightLabel))
    found = Counter()
    ids, labelled, refused, newest = {}, set(), [], 0
    for message in messages():
        found[message.kind] += 1
        if message.kind == "label":
            label = FlightLabel.model_validate(labels.decode(message.value))
            found["label before its event"] += label.flight_id not in ids or label.landed_at < ids[label.flight_id]
            found["label a day after its event"] += label.landed_at > ids[label.flight_id] + DAY_MS
            found["late"] += label.is_late
            found["arrived at 2400"] += label.arr_time == 2400
            labelled.add(label.flight_id)
            continue
        event = decode_event(
            message.value,
            FlightDue,
            events,
            kafka_timestamp_ms=message.event_time_ms,
            max_future_ms=source.max_future,
            max_bytes=source.max_bytes,
        )
        if isinstance(event, Rejection):
            refused.append(event)
            continue
        found["out of schedule"] += event.event_time < newest
        newest = max(newest, event.event_time)
        found["no tail number"] += event.tailnum is None
        found["tail number that is none of the FAA"] += event.tailnum is not None and event.tailnum[0] != "N"
        found["left by schedule"] += event.dep_delay is not None
        ids[event.flight_id] = event.event_time
    found["flight ids"], found["labelled flights"], found["refused"] = len(ids), len(labelled), len(refused)
    return found


def test_every_flight_is_one_event_and_none_is_refused(year):
    assert year["event"] == year["flight ids"] == FLIGHTS
    assert year["refused"] == 0


def test_events_come_in_the_order_of_the_schedule(year):
    assert year["out of schedule"] == 0


def test_every_flight_that_arrived_has_one_label_after_its_event(year):
    assert year["label"] == year["labelled flights"] == LANDED
    assert year["label before its event"] == 0


def test_labels_come_within_hours_or_at_most_a_day_and_a_half(year):
    assert year["label a day after its event"] < 20


def test_missing_and_unusual_values_are_kept(year):
    assert year["no tail number"] == 2_512
    assert year["tail number that is none of the FAA"] == 4
    assert year["arrived at 2400"] == 150


def test_whether_a_flight_has_left_is_known_but_not_how_late_it_will_leave(year):
    assert year["left by schedule"] == 200_089


def test_nearly_a_quarter_of_the_flights_is_late(year):
    assert year["late"] / year["label"] == pytest.approx(0.237, abs=0.001)


def test_the_same_limit_gives_the_same_messages():
    assert list(messages(300)) == list(messages(300))


def test_a_limit_is_the_beginning_of_the_year():
    kinds = Counter(m.kind for m in messages(1_000))
    assert kinds["event"] == 1_000
    first = [m for m in messages(1_000) if m.kind == "event"][:500]
    assert [m for m in islice(messages(2_000), 1_500) if m.kind == "event"][:500] == first


def row(**values):
    fields = dict.fromkeys(replay.Row._fields, "NA")
    # 05:15 in New York, 10:15 UTC; 227 minutes to Houston.
    fields |= {"dest": "IAH", "dep_delay": "2", "air_time": "227", "arr_time": "830"}
    return replay.Row(**(fields | values))


SCHEDULED_MS = 1_357_035_300_000  # 2013-01-01T10:15Z


def test_landing_is_the_local_clock_time_in_utc():
    # 08:30 in Houston (UTC-6) is 14:30 UTC.
    assert landing_ms(row(), SCHEDULED_MS) == SCHEDULED_MS + (4 * 60 + 15) * MINUTE_MS


def test_landing_after_midnight_is_on_the_next_day():
    late = SCHEDULED_MS + 15 * HOUR_MS  # 20:15 in New York
    assert landing_ms(row(arr_time="3", air_time="280"), late) == late + (4 * 60 + 48) * MINUTE_MS


def test_midnight_is_2400():
    late = SCHEDULED_MS + 15 * HOUR_MS
    assert landing_ms(row(arr_time="2400", air_time="270"), late) == late + (4 * 60 + 45) * MINUTE_MS


def test_landing_in_the_caribbean_needs_no_table_of_airports():
    # 10:30 in San Juan (UTC-4) is 14:30 UTC.
    assert landing_ms(row(dest="SJU", arr_time="1030"), SCHEDULED_MS) == SCHEDULED_MS + (4 * 60 + 15) * MINUTE_MS


def test_without_the_package_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(PenstockError, match="not installed") as raised:
        next(messages(1))
    assert raised.value.next == "make setup"
