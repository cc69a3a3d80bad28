"""What a watch adds to the log of incidents, as the world goes on.

On a real broker: tests/integration/test_incidents.py.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loop import gathering, watch
from loop.entries import Closed, Diagnosed, Entry, Opened, Proposed, Signal
from loop.gathering import Inputs
from loop.incidents import SCHEDULED, Incident, incidents_of
from loop.watch import WatchLimits
from penstock.kafka.access import KafkaAccess
from scoring.repository import ModelRepository
from tests.loop.taps import HORIZON_MS, STEP_MS, FakeTopics, Taps, define, time_of

INPUTS = Inputs(("activity.amount_mean_1h", "event.shop", "event.amount"), ())
LIMITS = WatchLimits(span_ms=60 * HORIZON_MS, quiet_ms=HORIZON_MS, cool_down_ms=1_000)


class Watched:
    """A watch whose log is in memory."""

    def __init__(self, taps: Taps, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taps, self.log = taps, list[Entry]()
        self.topics: Any = FakeTopics(taps)
        self.start()
        monkeypatch.setattr(watch, "extend", self._extend)

    def _extend(self, _kafka: object, _pipeline: object, decide: Any) -> Sequence[Entry]:
        self.log += decide(list(self.log))
        return list(self.log)

    def start(self, repository: Any = ModelRepository(Path("none"))) -> None:  # noqa: B008 - never written to
        self.watch = watch.Watch(self.taps.project, KafkaAccess(bootstrap="127.0.0.1:1"), LIMITS, repository)

    def look(self) -> Incident:
        self.watch.look(self.topics, len(self.log) + 5)
        return list(incidents_of(self.log).values())[-1]


@pytest.fixture
def watched(tmp_path, monkeypatch) -> Watched:
    taps = Taps(define(tmp_path))
    taps.write(5_000)
    taps.publish_labels()
    return Watched(taps, monkeypatch)


def test_an_alarm_opens_an_incident_whose_cause_follows_once_enough_has_come(watched):
    watched.taps.alarm()
    watched.taps.write(200, unit=100)
    assert watched.look().diagnosis is None
    watched.taps.write(1_300, unit=100)
    found = watched.look().diagnosis
    assert (found.cause, found.action, found.column) == ("upstream-fault", "mend-source", "amount")
    assert found.first.startswith("events.taps_x[0]@50")


def test_a_fault_is_traced_to_its_first_event_before_the_alarm_and_before_what_is_compared(watched, monkeypatch):
    monkeypatch.setattr(gathering, "_MOST_NOW", 2_000)
    watched.taps.write(300, unit=100)
    watched.taps.alarm()
    watched.taps.write(3_000, unit=100)
    watched.taps.write(100)  # it is mended already
    found = watched.look().diagnosis
    assert (found.cause, found.first.partition("@")[0], found.producer) == ("upstream-fault", "events.taps_x[0]", None)
    assert 5_000 <= int(found.first.partition("@")[2]) < 5_005


def test_a_fault_that_comes_back_is_traced_to_where_it_came_back(watched):
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    first = watched.look()
    watched.log.append(Closed(incident=first.id, time_ms=9, author="ada", reason="euros again"))
    calm = 2 * HORIZON_MS // STEP_MS
    watched.taps.write(calm)
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    found = watched.look()
    assert found.id != first.id
    assert 6_500 + calm <= int(found.diagnosis.first.partition("@")[2]) < 6_500 + calm + 5


def test_the_version_of_the_producer_is_named_with_which_a_fault_began(watched):
    watched.taps.producers[:] = ["1.4"] * 5_000
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100, producer="1.5")
    found = watched.look().diagnosis
    assert found.producer == "1.5"
    assert found.why[-1].startswith(
        "it begins with an event of producer-version 1.5; the 500 events before it are of 1.4"
    )


def test_raw_events_that_are_gone_name_no_producer(watched):
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100, producer="1.5")
    del watched.taps.producers[100:]
    assert watched.look().diagnosis.producer is None


def test_inputs_have_the_names_that_the_version_was_trained_with(watched):
    renamed = SimpleNamespace(
        inputs=("activity.mean", "event.branch", "event.price"), categories=(), trained_to_ms=None
    )
    watched.start(SimpleNamespace(manifest=lambda _model, _version: renamed))
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    found = watched.look().diagnosis
    assert found.shares.keys() == {"activity.mean", "event.price"}


def test_looking_again_adds_nothing(watched):
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    watched.look()
    before = list(watched.log)
    watched.look()
    assert watched.log == before


def test_alarms_are_read_once_and_again_only_if_the_topic_was_made_anew(watched, monkeypatch):
    drift, read = watched.taps.project.pipeline.drift_topic, watched.topics.read_records
    watched.taps.alarm()
    with monkeypatch.context() as away:
        away.setattr(watch, "extend", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watched.look()
    assert len(watched.look().signals) == 1
    assert read[drift] == 1 + 1  # the last one is read again, to see whether it is the same topic
    watched.taps.alarm(5_001)
    watched.taps.alarm(5_002)
    assert len(watched.look().signals) == 3
    assert read[drift] == 2 + 3
    del watched.taps.topics[drift][1:]
    watched.look()
    assert read[drift] == 5 + 1


@pytest.mark.parametrize("alarms", [1, 4], ids=["shorter", "longer"])
def test_a_drift_topic_that_was_made_anew_is_read_whole_whatever_its_length(watched, alarms):
    drift = watched.taps.project.pipeline.drift_topic
    watched.taps.alarm()
    watched.taps.alarm(5_001)
    watched.look()
    watched.taps.topics[drift].clear()
    for number in range(alarms):
        watched.taps.alarm(5_002 + number)
    assert len(watched.look().signals) == 2 + alarms


def test_a_fault_of_a_source_proposes_no_training(watched):
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    assert watched.look().proposals == []


def test_when_labels_mature_the_cause_is_found_and_a_training_on_the_events_since_is_proposed(watched, monkeypatch):
    monkeypatch.setattr(watch, "_ENOUGH", 100)
    watched.taps.alarm()
    watched.taps.write(1_600, meaning=0)
    assert watched.look().proposals == []
    watched.taps.publish_labels(mature=True)
    incident = watched.look()
    assert incident.diagnosis.cause == "concept-drift"
    (proposal,) = incident.proposals
    # All but the latest 1 % of 500 events.
    assert (proposal.from_ms, proposal.to_ms) == (time_of(5_000), time_of(6_594) + 1)
    assert [type(entry) for entry in watched.log[-2:]] == [Diagnosed, Proposed]


def test_where_more_events_come_within_a_horizon_than_are_compared_labels_still_tell(watched, monkeypatch):
    monkeypatch.setattr(gathering, "_MOST_NOW", 2_000)
    watched.taps.alarm()
    watched.taps.write(8_000, meaning=0)
    watched.taps.publish_labels()
    incident = watched.look()
    assert incident.diagnosis.cause == "concept-drift"
    assert incident.diagnosis.mature > 1_000
    assert len(incident.proposals) == 1


def test_a_training_is_not_proposed_before_a_label_since_the_alarm_can_be_final(watched):
    watched.taps.alarm()
    watched.taps.write(1_300, meaning=0)  # less than a horizon
    watched.taps.publish_labels(mature=True)
    assert watched.look().diagnosis.cause == "concept-drift"
    assert watched.look().proposals == []


def test_a_fault_that_was_mended_is_not_trained_on(watched):
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    fault = watched.look()
    watched.log.append(Closed(incident=fault.id, time_ms=9, author="ada", reason="euros again"))
    watched.taps.write(2 * HORIZON_MS // STEP_MS)
    begin = watched.taps.written
    watched.taps.alarm()
    watched.taps.write(1_600, meaning=0)
    watched.taps.publish_labels(mature=True)
    (proposal,) = watched.look().proposals
    assert proposal.from_ms == time_of(begin)


def test_where_few_labels_have_come_since_the_events_before_are_trained_on_too(watched):
    watched.taps.alarm()
    watched.taps.write(1_600, meaning=0)
    watched.taps.publish_labels(mature=True)
    (proposal,) = watched.look().proposals
    assert proposal.from_ms == time_of(0)


def test_labels_of_a_regression_are_compared_as_values(tmp_path):
    taps = Taps(define(tmp_path, labels='task="regression", horizon="1d", absent="excluded"'))
    taps.write(3_000)
    taps.publish_labels(mature=True)
    topics: Any = FakeTopics(taps)
    found = gathering.gather(taps.project, topics, "1", INPUTS, time_of(2_000), 60 * HORIZON_MS)
    assert found is not None
    assert found.periods is not None
    assert found.periods.now.is_regression
    known = found.periods.now.matured()
    assert set(known.labels) == {1.0}
    assert 50 < len(known) < 1_000


def test_an_event_of_the_far_future_does_not_set_the_end_of_what_is_trained_on(watched):
    watched.taps.alarm()
    watched.taps.write(1_600, meaning=0)
    watched.taps.publish_labels(mature=True)
    watched.taps.written = 10_000_000
    watched.taps.write(1)
    (proposal,) = watched.look().proposals
    assert proposal.to_ms < time_of(6_600)


def test_an_incident_ends_when_another_version_scores(watched):
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    watched.look()
    watched.taps.write(600, version="2")
    incident = watched.look()
    assert not incident.is_open
    assert incident.closed.reason == "other versions than 1 score now"


def test_garbage_in_any_topic_is_passed_over(watched):
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    for values in watched.taps.topics.values():
        values[3:3] = [b"garbage", b""]
    assert watched.look().diagnosis.cause == "upstream-fault"


def test_predictions_of_a_version_with_other_inputs_than_the_definition_has_now_are_not_compared(watched, tmp_path):
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    later = tmp_path / "later"
    later.mkdir()
    watched.taps.project = define(later, inputs='"activity.count_1h", ')
    watched.start()
    assert watched.look().diagnosis is None
    watched.taps.write(600, version="2")
    assert not watched.look().is_open


def test_an_incident_with_nothing_to_compare_ends_when_another_version_scores(tmp_path, monkeypatch):
    watched = Watched(Taps(define(tmp_path)), monkeypatch)
    watched.taps.alarm()
    watched.taps.write(600, version="2")
    assert not watched.look().is_open


def test_only_the_events_that_are_compared_are_kept_in_memory(watched, monkeypatch):
    monkeypatch.setattr(gathering, "_MOST_NOW", 100)
    monkeypatch.setattr(gathering, "_MOST_BEFORE", 200)
    watched.taps.write(3_000)
    watched.taps.publish_labels()
    topics: Any = FakeTopics(watched.taps)
    watched_now = gathering.gather(watched.taps.project, topics, "1", INPUTS, time_of(6_000), 60 * HORIZON_MS)
    assert watched_now is not None
    assert watched_now.periods is not None
    assert 80 <= len(watched_now.periods.before) <= 160
    assert 50 <= len(watched_now.periods.now) <= 100
    # They are of the whole periods, and not the latest: only of older events labels are final.
    assert watched_now.periods.begin_ms < time_of(1_000)
    assert min(offset for _, _, offset in watched_now.periods.places) < 6_500
    tracemalloc.start()
    try:
        gathering.gather(watched.taps.project, topics, "1", INPUTS, time_of(6_000), 60 * HORIZON_MS)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_an_alarm_does_not_end_a_training_that_a_schedule_has_proposed(watched):
    signal = Signal(
        id=f"{SCHEDULED}1", what="schedule", text="weekly", event_time_ms=time_of(4_000), place="", model_version="1"
    )
    watched.log.append(Opened(incident="inc-1", time_ms=1, signals=(signal,)))
    watched.taps.write(1_500)
    watched.taps.alarm()
    watched.taps.write(500)
    watched.look()
    assert incidents_of(watched.log)["inc-1"].is_open


def test_a_training_that_a_schedule_has_proposed_is_not_explained_and_ends_when_another_version_scores(watched):
    signal = Signal(
        id=f"{SCHEDULED}1", what="schedule", text="weekly", event_time_ms=time_of(4_000), place="", model_version="1"
    )
    watched.log.append(Opened(incident="inc-1", time_ms=1, signals=(signal,)))
    watched.taps.write(1_500, unit=100)
    assert watched.look().diagnosis is None
    watched.taps.write(600, version="2")
    assert not watched.look().is_open


def test_when_a_fault_is_mended_the_recovery_is_no_fault(watched):
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    first = watched.look()
    watched.log.append(Closed(incident=first.id, time_ms=9, author="ada", reason="euros again"))
    watched.taps.alarm(watched.taps.written + 2 * HORIZON_MS // STEP_MS)
    watched.taps.write(2 * HORIZON_MS // STEP_MS + 1_500)
    second = watched.look()
    assert second.id != first.id
    assert second.diagnosis.cause == "none"


def test_an_incident_whose_alarms_ended_is_judged_on_its_own_events_and_closed_if_nothing_had_changed(watched):
    watched.taps.alarm()
    watched.taps.write(1_500)
    watched.taps.alarm()
    watched.taps.write(1_500, unit=100)
    later = watched.look()
    earlier, _ = incidents_of(watched.log).values()
    assert (earlier.diagnosis.cause, earlier.is_open) == ("none", False)
    assert (later.diagnosis.cause, later.is_open) == ("upstream-fault", True)


def test_where_features_began_the_first_longest_window_is_no_reference(watched):
    topics: Any = FakeTopics(watched.taps)
    found = gathering.gather(watched.taps.project, topics, "1", INPUTS, time_of(4_000), 60 * HORIZON_MS)
    assert found.periods.begin_ms == time_of(60)
    later = gathering.gather(watched.taps.project, topics, "1", INPUTS, time_of(4_000), 2_000 * STEP_MS)
    assert later.periods.begin_ms == time_of(2_000)


def test_events_that_the_version_was_trained_on_are_no_reference(watched):
    topics: Any = FakeTopics(watched.taps)
    trained_to_ms = time_of(3_000)
    found = gathering.gather(
        watched.taps.project, topics, "1", INPUTS, time_of(4_000), 60 * HORIZON_MS, trained_to_ms=trained_to_ms
    )
    assert found.periods.begin_ms == time_of(3_001)


@pytest.mark.parametrize(
    ("detector", "monitor", "current", "cause", "column"),
    [
        ("null", "amount", 1.0, "upstream-fault", "amount"),
        ("range", "amount", 0.31, "upstream-fault", "amount"),
        ("duplicate", "events.taps_x", 0.3, "upstream-fault", None),
        ("silence", "labels.taps_x", 3_600_000.0, "label-fault", None),
    ],
)
def test_data_quality_tells_a_fault_before_anything_is_scored(watched, detector, monitor, current, cause, column):
    watched.taps.quality_alarm(detector, monitor, current)
    incident = watched.look()
    assert (incident.diagnosis.cause, incident.diagnosis.column) == (cause, column)
    assert incident.diagnosis.why == (f"{monitor}: {detector}, since events.taps_x[0]@5000",)
    assert (incident.diagnosis.first, incident.diagnosis.producer) == ("events.taps_x[0]@5000", "4.2")
    assert incident.proposals == []


@pytest.mark.parametrize(("detector", "current"), [("volume", 500.0), ("category", 0.2), ("range", 0.02)])
def test_what_may_be_a_world_that_changes_counts_only_where_nothing_else_explains_it(watched, detector, current):
    watched.taps.quality_alarm(detector, "amount", current)
    assert watched.look().diagnosis.cause == "upstream-fault"
    watched.taps.alarm()
    watched.taps.write(1_300, meaning=0)
    watched.taps.publish_labels(mature=True)
    assert watched.look().diagnosis.cause == "concept-drift"


def test_a_world_that_has_changed_stays_so_whatever_breaks_later(watched):
    watched.taps.alarm()
    watched.taps.write(1_300, meaning=0)
    watched.taps.publish_labels(mature=True)
    assert watched.look().diagnosis.cause == "concept-drift"
    watched.taps.quality_alarm("null")
    assert watched.look().diagnosis.cause == "concept-drift"
