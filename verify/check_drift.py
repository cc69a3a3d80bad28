"""Checks drift alerts and saved detector states against a replay of the detectors over the published records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from penstock.kafka.reading import Record
from schemas.history import record_decoder
from scoring.repository import ModelRepository
from streams.definitions.pipeline import Pipeline
from streams.drift.drift_records import is_comparable, monitors_by_topic, observer_of
from streams.drift.drift_reference import DriftReference, read_reference
from streams.drift.track import DriftAlert, Track, TrackState, read_state
from verify.findings import Findings
from verify.published import Published


@dataclass
class DriftFindings(Findings):
    """Result of the check of the drift topic; ``ran`` is false if neither an alert nor a state was ever published.

    ``alerts`` counts published alerts; ``missing`` alerts that only the replay gives, ``extra`` alerts that only the
    topic has, ``twice`` repeated alerts. ``unfollowed`` counts records beyond the positions of the saved states.
    ``false_alarms`` counts alerts before the injected drift, or all alerts if no drift was injected. A mismatch is an
    alert or a saved state whose content differs from the replay's.
    """

    ran: bool = True
    alerts: int = 0
    missing: int = 0
    extra: int = 0
    twice: int = 0
    unfollowed: int = 0
    false_alarms: int = 0

    @property
    def held(self) -> bool:
        """Whether every alert is correct and published exactly once, and the states cover every record."""
        return not (self.mismatches or self.missing or self.extra or self.twice or self.unfollowed)


class _Key(NamedTuple):
    """A state's key: the partition that it covers, and the model version with its reference."""

    topic: str
    partition: int
    model: str
    version: int
    reference: str

    @classmethod
    def read(cls, key: bytes) -> _Key:
        topic, partition, model, reference = key.decode().split("/")
        name, _, version = model.rpartition("@")
        return cls(topic, int(partition), name, int(version), reference)


def check_drift(
    pipeline: Pipeline,
    repository: ModelRepository,
    features: Sequence[Published],
    predictions: Sequence[Published],
    alerts: Iterable[Record],
    states: Iterable[Record],
    injected_ms: int | None = None,
) -> DriftFindings:
    """Replay the detectors over the published records, from each saved state's start to its position, and compare.

    ``alerts`` and ``states`` are the records of the drift topic and of the state topic; ``injected_ms`` is the event
    time at which injected drift begins; earlier alerts are false alarms.

    Raises:
        PenstockError: if a state or its reference cannot be read.
    """
    findings = DriftFindings()
    decoder = record_decoder("drift_alert")
    published = [decoder.decode(record.value or b"") for record in alerts]
    findings.alerts = len(published)
    findings.false_alarms = sum(injected_ms is None or alert["event_time"] < injected_ms for alert in published)
    by_id = {(alert["model_version"], alert["alert_id"]): alert for alert in published}
    for (_, name), times in Counter((a["model_version"], a["alert_id"]) for a in published).items():
        if times > 1:
            findings.twice += times - 1
            findings.note(f"alert {name} was published {times} times")
    expected: set[tuple[str, str]] = set()
    latest = {_Key.read(r.key or b""): read_state(r.value, str(r.key)) for r in states if r.value is not None}
    records = {pipeline.features_topic: features, pipeline.predictions_topic: predictions}
    for key, state in latest.items():
        reference = read_reference(repository.folder(key.model, key.version))
        if reference.hash != key.reference or key.topic not in monitors_by_topic(pipeline):
            findings.mismatch(f"state {key}: the reference of this model version has changed")
            continue
        for alert in _replay(pipeline, key, reference, state, records[key.topic], findings):
            name = (str(key.version), alert.alert_id)
            expected.add(name)
            _compare(alert, by_id.get(name), findings)
    for version, name in by_id.keys() - expected:
        findings.extra += 1
        findings.note(f"alert {name} (model version {version}) is not given by a replay of the records")
    findings.unfollowed = _unfollowed(pipeline, latest, records)
    if findings.unfollowed:
        findings.note(f"{findings.unfollowed} records come after the saved states of the detectors")
    return findings


def _replay(
    pipeline: Pipeline,
    key: _Key,
    reference: DriftReference,
    state: TrackState,
    records: Sequence[Published],
    findings: DriftFindings,
) -> list[DriftAlert]:
    track = Track(reference, monitors_by_topic(pipeline)[key.topic], key.topic, key.partition, state.start)
    observe = observer_of(key.topic, pipeline, key.version)
    counted: set[tuple[str, int, int]] = set()
    alerts: list[DriftAlert] = []
    for record in sorted((r for r in records if r.partition == key.partition), key=lambda r: r.offset):
        if state.start <= record.offset < state.position:
            observation = observe(record.value) if is_comparable(pipeline, record.lacks) else None
            alerts += track.process(record.offset, observation)
            if observation is not None and observation.event_time > reference.until_ms:
                counted.add(observation.source)
    track.position = state.position  # a state's position also covers unreadable offsets
    where = f"state of {key.topic}[{key.partition}]"
    if state.observed != len(counted):
        findings.mismatch(f"{where} counted {state.observed} events, the topic has {len(counted)}")
    for field, value in track.state():
        if value != getattr(state, field):
            findings.mismatch(f"{where}: {field} differs from a replay")
    return alerts


def _compare(alert: DriftAlert, published: Mapping[str, Any] | None, findings: DriftFindings) -> None:
    if published is None:
        findings.missing += 1
        findings.note(f"alert {alert.alert_id} was not published")
        return
    expected = {"monitor": alert.monitor, "event_time": alert.event_time, "offset": alert.offset}
    for name, value in (expected | alert.crossing._asdict()).items():
        if published[name] != value:
            findings.mismatch(f"alert {alert.alert_id}: {name} is {published[name]!r}, a replay gives {value!r}")


def _unfollowed(
    pipeline: Pipeline, latest: Mapping[_Key, TrackState], records: Mapping[str, Sequence[Published]]
) -> int:
    """The number of records at or beyond the greatest saved position of their partition."""
    reached: dict[tuple[str, int], int] = {}
    for key, state in latest.items():
        where = (key.topic, key.partition)
        reached[where] = max(reached.get(where, 0), state.position)
    return sum(
        record.offset >= reached.get((topic, record.partition), 0)
        for topic in monitors_by_topic(pipeline)
        for record in records[topic]
    )
