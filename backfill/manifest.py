"""What a backfill is, and how far it has come: ``manifest.json`` in its folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import PenstockError
from penstock.time import iso
from streams.flink.submission import Replay
from streams.plan.model import PipelinePlan

NAME = "manifest.json"


class Part(BaseModel):
    """A complete part file: rows of one source partition, in the order of their offsets.

    ``next_offset`` is where in the scratch topic the row after it lies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    partition: int
    rows: int
    next_offset: int


class BackfillManifest(BaseModel):
    """One backfill.

    Args:
        state: ``complete`` once all parts are there; only then may they be read.
        pipeline: Its name.
        views: ``version:hash`` of each view whose features the rows have, in record order.
        plan: Hash of the whole plan, which must not change before the backfill is complete.
        run: Names the job, its consumer group and its scratch topic.
        replay: The offsets that are replayed, and the range of event time.
        job: Flink's id of the job that was submitted last.
        checkpoint: The newest checkpoint of it that was seen.
        parts: The part files so far, in order of partition and offset.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    state: Literal["running", "complete"] = "running"
    pipeline: str
    views: dict[str, str]
    plan: str
    run: str
    replay: Replay
    job: str | None = None
    checkpoint: str | None = None
    parts: list[Part] = []

    @property
    def job_name(self) -> str:
        """The job's name in Flink, and its consumer group."""
        return f"penstock-{self.pipeline}-backfill-{self.run}"

    @property
    def rows(self) -> int:
        """Rows in all parts so far."""
        return sum(part.rows for part in self.parts)

    @property
    def events(self) -> int:
        """Raw records that are replayed, refused ones and transaction markers included."""
        return sum(offsets.records for offsets in self.replay.sources)

    def save(self, folder: Path) -> None:
        """Write it, at once or not at all."""
        partial = folder / f".{NAME}"
        with partial.open("w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / NAME)


def scratch_topic(pipeline: str, run: str) -> str:
    """Where a run's rows are until they are files."""
    return f"backfill.{pipeline}.{run}"


def load_manifest(folder: Path) -> BackfillManifest | None:
    """The manifest of a folder; None if there is none.

    Raises:
        PenstockError: if it cannot be read.
    """
    path = folder / NAME
    try:
        return BackfillManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise PenstockError(
            f"the manifest of the backfill cannot be read: {type(error).__name__}",
            where=str(path),
            next="name another folder by --out",
        ) from error


def selected_views(plan: PipelinePlan, names: tuple[str, ...], reference: str) -> dict[str, str]:
    """``version:hash`` of the views of these names, in record order; of all views if there are none.

    ``reference`` is how the user named the pipeline.

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
    """Changes with anything that the job computes."""
    return hashlib.sha256(plan.model_dump_json().encode()).hexdigest()[:16]


def require_same(
    manifest: BackfillManifest, plan: PipelinePlan, views: dict[str, str], from_ms: int, to_ms: int, folder: Path
) -> None:
    """Check that a folder holds the very backfill that is asked for.

    Raises:
        PenstockError: if it holds another, or the definition changed before it was complete.
    """
    replay = manifest.replay
    differences = []
    if manifest.pipeline != plan.pipeline:
        differences.append(f"it is of pipeline {manifest.pipeline}")
    elif manifest.views != views:
        differences.append(f"its views are {_views(manifest.views)}, not {_views(views)}")
    if (replay.from_ms, replay.to_ms) != (from_ms, to_ms):
        differences.append(f"its range is {iso(replay.from_ms)} to {iso(replay.to_ms)}")
    if not differences and manifest.state == "running" and manifest.plan != plan_hash(plan):
        differences.append("the pipeline's definition has changed since it began")
    if differences:
        raise PenstockError(
            f"the folder holds another backfill: {'; '.join(differences)}",
            where=str(folder),
            safe="nothing was changed",
            next="name another folder by --out, or delete this one",
        )


def _views(views: dict[str, str]) -> str:
    return ", ".join(f"{name}@{version}" for name, version in views.items())
