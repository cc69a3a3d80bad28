"""Reads events and labels as columns: 17 bytes for each event, 44 for each label, whatever their ids and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from typing import Any, Literal, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from backfill.labels import LabelReader
from penstock.kafka.reading import Record
from schemas.codec import Registry, Undecodable, UnknownSchema
from schemas.columns import ColumnReader
from schemas.history import record_decoder
from schemas.records import PREDICTION_SCHEMA
from scoring.label_maturity import reached
from scoring.rollout.label_table import ROW
from scoring.rollout.sample import hashes
from scoring.training_set import LabelRow
from streams.definitions.labels import Labels
from streams.plan.project import Project

_BATCH = 10_000
_T = TypeVar("_T")
EventsFrom = Literal["predictions", "features"]


class EventColumns(NamedTuple):
    """Events, each id once, with its earliest time; sorted by the hash of the id.

    Args:
        ids: Hashes of ids, [N].
        times: Event times, epoch ms, [N].
        is_hidden: Whether the decision that was served hides the outcome, [N].
        refused: How many records could not be read.
    """

    ids: NDArray[np.uint64]
    times: NDArray[np.int64]
    is_hidden: NDArray[np.bool_]
    refused: int = 0

    @classmethod
    def of(cls, ids: NDArray[np.uint64], times: NDArray[np.int64], hidden: NDArray[np.bool_], refused: int = 0) -> Self:
        """The columns of records, in any order, some of them perhaps of the same event."""
        order = np.lexsort([times, ids])
        ids, times, hidden = ids[order], times[order], hidden[order]
        is_first = np.ones(len(ids), np.bool_)
        is_first[1:] = ids[1:] != ids[:-1]
        return cls(ids[is_first], times[is_first], hidden[is_first], refused)


class LabelColumns(NamedTuple):
    """Labels of a source, in any order.

    Args:
        rows: See :data:`scoring.rollout.label_table.ROW`; of several classes, values are places in ``classes``.
        classes: The names of classes, of several; the same ones for all sources.
        reached_ms: The latest time that labels have reached; None without any.
        refused: How many records are no label.
        topic: Where they are from.
    """

    rows: NDArray[Any]
    classes: tuple[str, ...]
    reached_ms: int | None
    refused: int = 0
    topic: str = ""


def read_predictions(records: Iterable[Record], hidden_by: str | None) -> EventColumns:
    """The events of a predictions topic; ``hidden_by`` is the decision after which nobody can see the outcome."""
    reader, decoder, refused = ColumnReader(PREDICTION_SCHEMA), record_decoder("prediction"), 0
    ids, times, hidden = [_NO_IDS], [_NO_TIMES], [_NO_FLAGS]
    for batch in _batches(records):
        values = [record.value or b"" for record in batch]
        columns = reader.locate(values)
        plain = np.flatnonzero(columns.plain)
        texts = columns.texts("event_id")
        ids.append(_hashes([texts[row] or "" for row in plain.tolist()]))
        times.append(columns.integers("event_time")[plain])
        hides = np.zeros(len(values), np.bool_) if hidden_by is None else columns.equals("decision", hidden_by)
        hidden.append(hides[plain])
        for row in np.flatnonzero(~columns.plain).tolist():
            try:
                prediction = decoder.decode(values[row])
            except (Undecodable, UnknownSchema):
                refused += 1
                continue
            ids.append(_hashes([prediction["event_id"]]))
            times.append(np.array([prediction["event_time"]], np.int64))
            hidden.append(np.array([prediction["decision"] == hidden_by]))
    return EventColumns.of(np.concatenate(ids), np.concatenate(times), np.concatenate(hidden), refused)


def read_features(project: Project, records: Iterable[Record]) -> EventColumns:
    """The events of a features topic, for a pipeline that has scored nothing yet. Nobody has decided anything."""
    decoder, refused = project.features_decoder(), 0
    ids, times = [_NO_IDS], [_NO_TIMES]
    for batch in _batches(records):
        names: list[str] = []
        at: list[int] = []
        for record in batch:
            try:
                features = decoder.decode(record.value or b"")
            except (Undecodable, UnknownSchema):
                refused += 1
                continue
            if features["trigger"] == "event":
                names.append(features["event_id"])
                at.append(features["event_time"])
        ids.append(_hashes(names))
        times.append(np.array(at, np.int64))
    found = np.concatenate(ids)
    return EventColumns.of(found, np.concatenate(times), np.zeros(len(found), np.bool_), refused)


def read_labels(
    labels: Labels, project: Project, read: Callable[[str], Iterable[Record]], registry: Registry | None = None
) -> list[LabelColumns]:
    """The labels of each source, in their order; those that cannot be read are logged and counted.

    Raises:
        PenstockError: if the schema registry cannot be reached.
    """
    reader = LabelReader(labels, project.schemas, registry)
    classes: dict[str, int] = {}
    found = [[np.empty(0, ROW)] for _ in labels.topics]
    newest = dict[int, int]()
    for rows in _batches(reader.rows(read)):
        for source, of_source in groupby(rows, lambda row: row.source):
            batch = list(of_source)
            found[source].append(_label_rows(batch, classes if labels.task == "multiclass" else None))
            latest = reached((row.known_at_ms, row.received_ms) for row in batch)
            assert latest is not None
            newest[source] = max(latest, newest.get(source, latest))
    return [
        LabelColumns(np.concatenate(found[source]), tuple(classes), newest.get(source), refused.count, topic)
        for source, (topic, refused) in enumerate(reader.refused.items())
    ]


def _label_rows(batch: list[LabelRow], classes: dict[str, int] | None) -> NDArray[Any]:
    rows = np.empty(len(batch), ROW)
    rows["event"] = _hashes([row.event_id for row in batch])
    rows["time"] = [row.known_at_ms for row in batch]
    rows["received"], rows["partition"], rows["offset"] = zip(*(row.position for row in batch), strict=True)
    rows["value"] = list(_numbers(batch, classes))
    return rows


def _numbers(batch: Iterable[LabelRow], classes: dict[str, int] | None) -> Iterator[float]:
    for row in batch:
        if row.value is None:
            yield np.nan
        elif classes is None:
            yield float(row.value)
        else:
            yield classes.setdefault(str(row.value), len(classes))


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _hashes(ids: list[str]) -> NDArray[np.uint64]:
    return hashes("event", ids)[0]


_NO_IDS, _NO_TIMES, _NO_FLAGS = np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.bool_)
