"""The check of drift alerts finds each way in which they can be wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from examples.fraud.pipeline import pipeline as fraud
from penstock import Monitors
from penstock.kafka.reading import Record
from schemas.codec import Encoder
from schemas.history import record_decoder
from schemas.records import DRIFT_SCHEMA
from streams.drift.data_quality.quality_alerts import QualityAlertBuilder
from streams.drift.data_quality.quality_watch import QualityAlert
from streams.drift.data_quality.topic_watch import Finding
from streams.drift.drift_records import DriftRecordBuilder, monitors_by_topic, observer_of
from streams.drift.drift_reference import REFERENCE_FILE, DriftReference
from streams.drift.state_store import state_key
from streams.drift.track import Observations, Track
from tests.streams.drift.references import UNTIL_MS, reference
from verify.check_drift import DriftFindings, check_drift
from verify.drift_replay import count_incidents
from verify.published import Published

PIPELINE = fraud.model_copy(update={"monitors": Monitors(inputs=())})
TOPIC = PIPELINE.predictions_topic
MID = 400


def prediction(offset: int, score: float) -> Published:
    source = {"topic": "events", "partition": 0, "offset": offset, "timestamp": 0}
    fixed = {"model": PIPELINE.model.name, "model_version": "1", "event_time": UNTIL_MS + 1 + offset, "source": source}
    return Published(0, offset, b"k", fixed | {"score": score})


class Run:
    """A run of the drift app as it should be; a test then spoils it."""

    def __init__(self, folder: Path) -> None:
        rng = random.Random(1)
        self.reference: DriftReference = reference("score").model_copy(update={"model": PIPELINE.model.name})
        version = folder / PIPELINE.model.name / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").touch()
        (version / REFERENCE_FILE).write_text(self.reference.artifacts()[REFERENCE_FILE])
        self.models = folder
        self.predictions = [prediction(n, rng.gauss(10 if n < MID else 14, 2)) for n in range(800)]
        self.track = Track(self.reference, monitors_by_topic(PIPELINE)[TOPIC], TOPIC, 0, 0)
        observe, writer = observer_of(TOPIC, PIPELINE, 1), DriftRecordBuilder(PIPELINE, self.reference, 1)
        self.alerts = [
            writer.alert(alert, TOPIC, 0, 0).value
            for record in self.predictions
            if (seen := observe(record.value)) is not None
            for alert in self.track.process(record.offset + 1, Observations.of([(record.offset, seen)], 1))
        ]
        self.state = self.track.state()

    def check(self, alerts: Sequence[bytes | None] | None = None, injected_ms: int | None = None) -> DriftFindings:
        published = [Record(0, n, 0, b"", v, ()) for n, v in enumerate(self.alerts if alerts is None else alerts)]
        key = state_key((TOPIC, 0), self.reference, 1).encode()
        states = [Record(0, 0, 0, key, self.state.model_dump_json().encode(), ())]
        return check_drift(PIPELINE, self.models, [], self.predictions, published, states, injected_ms)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_run_as_it_should_be_holds(run):
    findings = run.check(injected_ms=UNTIL_MS + 1 + MID)
    assert findings.held, findings.examples
    assert findings.alerts == len(run.alerts) > 0
    assert findings.false_incidents == 0


def test_alerts_before_the_injection_are_one_false_incident_if_they_are_of_one_change(run):
    findings = run.check(injected_ms=10**12)
    assert (findings.false_incidents, findings.incidents) == (1, 1)


@pytest.mark.parametrize(
    ("times", "incidents", "expected"),
    [
        ([], [], 0),
        ([0, 86_400_000], ["a", "b"], 1),
        ([0, 86_400_001], ["a", "b"], 2),
        ([0, 10**9], ["a", "a"], 1),
        ([0, 10**9, 5], [None, None, None], 2),
    ],
)
def test_alerts_of_one_incident_or_within_a_day_count_once(times, incidents, expected):
    alerts = [
        {"model_version": "1", "alert_id": str(number), "incident": incident, "event_time": time}
        for number, (time, incident) in enumerate(zip(times, incidents, strict=True))
    ]
    assert count_incidents(alerts) == expected


def test_an_alert_and_a_state_of_another_incident_than_a_replay_gives_are_found(run):
    run.state = run.state.model_copy(update={"incident": None})
    findings = run.check()
    assert findings.mismatches == 1
    assert "its incident is None" in findings.examples[0]
    alert = record_decoder("drift_alert").decode(run.alerts[-1])
    forged = Encoder(DRIFT_SCHEMA).encode(alert | {"incident": "another"})
    assert run.check([*run.alerts[:-1], forged]).mismatches == 2


def test_an_alert_that_is_missing_is_found(run):
    assert run.check(run.alerts[1:]).missing == 1


def test_an_alert_published_twice_is_found(run):
    assert run.check([*run.alerts, run.alerts[0]]).twice == 1


def test_an_alert_that_nothing_gives_is_found(run):
    run.predictions = [prediction(record.offset, 10.0) for record in run.predictions]
    findings = run.check()
    assert findings.extra == len(run.alerts)
    assert not findings.held


def test_a_state_that_says_something_else_is_found(run):
    run.state = run.state.model_copy(update={"observed": run.state.observed - 1})
    findings = run.check()
    assert findings.mismatches == 1
    assert "observed is 799, the records give 800" in findings.examples[0]


def test_records_that_nobody_followed_are_found(run):
    run.predictions.append(prediction(800, 14.0))
    assert run.check().unfollowed == 1


def test_alerts_of_data_quality_are_about_raw_records_and_are_not_replayed(run):
    finding = Finding(PIPELINE.source.topic, 0, 7, "x", "null", "", 1.0, 0.1, 0.0, 1.0, 0, "x: null")
    alert = QualityAlertBuilder(PIPELINE).alert(QualityAlert(finding, finding.finding_id), "1", 0)
    assert run.check([*run.alerts, alert.value]).held
