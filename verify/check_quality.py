"""Checks the histograms of quality: counts all predictions and labels again, one by one, and compares.

The alarms on labels follow from the same events: :mod:`verify.check_label_alarms`.

A prediction counts in the histogram of its version, policy, arm, route, stratum and hour, and in one for each group and
day. Before its label is final it counts as scored; then also as positive, negative or unknown
(docs/concepts/quality.md).
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from penstock.counts import counted
from penstock.kafka.reading import Record
from streams.definitions.labels import Labels
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project
from verify.check_label_alarms import FinalLabel, LabelAlarms, check_label_alarms
from verify.check_predictions import policy_version
from verify.findings import Findings
from verify.labels import Label, LabelHistory
from verify.late_predictions import Place, in_time, named_late
from verify.published import Published
from verify.run_data import RunData

_HOUR, _DAY = 3_600_000, 86_400_000
_KEPT_DAYS = 90
_NOTE, _ODD = b"note", b"odd:"
_TOLERANCE = 1e-12
_SHOWN = 5

Key: TypeAlias = tuple[Any, ...]
Bins: TypeAlias = dict[tuple[str, int], tuple[int, int, int]]
"""Of each outcome and bin: how many, the sum of scores in billionths, how many decided positive."""


@dataclass
class QualityFindings(Findings):
    """Result of the check: how many ``histograms`` were compared, and what could not be, in words."""

    histograms: int = 0
    unchecked: list[str] = field(default_factory=list)


def check_quality(
    project: Project, run: RunData, read_labels: Callable[[Sequence[Sequence[Record]]], LabelHistory]
) -> QualityFindings:
    """Check the topic of histograms against the predictions and labels before the offsets that it names.

    Nothing is checked if nothing was counted, or if what was counted is of another definition.
    """
    findings, pipeline = QualityFindings(), project.pipeline
    latest = _latest(run.quality)
    note_text = latest.pop(_NOTE, None)
    odd = {key.removeprefix(_ODD).decode(): latest.pop(key) for key in list(latest) if key.startswith(_ODD)}
    if pipeline.labels is None or note_text is None:
        if latest:
            findings.mismatch("quality: there are histograms and no note")
        return findings
    try:
        note = json.loads(note_text)
        published = {tuple(json.loads(key)): _bins_of(json.loads(value)) for key, value in latest.items()}
        edges, horizon, mature_ms = note["edges"], note["horizon_ms"], note["reached"]["mature_ms"]
        ends = {(topic, int(n)): offset for topic, of in note["positions"].items() for n, offset in of.items()}
        late = named_late(note)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        findings.mismatch(f"quality: a record is no histogram: {error}")
        return findings
    if horizon != pipeline.labels.horizon or not _are_edges(edges, pipeline.model.threshold):
        findings.unchecked.append("histograms of quality: they are of another definition")
        return findings
    (predictions, shadows, *known), missing = _before(
        ends,
        (pipeline.predictions_topic, run.predictions),
        (pipeline.shadow_topic, run.shadows),
        *zip(pipeline.labels.topics, run.labels, strict=True),
    )
    if missing:
        findings.unchecked.append(
            f"histograms of quality: {counted(missing, 'record')} {'was' if missing == 1 else 'were'} not counted yet"
        )
    labels = read_labels(known)
    if mature_ms != labels.reached_ms:
        text = f"labels have reached {labels.reached_ms}, and were taken for final up to {mature_ms}"
        if mature_ms is not None and (labels.reached_ms is None or mature_ms > labels.reached_ms):
            findings.mismatch(f"quality: {text}")
        else:
            findings.unchecked.append(f"histograms of quality: {text}")
    counter = _Counter(pipeline, labels, edges, mature_ms)
    if number := _too_late(predictions, labels, pipeline.labels):
        findings.unchecked.append(
            f"histograms of quality: {number} labels or predictions came two horizons after their event"
        )
        return findings
    if late is None:
        findings.unchecked.append(
            f"histograms of quality: {counted(note['late'], 'prediction')} came late, and which is not written down"
        )
        return findings
    predictions, shadows = _without_late(pipeline, predictions, shadows, late, note, findings)
    _compare(counter.count(predictions, shadows), published, findings)
    alarms = LabelAlarms(note, odd, *counter.finals(predictions), run.alerts)
    check_label_alarms(pipeline, alarms, findings)
    findings.unchecked += alarms.unchecked
    return findings


def _compare(expected: Mapping[Key, Bins], published: Mapping[Key, Bins], findings: QualityFindings) -> None:
    for key in sorted({*expected, *published}, key=str):
        findings.histograms += 1
        wanted, found = expected.get(key, {}), published.get(key, {})
        if wanted != found:
            findings.mismatch(f"quality {json.dumps(key)}: {_difference(wanted, found)}")


def _without_late(
    pipeline: Pipeline,
    predictions: Sequence[Published],
    shadows: Sequence[Published],
    late: AbstractSet[Place],
    note: Mapping[str, Any],
    findings: Findings,
) -> tuple[list[Published], list[Published]]:
    """The predictions that count: those that the engine does not name as late. It may name only what came late."""
    if len(late) != note.get("late", 0):
        findings.mismatch(f"quality: {counted(note['late'], 'prediction')} came late, and {len(late)} are named")
    topics = {pipeline.predictions_topic: predictions, pipeline.shadow_topic: shadows}
    places = {Place(topic, one.partition, one.offset): one for topic, of in topics.items() for one in of}
    for place in in_time(late, places, note["horizon_ms"], note["reached"]["mature_ms"]):
        where = f"{place.topic}[{place.partition}]@{place.offset}"
        findings.mismatch(f"quality: {where} counts nowhere, and did not come late")
    live, in_shadow = (
        [one for one in of if Place(topic, one.partition, one.offset) not in late] for topic, of in topics.items()
    )
    return live, in_shadow


def _before(ends: Mapping[tuple[str, int], int], *topics: tuple[str, Sequence[Any]]) -> tuple[list[list[Any]], int]:
    """The records of each topic before these offsets, and how many are not."""
    found = [[one for one in of if one.offset < ends.get((topic, one.partition), 0)] for topic, of in topics]
    return found, sum(len(of) for _, of in topics) - sum(map(len, found))


class _Counter:
    def __init__(self, pipeline: Pipeline, labels: LabelHistory, edges: Sequence[float], mature_ms: int | None) -> None:
        assert pipeline.labels is not None
        self._model, self._declared, self._labels = pipeline.model, pipeline.labels, labels
        self._edges, self._mature_ms = edges, mature_ms
        self._policy = policy_version(pipeline.model)
        inputs = pipeline.model.inputs
        self._groups = [(name, inputs.index(name)) for name in pipeline.model.groups if name in inputs]

    def count(self, predictions: Iterable[Published], shadows: Iterable[Published]) -> dict[Key, Bins]:
        """What histograms hold of these predictions."""
        firsts = _first(predictions, lambda value: value["event_id"])
        served = {event_id: record.value for event_id, record in firsts.items()}
        in_shadow = _first(shadows, lambda value: (value["event_id"], self._version(value)))
        found: dict[Key, dict[tuple[str, int], list[int]]] = defaultdict(dict)
        oldest = -math.inf
        if self._mature_ms is not None:
            since = self._mature_ms - _KEPT_DAYS * _DAY - 2 * (self._declared.horizon or 0)
            oldest = since // _DAY * _DAY
        for record in (*firsts.values(), *in_shadow.values()):
            value = record.value
            live = served.get(value["event_id"])
            # The event's own time is that of what was served, if anything was.
            time = (live or value)["event_time"]
            stratum = self._stratum(live)
            outcomes = ["scored"]
            if self._mature_ms is not None and time + (self._declared.horizon or 0) <= self._mature_ms:
                outcomes.append(self._outcome(value["event_id"], time, stratum))
            cell = [1, round(value["score"] * 1_000_000_000), int(value["decision"] == self._model.positive)]
            bin_ = sum(edge <= value["score"] for edge in self._edges)
            for key in self._keys(value, time, stratum):
                if key[-1] < oldest:
                    continue
                for outcome in outcomes:
                    held = found[key].setdefault((outcome, bin_), [0, 0, 0])
                    for number, added in enumerate(cell):
                        held[number] += added
        return {key: {at: (n, units, decided) for at, (n, units, decided) in of.items()} for key, of in found.items()}

    def finals(
        self, predictions: Sequence[Published]
    ) -> tuple[list[FinalLabel], dict[str, Mapping[str, Any]], Callable[[str, float, bool], bool]]:
        """The labels that are final and known, what was served, and what each event could ever be seen as."""
        firsts, horizon = _first(predictions, lambda value: value["event_id"]), self._declared.horizon or 0
        served = {event_id: record.value for event_id, record in firsts.items()}
        found = []
        for event_id, value in served.items():
            time = value["event_time"]
            if value["model"] != self._model.name or self._mature_ms is None or time + horizon > self._mature_ms:
                continue
            outcome = self._outcome(event_id, time, self._stratum(value))
            if outcome != "unknown":
                found.append(FinalLabel(time, event_id, self._version(value), value["score"], outcome == "positive"))
        seen = {(record.value["event_id"], record.value["score"]) for record in predictions}

        def could_be(event_id: str, score: float, positive: bool) -> bool:
            if (event_id, score) not in seen:
                return False
            is_hidden = self._stratum(served[event_id]) == "hidden"
            if not positive and self._declared.absent == "negative" and not is_hidden:
                return True
            known = {self._is_positive(label) for _, label in self._labels.all(event_id) if label is not None}
            return positive in known

        return found, served, could_be

    def _keys(self, value: Mapping[str, Any], time: int, stratum: str) -> Iterator[Key]:
        arm = value["rollout"] or {"policy": "", "arm": ""}
        of = self._version(value), arm["policy"], arm["arm"], value["route"], stratum
        yield (*of, "", "", time - time % _HOUR)
        vector = value["vector"]
        for name, place in self._groups:
            number = math.nan
            if (place + 1) * 4 <= len(vector):
                (number,) = struct.unpack_from("<f", vector, 4 * place)
            yield (*of, name, "null" if math.isnan(number) else format(number, ".9g"), time - time % _DAY)

    def _version(self, value: Mapping[str, Any]) -> str:
        version = str(value["model_version"])
        return version if value["model"] == self._model.name else f"{value['model']}:{version}"

    def _outcome(self, event_id: str, time: int, stratum: str) -> str:
        label = self._labels.at(event_id, time + (self._declared.horizon or 0))
        if label is None:
            return "negative" if self._declared.absent == "negative" and stratum != "hidden" else "unknown"
        return "positive" if self._is_positive(label) else "negative"

    def _is_positive(self, label: Label) -> bool:
        positive = self._declared.positive
        return label == (1 if positive is None else str(positive))

    def _stratum(self, live: Mapping[str, Any] | None) -> str:
        """With which probability the outcome could be seen, given what was decided on the event."""
        hidden_by = self._declared.hidden_by
        if hidden_by is None:
            return "1"
        if live is None or live["decision"] == hidden_by:
            return "hidden"
        arm = live["rollout"]
        if arm is None or not arm["explored"]:
            return "1"
        if live["policy_version"] != self._policy:
            return "other"
        would_be = self._model.positive if live["score"] >= self._model.threshold else self._model.negative
        if would_be != hidden_by:
            return "1"
        return format(arm["propensity"], ".9g") if 0 < arm["propensity"] <= 1 else "other"


def _first(records: Iterable[Published], name: Any) -> dict[Any, Published]:
    """The first prediction of each event, by its raw event's place in time."""
    found: dict[Any, Published] = {}
    for record in records:
        value = record.value
        if not 0 <= value["score"] <= 1:
            continue
        held = found.get(name(value))
        if held is None or _order(value) < _order(held.value):
            found[name(value)] = record
    return found


def _order(value: Mapping[str, Any]) -> tuple[int, ...]:
    source = value["source"]
    return source["timestamp"], source["partition"], source["offset"], value["features_offset"]


def _too_late(predictions: Iterable[Published], labels: LabelHistory, declared: Labels) -> int:
    """How many labels that decide came when their event may have been forgotten: what is right depends on the order."""
    horizon = declared.horizon or 0
    times = {record.value["event_id"]: record.value["event_time"] for record in predictions}
    # When Kafka received each label, with what it says of the time that labels have reached.
    received = sorted(
        (rank[1], min(rank[0], rank[1]) if rank[1] >= 0 else rank[0])
        for of in (labels, *labels.otherwise)
        for ranks in of.of.values()
        for rank, _ in ranks
    )
    reached_before: dict[int, int] = {}
    reached = -(2**63)
    for timestamp, time in received:
        reached_before.setdefault(timestamp, reached)
        reached = max(reached, time)
    newest = max(times.values(), default=0)
    return sum(
        rank[0] <= time + horizon and min(reached_before[rank[1]], newest) >= time + 2 * horizon
        for event_id, time in times.items()
        for rank, _ in labels.all(event_id)
    )


def _are_edges(edges: Sequence[float], threshold: float) -> bool:
    wanted = sorted({*(1 / (1 + math.exp(-n / 5)) for n in range(-75, 76)), threshold})
    return len(edges) == len(wanted) and all(abs(a - b) < _TOLERANCE for a, b in zip(edges, wanted, strict=True))


def _bins_of(content: Mapping[str, Sequence[Sequence[int]]]) -> Bins:
    return {(outcome, bin_): (n, units, decided) for outcome, of in content.items() for bin_, n, units, decided in of}


def _difference(wanted: Bins, found: Bins) -> str:
    """The outcomes whose counts differ; or, if none does, bins and scores."""
    counts = [Counter[str](), Counter[str]()]
    for of, by_outcome in zip((wanted, found), counts, strict=True):
        for (outcome, _), cell in of.items():
            by_outcome[outcome] += cell[0]
    different = [
        f"{counts[1][name]} {name}, should be {counts[0][name]}"
        for name in ("scored", "positive", "negative", "unknown")
        if counts[0][name] != counts[1][name]
    ]
    if different:
        return "; ".join(different)
    places = sorted(place for place in {*wanted, *found} if wanted.get(place) != found.get(place))
    return f"bins or sums differ: {', '.join(f'{name} in bin {bin_}' for name, bin_ in places[:_SHOWN])}"


def _latest(records: Iterable[Record]) -> dict[bytes, bytes]:
    """The latest value of each key."""
    found: dict[bytes, bytes] = {}
    for record in records:
        key = record.key or b""
        found.pop(key, None)
        if record.value is not None:
            found[key] = record.value
    return found
