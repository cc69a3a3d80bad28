"""All topics of a pipeline together: incidents, what is saved, and the alerts that are published."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.errors import PenstockError
from schemas.history import record_decoder
from streams.drift.data_quality.hours import HoursState
from streams.drift.data_quality.partition_counts import PartitionState
from streams.drift.data_quality.quality_alerts import QualityAlertBuilder
from streams.drift.data_quality.quality_reference import (
    QualityReference,
    TopicReference,
    UnreadableReferenceError,
    Volume,
    read_quality_reference,
)
from streams.drift.data_quality.quality_watch import QualityAlert, QualityIncident, QualityState, QualityWatch
from streams.drift.data_quality.raw_events import RawEvent
from streams.drift.data_quality.topic_watch import TopicState
from tests.streams.drift.data_quality.quality_worlds import (
    AMOUNT,
    BEGIN_MS,
    DAY_MS,
    PARTITIONS,
    TOPIC,
    World,
    learnt,
)

LEARNT_MS = BEGIN_MS + 14 * DAY_MS


@pytest.fixture(scope="module")
def reference() -> QualityReference:
    return learnt(World(days=14), LEARNT_MS)


def broken(event: Any, number: int) -> Any:
    """No amounts for 200 events, none for 200 three days later, and one with a bad partner 12 hours after each."""
    if 0 <= number % 4_320 < 200 or 720 <= number % 4_320 < 760:
        return event._replace(values=(*event.values[:AMOUNT], None, *event.values[AMOUNT + 1 :]))
    return event


FAULTY = World(days=21, fault=broken, at_ms=LEARNT_MS + DAY_MS)


def watch_of(reference: QualityReference) -> QualityWatch:
    return QualityWatch([TOPIC], reference, PARTITIONS)


def alerts_of(watch: QualityWatch, restart_every: int | None = None) -> tuple[QualityWatch, list[QualityAlert]]:
    found, kept = [], dict[int, PartitionState]()
    for place, event in enumerate(FAULTY.events(LEARNT_MS)):
        found += watch.observe(TOPIC.topic, event)
        found += watch.advance({TOPIC.topic: range(PARTITIONS)}, event.timestamp)
        if restart_every is not None and place % restart_every == 0:
            kept |= {number: state.model_copy(deep=True) for _, number, state in watch.changed_partitions()}
            watch.saved()
            state = QualityState.model_validate_json(watch.state().model_dump_json())
            watch = watch_of(watch.reference)
            saved = {n: PartitionState.model_validate_json(one.model_dump_json()) for n, one in kept.items()}
            watch.restore(state, {TOPIC.topic: saved})
    return watch, found


def test_what_comes_within_a_day_is_one_incident_and_what_comes_later_another(reference):
    watch, found = alerts_of(watch_of(reference))
    incidents = list(dict.fromkeys(alert.incident for alert in found))
    assert len(incidents) == 2
    assert incidents[0] == found[0].finding.finding_id
    assert len(found) > 2
    assert watch.open_incident is None


def test_an_incident_lasts_as_long_as_anything_is_unusual(reference):
    watch, later_ms = watch_of(reference), LEARNT_MS + 9 * DAY_MS
    over = TopicState(over={"4.2|amount:null": [0]}, hours=HoursState(newest={0: later_ms}))
    incident = QualityIncident(id="i", latest_ms=LEARNT_MS)
    watch.restore(QualityState(reference=reference.hash, topics={TOPIC.topic: over}, incident=incident), {})
    watch.advance({}, None)
    assert watch.open_incident == "i"
    assert watch.incident == QualityIncident(id="i", latest_ms=later_ms)


def test_restarts_change_neither_alerts_nor_state(reference):
    straight, found = alerts_of(watch_of(reference))
    restarted, again = alerts_of(watch_of(reference), restart_every=97)
    assert again == found
    assert restarted.state() == straight.state()


def test_an_alert_says_all_of_a_finding_in_the_form_of_drift(reference):
    _, found = alerts_of(watch_of(reference))
    pipeline: Any = SimpleNamespace(name="payments", drift_topic="drift.payments", model=SimpleNamespace(name="m"))
    produced = QualityAlertBuilder(pipeline).alert(found[0], "7", 5)
    record, finding = record_decoder("drift_alert").decode(produced.value or b""), found[0].finding
    assert (produced.topic, produced.partition, produced.key) == ("drift.payments", finding.partition, b"amount")
    assert (record["monitor"], record["detector"], record["model_version"]) == ("amount", "null", "7")
    assert record["alert_id"] == f"events.payments-{finding.partition}-{finding.offset}:amount:null:{finding.producer}"
    assert (record["message"], record["incident"]) == (finding.message, found[0].incident)


def test_the_reference_is_what_was_written_and_anything_else_is_refused(reference):
    again = read_quality_reference(reference.model_dump_json().encode(), "here")
    assert (again, again.hash) == (reference, reference.hash)
    with pytest.raises(UnreadableReferenceError, match="cannot be read"):
        read_quality_reference(b"{}", "here")


def test_a_state_that_does_not_fit_is_refused(reference):
    watch, _ = alerts_of(watch_of(reference))
    (_, number, state), *_ = watch.changed_partitions()
    window = next(iter(state.windows.values()))
    unfit = state.model_copy(update={"windows": {"": window.model_copy(update={"distinct": {"gone": "AAAA"}})}})
    with pytest.raises(PenstockError, match=r"what was counted of events\.payments cannot be read"):
        watch_of(reference).restore(
            QualityState(reference=reference.hash, topics={TOPIC.topic: TopicState()}), {TOPIC.topic: {number: unfit}}
        )


def test_of_several_sources_of_labels_the_one_that_stops_is_named() -> None:
    names, minute = ("labels.bank", "labels.support"), 60_000
    of_topic = TopicReference(
        topic="",
        events=1_000,
        from_ms=0,
        until_ms=0,
        start={},
        ranges={},
        categories={},
        late_ms=0,
        limits=(),
        volume=Volume(expected=(60.0,), silence=30.0),
        refused=(),
    )
    known = tuple(of_topic.model_copy(update={"topic": name}) for name in names)
    reference = QualityReference(pipeline="x", window=100, false_alarm_every=10_000, topics=known)
    watch = QualityWatch([replace(TOPIC, topic=name, is_labels=True) for name in names], reference, 1)
    found: list[QualityAlert] = []
    for number in range(120):
        at = BEGIN_MS + number * minute
        for name in names if number < 60 else names[:1]:
            watch.observe(name, RawEvent(0, number, at + 1_000, at, "", None, ()))
        found += watch.advance(dict.fromkeys(names, (0,)), at + 2_000)
    assert [(alert.finding.topic, alert.finding.kind) for alert in found] == [("labels.support", "silence")]
