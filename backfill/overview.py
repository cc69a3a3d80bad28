"""Backfills as they stand: their folders, and their jobs in Flink."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backfill import scratch
from backfill.manifest import BackfillManifest, load_manifest, scratch_topic
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import iso
from streams.flink.rest import Flink, Job

_JOB = re.compile(r"penstock-(?P<pipeline>.+)-backfill-(?P<run>[0-9a-f]{8})(?P<segment>-\d+)?")
_CANCEL_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Overview:
    """One backfill.

    Args:
        run: Its id.
        pipeline: The pipeline's name.
        folder: Its folder; None if only its job is known.
        manifest: The manifest in the folder.
        job: Its newest job that Flink knows.
        fills_live: Whether it fills views of the running job, ``--into live``; it has no folder.
    """

    run: str
    pipeline: str
    folder: Path | None = None
    manifest: BackfillManifest | None = None
    job: Job | None = None
    fills_live: bool = False

    @property
    def state(self) -> str:
        """``complete``, the state of its job, or what the command would do next."""
        if self.manifest is not None and self.manifest.state == "complete":
            return "complete"
        if self.manifest is not None and self.manifest.replayed:
            return "rows to write"
        if self.job is not None:
            return self.job.state.lower()
        return "stopped" if self.manifest is not None and self.manifest.checkpoint else "not replayed"

    def as_json(self) -> dict[str, Any]:
        """The same as JSON."""
        manifest = self.manifest
        found: dict[str, Any] = {
            "run": self.run,
            "pipeline": self.pipeline,
            "state": self.state,
            "into": "live" if self.fills_live else None,
            "folder": None if self.folder is None else str(self.folder),
            "job": None if self.job is None else {"id": self.job.id, "state": self.job.state},
        }
        if manifest is not None:
            found |= {
                "from": iso(manifest.replay.from_ms),
                "to": iso(manifest.replay.to_ms),
                "views": list(manifest.views),
                "events": manifest.events,
                "rows": manifest.rows,
                "parts": len(manifest.parts),
                "checkpoint": manifest.checkpoint,
                "topic": manifest.replay.topic,
            }
            if manifest.delivered:
                found["epoch"] = manifest.epoch
                found["cassandra"] = {place: len(files) for place, files in manifest.delivered.items()}
        return found


def find_backfills(folder: Path, jobs: Iterable[Job]) -> list[Overview]:
    """The backfills in a folder and in the folders in it, and those that only have a job.

    Args:
        folder: The folder.
        jobs: Jobs of Flink, of which those of backfills count.
    """
    newest: dict[tuple[str, str], Job | None] = {}
    fills = set()
    for job in sorted(jobs, key=lambda job: (job.is_active, job.start_ms)):
        if name := _JOB.fullmatch(job.name):
            newest[name["pipeline"], name["run"]] = job
            if name["segment"] is not None:  # only jobs of fills have a number
                fills.add(name["run"])
    found = []
    for path in (folder, *sorted(path for path in folder.glob("*") if path.is_dir())):
        manifest = _manifest(path)
        if manifest is not None:
            its_job = newest.pop((manifest.pipeline, manifest.run), None)
            found.append(Overview(manifest.run, manifest.pipeline, path, manifest, its_job))
    return found + [
        Overview(run, pipeline, job=alone, fills_live=run in fills) for (pipeline, run), alone in newest.items()
    ]


def backfill_of(reference: str, found: Sequence[Overview]) -> Overview:
    """The backfill with this folder or run.

    Raises:
        PenstockError: if there is none.
    """
    for one in found:
        if one.run == reference or (one.folder is not None and one.folder.resolve() == Path(reference).resolve()):
            return one
    raise PenstockError(
        "there is no such backfill, neither as a folder nor as a job of Flink",
        where=reference,
        next="penstock backfill list FOLDER, with the folder that its folder is in",
    )


def cancel_backfill(one: Overview, settings: Settings, *, discard: bool) -> bool:
    """Cancel the job of a backfill and wait for its end; return whether there was one to cancel.

    Args:
        one: The backfill.
        settings: The addresses of Kafka and Flink.
        discard: Whether to delete its topic and consumer group as well, so that nothing can be continued.

    Raises:
        PenstockError: if Flink or Kafka cannot be reached, or the job does not end.
    """
    is_active = one.job is not None and one.job.is_active
    if one.job is not None and is_active:
        with Flink(settings.flink.rest) as flink:
            flink.cancel(one.job.id)
            flink.await_end(one.job.id, _CANCEL_TIMEOUT_S)
    if discard:
        name = f"penstock-{one.pipeline}-backfill-{one.run}"
        scratch.delete(settings.kafka.access, scratch_topic(one.pipeline, one.run), name)
    return is_active


def _manifest(folder: Path) -> BackfillManifest | None:
    """The manifest in a folder; None for any other folder, such as one with another kind of manifest."""
    try:
        return load_manifest(folder)
    except PenstockError:
        return None
