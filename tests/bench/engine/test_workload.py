"""The workload is deterministic, fills the windows, and matches its parameters."""

from __future__ import annotations

import json

import numpy as np

from tests.bench.engine.workload import START_MS, Workload, payments


def test_before_the_measured_events_every_card_has_an_event_in_every_tile_of_every_window() -> None:
    work = Workload(events=10, entities=3)
    events = payments(work)
    before = events.times[: work.warm_up_events]
    for card in range(3):
        times = before[events.card[: work.warm_up_events] == card]
        for size, hop in work.spans_ms:
            inside = times[times >= START_MS - size]
            assert len(np.unique(inside // hop)) >= work.tiles


def test_events_are_in_order_of_time_except_the_late_share() -> None:
    assert (np.diff(payments(Workload(events=1_000)).times) >= 0).all()
    late = Workload(events=10_000, late=0.05)
    back = np.diff(payments(late).times[late.warm_up_events :]) < 0
    assert 0.04 < back.mean() < 0.06


def test_a_zipf_key_has_half_of_the_traffic() -> None:
    work = Workload(events=10_000, keys="zipf")
    assert (payments(work).card[work.warm_up_events :] == 0).mean() > 0.49


def test_a_message_is_the_event_with_its_number() -> None:
    events = payments(Workload(events=5, entities=2))
    key, value = list(events.messages())[-1]
    event = json.loads(value)
    assert event["event_id"] == str(len(events) - 1)
    assert event["event_time"] == events.times[-1]
    assert event["card"].encode() == key
    assert event["amount"] == events.amounts[-1]
