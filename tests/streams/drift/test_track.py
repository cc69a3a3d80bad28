"""A track counts each raw event once, gives its alerts stable ids, and continues exactly from its state."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from streams.drift.recent_events import SPAN, RecentEvents, SeenState
from streams.drift.track import DriftAlert, Observation, Observations, Track, TrackState, describe_alert, read_state
from tests.streams.drift.references import UNTIL_MS, monitor_reference, reference

NAMES = ("x", "y")


def observation(number: int, *values: float, time_ms: int | None = None) -> Observation:
    return Observation(UNTIL_MS + 1 + number if time_ms is None else time_ms, ("events", 0, number), values)


def track(start: int = 0) -> Track:
    return Track(reference(*NAMES), NAMES, "features.p", 3, start)


def process(one: Track, offset: int, seen: Observation | None) -> list[DriftAlert]:
    """Process the one record at ``offset``."""
    return one.process(offset + 1, Observations.of([] if seen is None else [(offset, seen)], len(NAMES)))


def drifting(count: int = 900, seed: int = 1) -> list[Observation]:
    rng = random.Random(seed)
    level = [10.0, 14.0, 8.0]
    return [
        observation(n, rng.gauss(level[n // 300 % 3], 2), math.nan if rng.random() < 0.1 else rng.gauss(10, 2))
        for n in range(count)
    ]


def test_the_id_of_an_alert_is_its_position_monitor_and_detector():
    one = track()
    alerts = [alert for offset, seen in enumerate(drifting()) for alert in process(one, offset * 2, seen)]
    assert alerts
    for alert in alerts:
        assert alert.alert_id == f"features.p-3-{alert.offset}:{alert.monitor}:{alert.crossing.detector}"
    assert len({alert.alert_id for alert in alerts}) == len(alerts) == one.alerts


def test_events_of_the_training_data_are_not_monitored():
    one = track()
    process(one, 0, observation(0, 10.0, 10.0, time_ms=UNTIL_MS))
    process(one, 1, observation(1, 10.0, 10.0, time_ms=UNTIL_MS + 1))
    assert (one.observed, one.position) == (1, 2)


def test_a_record_emitted_again_counts_once():
    records = drifting()
    once, again = track(), track()
    expected = [alert.monitor for offset, seen in enumerate(records) for alert in process(once, offset, seen)]
    rng, offset, found = random.Random(2), 0, []
    for at, seen in enumerate(records):
        for emitted in [seen, *(rng.sample(records[: at + 1], 1) if rng.random() < 0.3 else [])]:
            found += [alert.monitor for alert in process(again, offset, emitted)]
            offset += 1
    assert found == expected
    assert again.observed == once.observed == len(records)


def test_a_record_before_the_position_gives_no_alert():
    one = track(start=10)
    assert process(one, 9, observation(9, 1.0, 1.0)) == []
    assert (one.position, one.observed) == (10, 0)


def test_a_record_without_an_observation_is_skipped():
    one = track()
    assert process(one, 5, None) == []
    assert (one.position, one.observed) == (6, 0)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(cuts=st.sets(st.integers(0, 900), max_size=5), back=st.integers(0, 50), seed=st.integers(0, 5))
def test_killed_anywhere_and_continued_from_an_earlier_offset_it_gives_the_same_alerts(cuts, back, seed):
    records = drifting(seed=seed)
    whole = track()
    expected = [alert for offset, seen in enumerate(records) for alert in process(whole, offset, seen)]
    stopped, found, at = track(), [], 0
    for cut in [*sorted(cuts), len(records)]:
        while at < cut:
            found += process(stopped, at, records[at])
            at += 1
        text = stopped.state().model_dump_json().encode()
        stopped = Track.from_state(read_state(text, "here"), reference(*NAMES), NAMES, "features.p", 3)
        at = max(0, at - back)  # a committed offset that is behind the state
    assert found == expected
    assert stopped.state() == whole.state()


def test_a_state_is_plain_json_and_small():
    one = track()
    for offset, seen in enumerate(drifting(5_000)):
        process(one, offset, seen)
    text = one.state().model_dump_json()
    assert TrackState.model_validate(json.loads(text)) == one.state()
    assert len(text) < 20_000


@pytest.mark.parametrize("value", [b"", b"{}", b"\x80\x04cposix\nsystem\n", b'{"reference": 1}'])
def test_an_invalid_record_in_the_state_topic_is_an_error_with_its_position(value):
    with pytest.raises(PenstockError) as caught:
        read_state(value, "drift.p.state[0]")
    assert caught.value.where == "drift.p.state[0]"


def test_a_state_of_other_monitors_is_refused():
    state = Track(reference("z"), ["z"], "features.p", 0, 0).state()
    with pytest.raises(PenstockError, match="cannot be read"):
        Track.from_state(state, reference(*NAMES), NAMES, "features.p", 0)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 400_000), max_size=200), st.integers(0, 200))
def test_an_event_counts_only_the_first_time(offsets, cut):
    seen, known, newest = RecentEvents(), set(), -1
    for at, offset in enumerate(offsets):
        if at == cut:
            state = SeenState.model_validate_json(seen.state().model_dump_json())
            seen = RecentEvents()
            seen.restore(state)
        first = seen.add(offset)
        if offset > newest - SPAN + 8_192:  # older ones may count as seen
            assert first == (offset not in known)
        elif offset in known:
            assert not first
        known.add(offset)
        newest = max(newest, offset)


def test_a_saved_memory_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="inflated"):
        RecentEvents().restore(SeenState(floor=0, bits="AAAA"))


def test_the_message_of_an_alert_states_what_changed():
    one = track()
    texts = [
        describe_alert(a, monitor_reference(a.monitor)) for o, s in enumerate(drifting()) for a in process(one, o, s)
    ]
    assert any("the mean changed" in text for text in texts)
    assert any("the mean moved away from that of training" in text for text in texts)
    assert any("the distribution is not that of training, psi" in text for text in texts)
