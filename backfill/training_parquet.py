"""Reads a pipeline's training set: the features of a backfill, joined to the labels topic."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import filterfalse
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backfill.labels import LabelReader
from backfill.parquet import Backfill
from backfill.served_inputs import ServedInputs, defaults_of, served_inputs
from backfill.topics_read import ReadRecords, TopicsRead
from penstock.errors import PenstockError
from schemas.categories import category, code_of
from schemas.codec import Registry
from scoring.label_maturity import Maturity
from scoring.recipe import DataRecipe
from scoring.training_set import FeatureRow, TrainingSet, join, view_versions
from scoring.vectors import FloatArray
from streams.definitions.labels import Labels
from streams.definitions.other_inputs import is_other
from streams.plan.project import Project


def read_training_set(
    project: Project,
    read: ReadRecords,
    backfill: Backfill,
    until_ms: int | None = None,
    registry: Registry | None = None,
    *,
    with_defaults: bool = False,
) -> TrainingSet:
    """Return the labelled events of the backfill, as known at ``until_ms`` (event time, epoch ms; None: no limit).

    If the labels declare a horizon, these are the events that are so old, as :func:`scoring.training_set.join` says.

    Inputs of other pipelines are as they were served, by the predictions topic; ``with_defaults`` gives every event
    their declared defaults instead.

    ``read`` reads topics: those of labels, and that of predictions if they are needed. Labels that break their
    contract are left out, logged and counted. ``registry`` finds the schemas of Confluent-framed labels.

    Raises:
        PenstockError: if the backfill is of another pipeline or other view versions, or lacks views that the model
            needs; the pipeline has no labels, or too few of old enough events; no prediction has the inputs of other
            pipelines; or a topic cannot be read.
    """
    pipeline = project.pipeline
    labels = require_labels(project)
    inputs = pipeline.model.inputs
    views = view_versions(project.plan, inputs, project.other_views)
    require_fit(project, views, backfill)
    reader = LabelReader(labels, project.schemas, registry)
    vectors = VectorReader(inputs, pipeline.categories, defaults_of(project))
    own = [name for name in views if not is_other(name)]
    rows = feature_rows(vectors, own, backfill.batches(feature_columns(inputs, own)))
    topics = TopicsRead(read)
    served = None
    if project.other_views and not with_defaults:
        served = _require_served(project, served_inputs(project, topics.records(pipeline.predictions_topic)))
        rows = served.rows(rows)
    result = join(
        rows,
        reader.rows(topics.records),
        inputs=inputs,
        views=views,
        until_ms=until_ms,
        task=labels.task,
        positive=None if labels.positive is None else str(labels.positive),
        categories=pipeline.categories,
        maturity=Maturity.of(labels),
        sources=labels.topics,
    )
    offsets = offsets_of(project, backfill)
    unserved = served.unserved if served else 0
    counts = replace(
        result.counts,
        labels_refused=reader.refusals,
        features_read=result.counts.features_read + unserved,
        events_unserved=unserved,
    )
    is_default = with_defaults and bool(project.other_views)
    replay = backfill.manifest.replay
    recipe = DataRecipe(
        data_hash=result.data_hash,
        events=len(result),
        columns=result.column_hashes(),
        from_ms=replay.from_ms,
        to_ms=replay.to_ms,
        views=tuple(backfill.manifest.views),
        max_ahead_ms=replay.max_ahead_ms,
        offsets=offsets,
        topics=topics.found(),
    )
    return replace(
        result,
        counts=counts,
        offsets=offsets,
        texts=vectors.texts,
        with_defaults=is_default,
        values_refused=sum(refused.values for refused in reader.refused.values()),
        recipe=recipe,
    )


def require_labels(project: Project) -> Labels:
    """The labels of a pipeline.

    Raises:
        PenstockError: if it declares none.
    """
    if project.pipeline.labels is None:
        raise PenstockError(
            f"pipeline {project.pipeline.name} declares no labels, which a training set needs",
            next="add labels=Labels(topic=..., contract=..., value=...) to the pipeline",
        )
    return project.pipeline.labels


def offsets_of(project: Project, backfill: Backfill) -> dict[str, dict[int, tuple[int, int]]]:
    """Which offsets of each topic a backfill has read, by partition: the first, and the end."""
    replay, plan = backfill.manifest.replay, project.plan
    topics = [*(source.topic for source in plan.sources), *plan.reference_topics]
    return {
        topic: {partition: (begin, of.end[partition]) for partition, begin in of.start.items()}
        for topic, of in zip(topics, (*replay.sources, *replay.lookups), strict=True)
    }


def require_fit(project: Project, views: Mapping[str, str], backfill: Backfill) -> None:
    """Check that the backfill has the views and columns of the model's inputs, as the pipeline defines them now.

    Raises:
        PenstockError: if it lacks one; the message names it.
    """
    pipeline, available = project.pipeline, backfill.manifest.views
    own = {name: now for name, now in views.items() if not is_other(name)}
    reasons = []
    if backfill.manifest.pipeline != pipeline.name:
        reasons.append(f"it is of pipeline {backfill.manifest.pipeline}")
    elif missing := [name for name in own if name not in available]:
        reasons.append(f"it has no view {', '.join(missing)}")
    else:
        reasons += [
            f"view {name} is {available[name]} there and {now} in the pipeline"
            for name, now in own.items()
            if available[name] != now
        ]
        columns = set(backfill.columns())
        absent = [name for name in pipeline.model.inputs if name not in columns and not is_other(name)]
        if not reasons and absent:
            reasons.append(f"it has no column {', '.join(absent)}")
    if reasons:
        raise PenstockError(
            f"the backfill does not fit model {pipeline.model.name}: {'; '.join(reasons)}",
            where=str(backfill.folder),
            next=f"penstock backfill run {project.reference} --from TIME --to TIME --out FOLDER, another one",
        )


def _require_served(project: Project, served: ServedInputs) -> ServedInputs:
    if served.found:
        return served
    other = next(filter(is_other, project.pipeline.model.inputs))
    raise PenstockError(
        f"no prediction of model {project.pipeline.model.name} has inputs of other pipelines, such as {other}",
        where=project.pipeline.predictions_topic,
        safe="no version was written",
        next=f"penstock model train {project.reference} --backfill FOLDER --with-defaults, for a first version that is "
        "trained without them; its predictions have them",
    )


def feature_rows(reader: VectorReader, views: Iterable[str], batches: Iterator[pa.RecordBatch]) -> Iterator[FeatureRow]:
    """Yield one row per event, in the order of the batches; vectors equal those of the scorer."""
    for batch in batches:
        vectors = reader.vectors(batch)
        times, ids = _int64_values(batch, "event_time"), batch.column("event_id").to_pylist()
        as_of = [batch.column(f"{view}.as_of").cast("int64").to_pylist() for view in views]
        positions = zip(
            *(_int64_values(batch, f"source.{name}") for name in ("timestamp", "partition", "offset")), strict=True
        )
        for i, (event_id, position) in enumerate(zip(ids, positions, strict=True)):
            known = [column[i] for column in as_of if column[i] is not None]
            yield FeatureRow(
                event_id=event_id,
                event_time_ms=times[i],
                known_at_ms=max(known, default=times[i]),
                partition=position[1],
                position=position,
                vector=vectors[i].copy(),  # a row must not keep its whole batch in memory
            )


def feature_columns(inputs: tuple[str, ...], views: Iterable[str]) -> list[str]:
    """The columns of a backfill that :func:`feature_rows` needs."""
    identity = ["event_id", "event_time", "source.partition", "source.offset", "source.timestamp"]
    return [*identity, *(f"{view}.as_of" for view in views), *filterfalse(is_other, inputs)]


class VectorReader:
    """Takes the vectors of one model from batches, as :class:`scoring.vectors.Vectorizer` does from records.

    Args:
        inputs: The model's inputs.
        categories: Those that are categories.
        others: The inputs of other pipelines, which a backfill does not have, as each vector gets them.

    Attributes:
        texts: Of each category the texts that were read, by code.
    """

    def __init__(
        self, inputs: tuple[str, ...], categories: Collection[str] = (), others: Sequence[float] | FloatArray = ()
    ) -> None:
        self._inputs = inputs
        self._others = dict(zip(filter(is_other, inputs), others, strict=True))
        self.texts: dict[str, dict[float, str]] = {name: {} for name in categories}

    def vectors(self, batch: pa.RecordBatch) -> FloatArray:
        """The matrix [N, inputs]: double, then float32; null is NaN, a boolean 0 or 1, a category its code."""
        matrix = np.empty((batch.num_rows, len(self._inputs)), dtype=np.float64)
        for place, name in enumerate(self._inputs):
            if name in self._others:
                matrix[:, place] = self._others[name]
                continue
            values = batch.column(name)
            matrix[:, place] = self._codes(name, values) if name in self.texts else _numbers(values)
        with np.errstate(over="ignore"):
            return matrix.astype(np.float32)

    def _codes(self, name: str, values: pa.Array) -> NDArray[np.float64]:
        distinct = values.dictionary_encode()
        texts = [category(value) for value in distinct.dictionary.to_pylist()]
        codes = np.array([*map(code_of, texts), np.nan])
        self.texts[name] |= {code: text.decode() for code, text in zip(codes.tolist(), texts, strict=False)}
        found: NDArray[np.float64] = codes[distinct.indices.fill_null(len(texts)).to_numpy()]
        return found


def _numbers(values: pa.Array) -> NDArray[np.float64]:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    numbers: NDArray[np.float64] = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    numbers[values.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return numbers


def _int64_values(batch: pa.RecordBatch, name: str) -> list[Any]:
    values: list[Any] = batch.column(name).cast("int64").to_pylist()
    return values
