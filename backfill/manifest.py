"""The manifest of a backfill: its definition and progress, in ``manifest.json`` in its folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from backfill.resumable import write_durably
from penstock.errors import PenstockError
from penstock.time import iso
from streams.flink.submission import Replay
from streams.plan.model import PipelinePlan

_FILE_NAME = "manifest.json"
PARTIAL = f".{_FILE_NAME}"
"""The name of a manifest that is being written."""


class Part(BaseModel):
    """A complete part file: rows of one source partition, in the order in which the job wrote them.

    ``next_offset`` is the scratch topic's offset after its last row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    partition: int
    rows: int
    next_offset: int


class BackfillManifest(BaseModel):
    """The definition and progress of one backfill.

    Args:
        state: ``complete`` once all parts are written; readers refuse any other state.
        pipeline: The pipeline's name.
        views: ``version:hash`` of each view whose features the rows have, in record order.
        plan: Hash of the whole plan; it must not change before the backfill is complete.
        run: Id of this run, in the names of its job, consumer group and scratch topic.
        replay: The offsets that are replayed, and the range of event time.
        archive: The archive that has the records of which Kafka has deleted some, without the keys that its URL may
            have; None: Kafka has them all.
        job: Flink's id of the job that was submitted last.
        checkpoint: That job's newest known checkpoint.
        replayed: Whether it has finished, so that all rows are in the scratch topic.
        parts: The part files written so far, in order of partition and offset.
        delivered: The files whose rows are in Cassandra, by the place there.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    state: Literal["running", "complete"] = "running"
    pipeline: str
    views: dict[str, str]
    plan: str
    run: str
    replay: Replay
    archive: str | None = None
    job: str | None = None
    checkpoint: str | None = None
    replayed: bool = False
    parts: list[Part] = []
    delivered: dict[str, list[str]] = {}

    @property
    def epoch(self) -> int:
        """The epoch of its rows in Cassandra: negative, so below that of any live job, and of this run alone."""
        return int(self.run, 16) - 2**32

    @property
    def identity(self) -> str:
        """A hash of all that its rows follow from: two complete backfills with one identity have the same rows.

        So neither the run nor where the records came from matters, but the topics' ends when it was planned do.
        """
        replay = self.replay
        content = {
            "pipeline": self.pipeline,
            "views": self.views,
            "plan": self.plan,
            "range": [replay.from_ms, replay.to_ms],
            "offsets": [
                {str(number): [begin, source.end[number]] for number, begin in source.start.items()}
                for source in (*replay.sources, *replay.lookups)
            ],
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def job_name(self) -> str:
        """The job's name in Flink, and its consumer group."""
        return f"penstock-{self.pipeline}-backfill-{self.run}"

    @property
    def rows(self) -> int:
        """The rows of all parts written so far."""
        return sum(part.rows for part in self.parts)

    @property
    def events(self) -> int:
        """The number of offsets to replay, refused records and transaction markers included."""
        return sum(offsets.records for offsets in (*self.replay.sources, *self.replay.lookups))

    def save(self, folder: Path) -> None:
        """Write the manifest atomically.

        Raises:
            PenstockError: if it cannot be written; the one before stays.
        """
        try:
            write_durably(folder, _FILE_NAME, self.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise PenstockError(
                f"the manifest of the backfill cannot be written: {error}",
                where=str(folder),
                safe="the manifest as it was before, and the parts that it names",
                next="make room if the disk is full; then run the same command, which continues the backfill",
            ) from error


def scratch_topic(pipeline: str, run: str) -> str:
    """Return the topic that holds a run's rows until they are written to part files."""
    return f"backfill.{pipeline}.{run}"


def load_manifest(folder: Path) -> BackfillManifest | None:
    """Return the manifest in a folder, or None if there is none.

    Raises:
        PenstockError: if the file cannot be read.
    """
    path = folder / _FILE_NAME
    try:
        return BackfillManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise PenstockError(
            f"the manifest of the backfill cannot be read: {type(error).__name__}",
            where=str(path),
            next="give another folder with --out",
        ) from error


def selected_views(plan: PipelinePlan, names: tuple[str, ...], reference: str) -> dict[str, str]:
    """Return ``version:hash`` of the named views, in record order; of all views if ``names`` is empty.

    ``reference`` is the pipeline as the user named it.

    Raises:
        PenstockError: if the pipeline has no such view.
    """
    for name in names:
        try:
            plan.view(name)
        except KeyError as error:
            raise PenstockError(error.args[0], next=f"penstock features describe {reference}") from error
    return {view.name: f"{view.version}:{view.hash}" for view in plan.views if view.name in names or not names}


def plan_hash(plan: PipelinePlan) -> str:
    """Return a hash that changes with anything that the job computes."""
    return hashlib.sha256(plan.model_dump_json().encode()).hexdigest()[:16]


def require_same_backfill(
    manifest: BackfillManifest, plan: PipelinePlan, views: dict[str, str], from_ms: int, to_ms: int, folder: Path
) -> None:
    """Check that the manifest in a folder is of the requested backfill.

    Raises:
        PenstockError: if it is of another, or the definition changed before it was complete.
    """
    replay = manifest.replay
    differences = []
    if manifest.pipeline != plan.pipeline:
        differences.append(f"it is of pipeline {manifest.pipeline}")
    elif manifest.views != views:
        differences.append(f"its views are {_view_names(manifest.views)}, not {_view_names(views)}")
    if (replay.from_ms, replay.to_ms) != (from_ms, to_ms):
        differences.append(f"its range is {iso(replay.from_ms)} to {iso(replay.to_ms)}")
    if not differences and manifest.state == "running" and manifest.plan != plan_hash(plan):
        differences.append("the pipeline's definition has changed since it began")
    if differences:
        raise PenstockError(
            f"the folder holds another backfill: {'; '.join(differences)}",
            where=str(folder),
            safe="nothing was changed",
            next="give another folder with --out, or delete this one",
        )


def _view_names(views: dict[str, str]) -> str:
    return ", ".join(f"{name}@{version}" for name, version in views.items())
