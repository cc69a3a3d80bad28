"""Blocks of records, however they are cut, give the alerts that the records give one by one, bit by bit."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.fraud.pipeline import pipeline as fraud
from streams.drift.detectors import MonitorDetectors
from streams.drift.drift_records import DriftRecordBuilder
from streams.drift.drift_reference import DETECTORS, DriftReference
from streams.drift.track import DriftAlert, Observation, Observations, Track, read_state
from tests.streams.drift.per_record import PerRecordDetectors, alerts_per_record
from tests.streams.drift.references import UNTIL_MS, WINDOW, monitor_reference, reference

NAMES = ("x", "y", "z")
TOPIC = "features.p"
# Long enough for several incidents: a quiet day has 144 records.
STEP_MS = 600_000
# At the edges of the bins, beyond the range of float32, and on the mean.
SPECIAL = (8.0, 10.0, 12.0, math.inf, -math.inf, 3e38, -0.0, math.nan)

Records = list[tuple[int, Observation | None]]


def stream(seed: int, count: int, partition: int = 0) -> Records:
    """A partition's records: levels and shares of nulls that change, repeated and late records, holes in offsets."""
    rng = random.Random(seed * 31 + partition)
    records: Records = []
    offset, level, nulls, special = 0, 10.0, 0.1, 0.02
    for number in range(count):
        if rng.random() < 1 / 150:
            level, nulls = rng.choice([10.0, 10.5, 14.0, 6.0]), rng.choice([0.1, 0.1, 0.6])
            special = rng.choice([0.02, 0.02, 0.5])
        offset += 1 if rng.random() < 0.95 else rng.randrange(2, 5)
        values = [
            rng.choice(SPECIAL)
            if rng.random() < special
            else math.nan
            if rng.random() < nulls
            else float(np.float32(rng.gauss(level, 2.0)))
            for _ in NAMES
        ]
        event_time = UNTIL_MS + (20 + number - rng.randrange(60)) * STEP_MS
        records.append((offset, Observation(event_time, ("events", number % 2, number // 2), values)))
        if rng.random() < 0.1:  # emitted again
            offset += 1
            records.append((offset, rng.choice(records)[1]))
        if rng.random() < 0.05:  # nothing to monitor
            offset += 1
            records.append((offset, None))
    return records


def by_hour() -> DriftReference:
    """The reference, of which the last monitor compares with the same hour of the week."""
    *others, last = reference(*NAMES).monitors
    hours = tuple(0.25 * (hour % 7) for hour in range(168))
    return reference(*NAMES).model_copy(update={"monitors": (*others, last.model_copy(update={"hours": hours}))})


def in_blocks(
    one: Track, records: Records, cuts: list[int], shared: DriftReference, back: int = 0, restart_every: int = 0
) -> tuple[list[DriftAlert], Track]:
    """Process records in blocks that end at the cuts; now and then restarted, from some records before the state."""
    alerts, start = [], 0
    for number, cut in enumerate([*cuts, len(records)]):
        block = records[start:cut]
        if not block:
            continue
        observed = [(offset, observation) for offset, observation in block if observation is not None]
        alerts += one.process(block[-1][0] + 1, Observations.of(observed, len(NAMES)))
        start = cut
        if restart_every and number % restart_every == 0:
            state = read_state(one.state().model_dump_json().encode(), "here")
            one = Track.from_state(state, shared, NAMES, TOPIC, one.partition)
            start = max(0, cut - back)
    return alerts, one


def published(alerts: list[DriftAlert], shared: DriftReference, partition: int) -> list[bytes | None]:
    builder = DriftRecordBuilder(fraud, shared, 1)
    return [builder.alert(alert, TOPIC, partition, 0).value for alert in alerts]


@pytest.mark.parametrize("seed", range(6))
def test_random_blocks_with_restarts_give_the_alerts_of_single_records(seed: int) -> None:
    rng, shared = random.Random(seed), by_hour()
    found: Counter[str] = Counter()
    incidents = set()
    for partition in range(3):
        records = stream(seed, 2_500, partition)
        expected = alerts_per_record(shared, NAMES, TOPIC, partition, records)
        longest = rng.choice([3, 40, 400, 2_000])
        cuts, at = [], 0
        while at < len(records):
            at += rng.randrange(1, longest + 1)
            cuts.append(min(at, len(records)))
        one = Track(shared, NAMES, TOPIC, partition, 0)
        alerts, _ = in_blocks(one, records, cuts, shared, back=rng.randrange(100), restart_every=3)
        assert alerts == expected
        assert published(alerts, shared, partition) == published(expected, shared, partition)
        found += Counter(alert.crossing.detector for alert in alerts)
        incidents |= {alert.incident for alert in alerts}
    assert set(found) == set(DETECTORS)
    assert len(incidents) > 3  # more than one on a partition


def test_a_block_may_end_at_any_record() -> None:
    shared, records = reference(*NAMES), stream(9, 420)
    expected = alerts_per_record(shared, NAMES, TOPIC, 0, records)
    assert expected
    whole = in_blocks(Track(shared, NAMES, TOPIC, 0, 0), records, [], shared)[1].state()
    for cut in range(len(records)):
        alerts, one = in_blocks(Track(shared, NAMES, TOPIC, 0, 0), records, [cut], shared)
        assert alerts == expected, cut
        assert one.state() == whole, cut


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    values=st.lists(st.one_of(st.floats(-50, 50, width=32), st.sampled_from(SPECIAL)), max_size=400),
    cuts=st.sets(st.integers(0, 400), max_size=6),
    window=st.sampled_from([WINDOW, 130, 250]),
)
def test_the_detectors_of_one_monitor_fire_at_the_same_values(values, cuts, window):
    single, blocks = PerRecordDetectors(monitor_reference(), window), MonitorDetectors(monitor_reference(), window)
    expected = [(place, crossing) for place, value in enumerate(values) for crossing in single.update(value)]
    bounds = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    found = [
        (start + place, crossing)
        for start, end in pairwise(bounds)
        for place, crossing in blocks.update(np.array(values[start:end], np.float64))
    ]
    assert found == expected
