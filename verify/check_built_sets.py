"""Checks training sets, value by value: each is built a second time from the labels and its features.

This is a naive reading of docs/guides/training-sets.md, one event after the other. It takes the records that a set's
manifest says were read; a set of records that Kafka no longer keeps cannot be checked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.kafka.reading import Record
from schemas.constraints import INT64_MAX
from streams.definitions.labels import Labels, LabelSource
from streams.definitions.pipeline import Model
from streams.plan.project import Project
from verify.built_features import SetEvent, of_backfill, of_predictions, values_of
from verify.check_predictions import policy_version
from verify.findings import Findings
from verify.labels import Label, LabelHistory
from verify.published import Published
from verify.run_data import BackfillData, BuiltSet, RunData
from verify.training_sets import LabelledVectors

_SPLITS = ("train", "validation", "test")
_SOURCE = "label_source"
# An event by its id, partition and offset.
_Decided: TypeAlias = tuple[str, int, int]
_OWN = ("event_id", "event_time", "known_at", "label", "label_known_at", "p_observed", "split")


class _Placed(Protocol):
    """A record at an offset."""

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...


_P = TypeVar("_P", bound=_Placed)


@dataclass
class BuiltSetFindings(Findings):
    """Result of the check: ``checked`` of all ``sets`` could be built again."""

    sets: int = 0
    checked: int = 0
    unchecked: list[str] = field(default_factory=list)


class _Uncheckable(Exception):  # noqa: N818 - nothing is wrong
    """Why a set cannot be built again."""


class _Row(NamedTuple):
    """A row that a set must have, without its part."""

    event: SetEvent
    label: Label
    label_known_at: int | None
    p_observed: float | None
    source: str | None


def check_built_sets(
    project: Project, run: RunData, read_labels: Callable[[Sequence[Sequence[Record]]], LabelHistory]
) -> BuiltSetFindings:
    """Compare every row of the run's training sets with those of a second build.

    Args:
        project: The pipeline.
        run: What its run left.
        read_labels: Gives the labels of each event, from these records.
    """
    findings = BuiltSetFindings(sets=len(run.built_sets))
    for built in run.built_sets:
        try:
            wrong = _wrong(project, run, built, read_labels)
        except _Uncheckable as error:
            findings.unchecked.append(f"training set {built.name}: {error}")
            continue
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            wrong = [f"its manifest is none: {error!r}"]
        findings.checked += 1
        for text in wrong:
            findings.mismatch(f"training set {built.name}: {text}")
    return findings


def _wrong(
    project: Project, run: RunData, built: BuiltSet, read_labels: Callable[[Sequence[Sequence[Record]]], LabelHistory]
) -> list[str]:
    labels, model, manifest = project.pipeline.labels, project.pipeline.model, built.manifest
    if labels is None or manifest["labels"] != _rule_of(labels):
        raise _Uncheckable("the labels were declared otherwise when it was built")
    inputs = tuple(manifest["inputs"])
    views = {view.name: view for view in project.plan.views} | {other.name: other.view for other in project.other_views}
    used = {name for path in inputs if (name := path.partition(".")[0]) != "event"}
    versions = {name: f"{view.version}:{view.hash}" for name, view in views.items() if name in used}
    if inputs != model.inputs or manifest["views"] != versions:
        raise _Uncheckable("the model's inputs or their views were others when it was built")
    request, offsets = manifest["request"], manifest["offsets"]
    known = read_labels([_within(of, offsets, topic) for topic, of in zip(labels.topics, run.labels, strict=True)])
    needs_predictions = request["features"] == "served" or labels.hidden_by is not None
    topic = project.pipeline.predictions_topic
    predictions = _within(run.predictions, offsets, topic) if needs_predictions else []
    if request["features"] == "served":
        ids = {name: view.id for name, view in views.items()}
        events = of_predictions(model.names, inputs, ids, predictions)
    else:
        events = of_backfill(_backfill_of(project, run.backfills, manifest), inputs, manifest["categories"])
    decisions: dict[_Decided, Published] = {}
    for prediction in predictions:
        decisions.setdefault((prediction.value["event_id"], *prediction.position[:2]), prediction)
    until_ms = _until(request["until_ms"], labels, known)
    wrong = [] if manifest["until_ms"] == until_ms else [f"it is of what was known at {manifest['until_ms']}"]
    rows = _rows(events, known, labels, model, decisions, (request["from_ms"], request["to_ms"]), until_ms)
    splits = _splits([row.event.time for row in rows], request, labels.horizon)
    wrong += _differences(built.rows, rows, splits, inputs, with_source=len(labels.topics) > 1)
    positive = None if labels.positive is None else str(labels.positive)
    if manifest["data_hash"] != _vectors(rows, inputs, versions).data_hash(labels.task, positive):
        wrong.append("its manifest has another hash than what it must have")
    counted = Counter(row.source for row in rows)
    said = {topic: of["rows"] for topic, of in manifest.get("label_sources", {}).items()}
    if said != ({topic: counted[topic] for topic in labels.topics} if labels.otherwise else {}):
        wrong.append("its manifest counts other labels of its sources")
    if manifest["rows"] != len(rows) or sum(part["rows"] for part in manifest["parts"]) != len(rows):
        wrong.append(f"its manifest counts other rows than {len(rows)}")
    return wrong


def _rule_of(labels: Labels) -> dict[str, Any]:
    """The declaration as manifests have it."""
    others = [{"topic": one.topic, "value": one.value, **_of(one)} for one in labels.otherwise]
    return {
        "topic": labels.topic,
        "value": labels.value,
        "task": labels.task,
        "positive": None if labels.positive is None else str(labels.positive),
        "horizon_ms": labels.horizon,
        "absent": labels.absent,
        "hidden_by": labels.hidden_by,
        **({"otherwise": others} if others else {}),
        **_of(labels),
    }


def _of(labels: Labels | LabelSource) -> dict[str, str]:
    return {} if labels.of is None else {"of": labels.of}


def _within(records: Iterable[_P], offsets: Mapping[str, Mapping[str, Sequence[int]]], topic: str) -> list[_P]:
    """The records that were read; the first of each partition must still be there."""
    ranges = {int(partition): of for partition, of in offsets[topic].items()}
    found = [one for one in records if one.partition in ranges]
    found = [one for one in found if ranges[one.partition][0] <= one.offset < ranges[one.partition][1]]
    firsts = {(one.partition, one.offset) for one in found}
    if any((partition, begin) not in firsts for partition, (begin, _) in ranges.items()):
        raise _Uncheckable(f"Kafka no longer has all records of {topic} that it is made of")
    return found


def _backfill_of(project: Project, backfills: Sequence[BackfillData], manifest: Mapping[str, Any]) -> BackfillData:
    """The backfill that a set is made of: the one of its identity, or of an early set that of its offsets."""
    for backfill in backfills:
        is_same = backfill.rows.num_rows == manifest["counts"]["features_read"]
        is_same &= manifest.get("backfill") in (None, backfill.identity)
        for source, of in zip(project.plan.sources, backfill.sources, strict=True):
            read = {int(partition): tuple(ends) for partition, ends in manifest["offsets"][source.topic].items()}
            is_same &= read == {partition: (begin, of.end[partition]) for partition, begin in of.start.items()}
        if is_same:
            return backfill
    raise _Uncheckable("none of the backfills that are judged is the one that it is made of")


def _until(until_ms: int | None, labels: Labels, known: LabelHistory) -> int | None:
    """With a horizon, nothing is known of times that the labels have not reached."""
    if labels.horizon is None or known.reached_ms is None:
        return until_ms
    return known.reached_ms if until_ms is None else min(until_ms, known.reached_ms)


def _rows(
    events: Iterable[SetEvent],
    known: LabelHistory,
    labels: Labels,
    model: Model,
    decisions: Mapping[_Decided, Published],
    times: tuple[int, int],
    until_ms: int | None,
) -> list[_Row]:
    """The rows of a set by (event time, event id)."""
    until = INT64_MAX if until_ms is None else until_ms
    first: dict[str, SetEvent] = {}
    for event in events:
        first.setdefault(event.id, event)
    rows = []
    for event in first.values():
        final = until if labels.horizon is None else event.time + labels.horizon
        if not times[0] <= event.time < times[1] or max(event.time, event.known_at, final) > until:
            continue
        found = known.last(event.id, final)
        if found is None and labels.absent != "negative":
            continue
        label, known_at, source = (0, None, None) if found is None else found
        observed = _observed(model, labels.hidden_by, decisions.get((event.id, *event.position[:2])))
        rows.append(_Row(event, label, known_at, observed, None if source is None else labels.topics[source]))
    return sorted(rows, key=lambda row: (row.event.time, row.event.id))


def _observed(model: Model, hidden_by: str | None, prediction: Published | None) -> float | None:
    """The probability with which the outcome of an event could be seen."""
    if hidden_by is None or prediction is None:
        return 1.0
    value = prediction.value
    if value["decision"] == hidden_by:
        return None
    rollout = value["rollout"]
    if rollout is None or not rollout["explored"]:
        return 1.0
    if value["policy_version"] != policy_version(model):
        return None
    would_hide = (value["score"] >= model.threshold) == (hidden_by == model.positive)
    return float(rollout["propensity"]) if would_hide else 1.0


def _splits(times: Sequence[int], request: Mapping[str, Any], horizon: int | None) -> list[str]:
    """The part of each row, given the times of all, in order."""
    shares = [Fraction(share) for share in request["split"]]
    places = [int(len(times) * sum(shares[:number])) for number in (1, 2)]
    cuts = [times[place] if place < len(times) else math.inf for place in places]

    def part_of(time: int) -> str:
        for name, cut in zip(_SPLITS[:-1], cuts, strict=True):
            if time < cut:
                return "embargo" if request["embargo"] and time + (horizon or 0) > cut else name
        return _SPLITS[-1]

    return [part_of(time) for time in times]


def _differences(
    found: pa.Table, rows: Sequence[_Row], splits: Sequence[str], inputs: Sequence[str], *, with_source: bool
) -> list[str]:
    """Each row that is not what it must be, bit for bit."""
    columns = (*_OWN, _SOURCE) if with_source else _OWN
    if found.column_names != [*columns, *inputs]:
        return [f"its columns are {', '.join(found.column_names)}"]
    wrong = [] if found.num_rows == len(rows) else [f"it has {found.num_rows} rows in the place of {len(rows)}"]
    own = zip(*(values_of(found[name]) for name in columns), strict=True)
    vectors = _matrix(found, inputs)
    for number, (got, row) in enumerate(zip(own, rows, strict=False)):
        event = row.event
        times = event.time, event.known_at
        wanted = [event.id, *times, row.label, row.label_known_at, row.p_observed, splits[number]]
        wanted += [row.source] if with_source else []
        names = [name for name, one, other in zip(columns, got, wanted, strict=True) if one != other]
        names += [
            n for n, one, other in zip(inputs, vectors[number], event.vector, strict=True) if not _same(one, other)
        ]
        if names:
            wrong.append(f"row {number}, event {event.id}: {', '.join(names)} differ")
    return wrong


def _same(one: np.float32, other: np.float32) -> bool:
    return bool(one.tobytes() == other.tobytes() or (np.isnan(one) and np.isnan(other)))


def _matrix(rows: pa.Table, inputs: Sequence[str]) -> npt.NDArray[np.float32]:
    """The vectors of rows [N, inputs], null as NaN."""
    cells = [rows[name].combine_chunks().to_numpy(zero_copy_only=False).astype(np.float32) for name in inputs]
    return np.stack(cells, axis=1) if cells else np.empty((rows.num_rows, 0), np.float32)


def _vectors(rows: Sequence[_Row], inputs: tuple[str, ...], views: Mapping[str, str]) -> LabelledVectors:
    return LabelledVectors(
        inputs,
        views,
        [row.event.id for row in rows],
        np.array([row.event.time for row in rows], np.int64),
        np.array([row.event.vector for row in rows], np.float32).reshape(len(rows), len(inputs)),
        [row.label for row in rows],
    )
