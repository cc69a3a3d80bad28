"""Checks drift alerts and saved detector states against a second computation over the published records."""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from penstock.kafka.reading import Record
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from streams.definitions.monitors import SCORE
from streams.definitions.pipeline import Pipeline
from streams.plan.feature_records import is_absent
from verify.check_label_alarms import DETECTOR
from verify.drift_replay import (
    Firing,
    Observed,
    count_incidents,
    counted,
    counted_offsets,
    differences,
    incidents,
    read_reference,
    replay_monitor,
)
from verify.findings import Findings
from verify.published import Published

# The checks of data quality are about raw records, which no detector sees.
_OF_RAW_EVENTS = frozenset(
    ("null", "invalid", "range", "category", "distinct", "malformed", "duplicate", "late", "volume", "silence")
)


@dataclass
class DriftFindings(Findings):
    """Result of the check of the drift topic; ``ran`` is false if neither an alert nor a state was ever published.

    ``alerts`` counts published alerts; ``missing`` alerts that only the replay gives, ``extra`` alerts that only the
    topic has, ``twice`` repeated alerts. ``unfollowed`` counts records beyond the positions of the saved states.
    ``false_incidents`` counts incidents before the injected drift, or all if no drift was injected; ``incidents`` those
    before it and those from it on. An incident is what alerts of one change are together. A mismatch is an
    alert or a saved state whose content differs from the replay's.
    """

    ran: bool = True
    alerts: int = 0
    missing: int = 0
    extra: int = 0
    twice: int = 0
    unfollowed: int = 0
    incidents: int = 0
    false_incidents: int = 0

    @property
    def held(self) -> bool:
        """Whether every alert is correct and published exactly once, and the states cover every record."""
        return not (self.mismatches or self.missing or self.extra or self.twice or self.unfollowed)


class _Key(NamedTuple):
    """A state's key: the partition that it covers, and the model version with its reference."""

    topic: str
    partition: int
    model: str
    version: str
    reference: str

    @classmethod
    def read(cls, key: bytes) -> _Key:
        topic, partition, model, reference = key.decode().split("/")
        name, _, version = model.rpartition("@")
        return cls(topic, int(partition), name, version, reference)


def check_drift(
    pipeline: Pipeline,
    models: Path,
    features: Sequence[Published],
    predictions: Sequence[Published],
    alerts: Iterable[Record],
    states: Iterable[Record],
    injected_ms: int | None = None,
) -> DriftFindings:
    """Compute the detectors over the published records, from each saved state's start to its position, and compare.

    ``models`` is the model repository. ``alerts`` and ``states`` are the records of the drift topic and of the state
    topic; ``injected_ms`` is the event time at which injected drift begins; earlier alerts are false alarms.
    """
    findings = DriftFindings()
    published = [alert for alert in _read_alerts(alerts, findings) if alert["detector"] not in _OF_RAW_EVENTS]
    latest = _read_states(states, findings)
    if pipeline.monitors is None or not (published or latest):
        findings.ran = pipeline.monitors is None
        return findings
    findings.alerts = len(published)
    early = [alert for alert in published if injected_ms is None or alert["event_time"] < injected_ms]
    late = [alert for alert in published if injected_ms is not None and alert["event_time"] >= injected_ms]
    findings.false_incidents = count_incidents(early)
    findings.incidents = findings.false_incidents + count_incidents(late)
    # Those on labels are checked with the quality that they follow from.
    published = [alert for alert in published if alert["detector"] != DETECTOR]
    by_id = {(alert["model_version"], alert["alert_id"]): alert for alert in published}
    for (_, name), times in Counter((a["model_version"], a["alert_id"]) for a in published).items():
        if times > 1:
            findings.twice += times - 1
            findings.note(f"alert {name} was published {times} times")
    records = {pipeline.features_topic: features, pipeline.predictions_topic: predictions}
    expected: set[tuple[str, str]] = set()
    for key, state in latest.items():
        try:
            replayed = list(_replay(pipeline, models, key, state, records.get(key.topic, ()), findings))
        except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
            findings.mismatch(f"state of {key.topic}[{key.partition}] cannot be read: {error!r}")
            continue
        for alert in replayed:
            name = (key.version, alert["alert_id"])
            expected.add(name)
            _compare(alert, by_id.get(name), findings)
    for version, name in by_id.keys() - expected:
        findings.extra += 1
        findings.note(f"alert {name} (model version {version}) is not given by a replay of the records")
    _check_starts(latest, findings)
    findings.unfollowed = _unfollowed(pipeline, latest, records)
    if findings.unfollowed:
        findings.note(f"{findings.unfollowed} records come after the saved states of the detectors")
    return findings


def _read_alerts(records: Iterable[Record], findings: DriftFindings) -> list[dict[str, Any]]:
    decoder = record_decoder("drift_alert")
    found = []
    for record in records:
        try:
            found.append(decoder.decode(record.value or b""))
        except (Undecodable, UnknownSchema):
            findings.mismatch(f"drift[{record.partition}]@{record.offset}: is not an alert")
    return found


def _read_states(records: Iterable[Record], findings: DriftFindings) -> dict[_Key, dict[str, Any]]:
    """The latest state of each key; a tombstone removes it."""
    latest: dict[_Key, dict[str, Any]] = {}
    for record in records:
        try:
            key = _Key.read(record.key or b"")
            if record.value is None:
                latest.pop(key, None)
                continue
            state = json.loads(record.value)
            state |= {name: int(state[name]) for name in ("start", "position")}
        except (ValueError, TypeError, KeyError) as error:
            findings.mismatch(f"drift state [{record.partition}]@{record.offset} cannot be read: {error!r}")
            continue
        latest[key] = state
    return latest


def _check_starts(latest: Mapping[_Key, Mapping[str, Any]], findings: DriftFindings) -> None:
    """Check that the states of each partition cover it from its beginning: each continues where another one ended."""
    ends: dict[tuple[str, int], set[int]] = {}
    for key, state in latest.items():
        ends.setdefault((key.topic, key.partition), {0}).add(state["position"])
    for key, state in latest.items():
        if state["start"] not in ends[key.topic, key.partition] or state["start"] > state["position"]:
            findings.mismatch(f"state of {key.topic}[{key.partition}] starts at {state['start']}, where none ended")


def _replay(
    pipeline: Pipeline,
    models: Path,
    key: _Key,
    state: Mapping[str, Any],
    records: Sequence[Published],
    findings: DriftFindings,
) -> Iterator[dict[str, Any]]:
    """Compare a saved state with the computed one; yields the alerts that must have been published until then."""
    where = f"state of {key.topic}[{key.partition}]"
    names = _monitors_of(pipeline, key.topic)
    try:
        reference, content_hash = read_reference(models / key.model / key.version)
    except (OSError, ValueError) as error:
        findings.mismatch(f"{where}: the reference of model {key.model}@{key.version} cannot be read: {error}")
        return
    if content_hash != key.reference or not names:
        findings.mismatch(f"{where}: the reference of this model version has changed")
        return
    in_range = [
        record
        for record in sorted(records, key=lambda record: record.offset)
        if record.partition == key.partition and state["start"] <= record.offset < state["position"]
    ]
    observed = counted(list(_observations(pipeline, key, names, in_range)), reference["until_ms"])
    newest = np.maximum.accumulate([0, *(one.event_time for one in observed)])[1:]
    monitors = {monitor["name"]: monitor for monitor in reference["monitors"]}
    replays = {}
    for place, name in enumerate(names):
        replayed = replays[name] = replay_monitor(
            monitors[name], reference["window"], _less_rhythm(monitors[name], place, observed)
        )
        for field in differences(state["monitors"].get(name, {}), replayed.state):
            findings.mismatch(f"{where}: {field} of monitor {name} differs from a replay")
    firsts, latest = incidents(replays, reference["window"], newest.tolist())
    alerts = [
        _alert(key, name, firing, observed, newest.tolist())
        | {"incident": _alert_id(key, firsts[firing.place, name, firing.detector], observed)}
        for name, replayed in replays.items()
        for firing in replayed.firings
    ]
    if latest is not None:
        latest = {"id": _alert_id(key, latest.pop("first"), observed), **latest}
    if state.get("incident") != latest:
        findings.mismatch(f"{where}: its incident is {state.get('incident')}, a replay gives {latest}")
    _check_counts(state, observed, newest.tolist(), len(alerts), where, findings)
    yield from alerts


def _less_rhythm(monitor: Mapping[str, Any], place: int, observed: Sequence[Observed]) -> list[float]:
    """The values less what training had at their hour of the week, if that is the reference."""
    hours = monitor.get("hours")
    if not hours:
        return [one.values[place] for one in observed]
    return [one.values[place] - hours[one.event_time // 3_600_000 % 168] for one in observed]


def _check_counts(
    state: Mapping[str, Any],
    observed: Sequence[Observed],
    newest: Sequence[int],
    alerts: int,
    where: str,
    findings: DriftFindings,
) -> None:
    expected = {"observed": len(observed), "alerts": alerts, "newest_event_time": newest[-1] if newest else 0}
    for name, value in expected.items():
        if state[name] != value:
            findings.mismatch(f"{where}: {name} is {state[name]}, the records give {value}")
    sources: dict[str, set[int]] = {}
    for one in observed:
        topic, partition, offset = one.source
        sources.setdefault(f"{topic}/{partition}", set()).add(offset)
    for source in sources.keys() | state["seen"].keys():
        floor, held = counted_offsets(state["seen"][source]) if source in state["seen"] else (0, set())
        if held != {offset for offset in sources.get(source, ()) if offset >= floor}:
            findings.mismatch(f"{where}: the counted events of {source} differ from a replay")


def _alert(
    key: _Key, monitor: str, firing: Firing, observed: Sequence[Observed], newest: Sequence[int]
) -> dict[str, Any]:
    offset = observed[firing.place].offset
    return {
        "alert_id": _alert_id(key, (firing.place, monitor, firing.detector), observed),
        "monitor": monitor,
        "detector": firing.detector,
        "statistic": firing.statistic,
        "threshold": firing.threshold,
        "reference": firing.reference,
        "current": firing.current,
        "event_time": newest[firing.place],
        "topic": key.topic,
        "partition": key.partition,
        "offset": offset,
        "model": key.model,
        "model_version": key.version,
    }


def _alert_id(key: _Key, firing: tuple[int, str, str], observed: Sequence[Observed]) -> str:
    place, monitor, detector = firing
    return f"{key.topic}-{key.partition}-{observed[place].offset}:{monitor}:{detector}"


def _compare(alert: Mapping[str, Any], published: Mapping[str, Any] | None, findings: DriftFindings) -> None:
    name = alert["alert_id"]
    if published is None:
        findings.missing += 1
        findings.note(f"alert {name} was not published")
        return
    for field, value in alert.items():
        found = published[field]
        same = math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-9) if isinstance(value, float) else found == value
        if not same:
            findings.mismatch(f"alert {name}: {field} is {found!r}, a replay gives {value!r}")


def _monitors_of(pipeline: Pipeline, topic: str) -> tuple[str, ...]:
    """The monitors that the records of a topic feed."""
    assert pipeline.monitors is not None
    if topic == pipeline.features_topic:
        return pipeline.monitors.inputs
    return (SCORE,) if topic == pipeline.predictions_topic and pipeline.monitors.score else ()


def _observations(
    pipeline: Pipeline, key: _Key, names: Sequence[str], records: Iterable[Published]
) -> Iterator[Observed]:
    """What there is to monitor: events' feature records with all monitored columns, or one version's predictions."""
    of_features = key.topic == pipeline.features_topic
    for record in records:
        value = record.value
        if of_features:
            if record.is_timer or any(is_absent(name, record.lacks) for name in names):
                continue
            values = [_value_at(value, name) for name in names]
        elif (value["model"], value["model_version"]) == (key.model, key.version) and pipeline.model.cascade is None:
            values = [value["score"]]
        elif pipeline.model.cascade is not None and (value["cascade"] or {}).get("fast_version") == key.version:
            values = [value["cascade"]["fast_score"]]  # of all events, also those that the strong model decided
        else:
            continue
        source = value["source"]
        position = source["topic"], source["partition"], source["offset"]
        with np.errstate(over="ignore"):  # beyond float32's range a value becomes an infinity
            numbers: list[float] = np.array(values, dtype=np.float32).tolist()
        yield Observed(record.offset, value["event_time"], position, numbers)


def _value_at(value: Mapping[str, Any], name: str) -> float:
    scope, _, column = name.partition(".")
    part = value[scope]
    found = None if part is None else part[column]
    return math.nan if found is None else float(found)


def _unfollowed(
    pipeline: Pipeline, latest: Mapping[_Key, Mapping[str, Any]], records: Mapping[str, Sequence[Published]]
) -> int:
    """The number of records at or beyond the greatest saved position of their partition."""
    reached: dict[tuple[str, int], int] = {}
    for key, state in latest.items():
        where = (key.topic, key.partition)
        reached[where] = max(reached.get(where, 0), state["position"])
    return sum(
        record.offset >= reached.get((topic, record.partition), 0)
        for topic, published in records.items()
        if _monitors_of(pipeline, topic)
        for record in published
    )
