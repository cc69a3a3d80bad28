"""Profiles of small training sets, for tests: a pipeline, part files, and what is found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backfill.profiling.columns import feature_columns
from backfill.profiling.counting import count
from backfill.profiling.labels import ColumnLabels
from backfill.profiling.measured import Profile, Profiles, measure
from backfill.profiling.source import source_of_training_set
from backfill.training_sets.leaks import SKIPPED
from backfill.training_sets.manifest import (
    LabelRule,
    LeakCheck,
    Request,
    Selection,
    SetCounts,
    SetPart,
    TrainingSetManifest,
)
from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_HASH,
    Contract,
    Derived,
    Entity,
    Labels,
    Model,
    Pipeline,
    Source,
    View,
    last,
    last_k,
    mean,
)
from streams.definitions.labels import Task
from streams.plan.project import Project

FIRST_MS = 1_772_323_200_000
"""2026-03-01."""
DAY_MS = 86_400_000


class Tap(Contract, name="tap_for_profiles", version=1):
    """A tap."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY, PII_HASH]
    amount: float | None
    city: str | None = None


class Verdict(Contract, name="verdict_for_profiles", version=1):
    """What a tap was."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    fraud: bool


CARD = Entity(name="card", key="card")
PIPELINE = Pipeline(
    name="taps",
    source=Source(topic="events.taps", contract=Tap, key="card"),
    entities=(CARD,),
    derived={"short": Derived(type="string", sql="SUBSTRING(card, 1, 4)")},
    views=(
        View(
            name="taps",
            version=1,
            entity=CARD,
            aggregates=(
                mean("amount", over="1h"),
                mean("amount", over="lifetime", where="amount > 5", name="large"),
                last("city", over="1h"),
                last("card", over="1h"),
                last("short", over="1h"),
                last_k("card", k=3, over="1h"),
            ),
        ),
    ),
    model=Model(name="taps", inputs=("event.amount",), threshold=0.5, positive="block", negative="pass"),
    labels=Labels(topic="labels.taps", contract=Verdict, value="fraud"),
    passthrough=("city", "card", "short"),
)
PROJECT = Project.of(PIPELINE, Path("nothing is committed"))


def training_set(
    folder: Path,
    columns: Mapping[str, Any],
    labels: Any = None,
    times: Any = None,
    parts: int = 1,
    split: str = "train",
) -> Path:
    """A training set of these columns (Arrow arrays, or what makes one), over 20 days unless ``times`` says others."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: value if isinstance(value, pa.Array) else pa.array(value) for name, value in columns.items()}
    rows = len(next(iter(arrays.values())))
    times = FIRST_MS + np.arange(rows) * 20 * DAY_MS // max(rows, 1) if times is None else times
    moments = pa.array(times, pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
    table = pa.table(
        {
            "event_id": pa.array([f"e{row}" for row in range(rows)]),
            "event_time": moments,
            "known_at": moments,
            "label": pa.nulls(rows, pa.int8()) if labels is None else pa.array(labels),
            "label_known_at": moments,
            "p_observed": pa.array(np.ones(rows)),
            "split": pa.array([split] * rows),
            **arrays,
        }
    )
    step = -(-rows // parts)
    slices = {f"part-{part:05}.parquet": table.slice(part * step, step) for part in range(parts)}
    for name, of in slices.items():
        pq.write_table(of, folder / name, row_group_size=1_000)
    _manifest([SetPart(file=name, rows=of.num_rows, sha256="") for name, of in slices.items()]).save(folder)
    return folder


def _manifest(parts: Sequence[SetPart]) -> TrainingSetManifest:
    request = {"from_ms": 0, "to_ms": 1, "until_ms": None, "features": "served", "split": ("1", "0", "0")}
    declared = {"topic": "labels.taps", "value": "fraud", "task": "binary", "positive": None, "horizon_ms": None}
    nothing = {"declined": 0, "declined_unlabelled": 0, "explored": 0, "other_policy": 0}
    unseen = {"saw_future": 0, "examples": (), "late": 0, "latest_ms": 0, "labels_before_event": 0}
    return TrainingSetManifest(
        pipeline="taps",
        model="taps",
        request=Request(**request, embargo=False, seed=0, probe=False),
        until_ms=None,
        labels=LabelRule(**declared, absent=None, hidden_by=None),
        inputs=("event.amount",),
        categories=(),
        views={},
        plan="",
        rows=sum(part.rows for part in parts),
        classes=(),
        data_hash="0123456789abcdef" * 4,
        parts=tuple(parts),
        splits={},
        counts=SetCounts(),
        offsets={},
        versions={},
        arrival=(),
        selection=Selection(**nothing, hidden_by=None, negatives=None, unknown_share=None),
        leak_check=LeakCheck(verdict="passed", **unseen, probe=SKIPPED),
        libraries={},
    )


def profiles_of(
    folder: Path,
    columns: Sequence[str] = (),
    *,
    task: Task | None = "binary",
    seed: int = 0,
    project: Project = PROJECT,
) -> Profiles:
    """The profile of a training set."""
    source = source_of_training_set(folder, "taps")
    labels = None if task is None else ColumnLabels()
    return measure(count(source, feature_columns(project, source.schema, columns), labels, task, seed))


def profile_of(folder: Path, values: Any, labels: Any = None, times: Any = None, task: Task = "binary") -> Profile:
    """The profile of one feature with these values."""
    training_set(folder, {"event.amount": values}, labels, times)
    (found,) = profiles_of(folder, task=None if labels is None else task).features
    return found
