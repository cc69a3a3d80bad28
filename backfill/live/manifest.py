"""What is known of a fill, in a file of its own beside Flink's state, so that the same command continues it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from backfill.resumable import write_durably
from penstock.errors import PenstockError
from penstock.settings import Settings
from streams.flink.submission import Offsets, Options, Replay, Restored

_FILE_NAME = "fill.json"


class Segment(BaseModel):
    """A part of the history, replayed by a job of its own.

    Args:
        sources: The offsets to read, of each source. With ``live_savepoint``, only where it starts.
        live_savepoint: The savepoint of the running job at whose positions the segment ends.
        restored: The topics that have copies of the records to read; empty: the sources' own have them.
        checkpoint: The newest known checkpoint of its job.
        savepoint: The state at its end; None: it is not done.
    """

    model_config = ConfigDict(extra="forbid")

    sources: tuple[Offsets, ...]
    live_savepoint: str | None = None
    restored: tuple[Restored, ...] = ()
    checkpoint: str | None = None
    savepoint: str | None = None

    @property
    def records(self) -> int:
        """The offsets to read; 0 if the end is not known."""
        return sum(offsets.records for offsets in self.sources)


class FillManifest(BaseModel):
    """A fill and its progress.

    Args:
        pipeline: The pipeline's name.
        run: The id of the fill.
        plan: The hash of the pipeline's whole plan; it must not change before the takeover.
        views: The views (``name@version``) to fill.
        complete_from_ms: Values as of this event time or later are complete, epoch ms.
        max_ahead_ms: How far a partition may be read ahead of the others, by Kafka's timestamps.
        options: The running job's options.
        archive: The archive of the records that Kafka has deleted, without keys; None: it has deleted none.
        segments: Its segments so far, in order.
        live_job: The running job's id, once it is about to be stopped.
        drop_state: Whether the new job drops the state of an entity.
        live_savepoint: Its savepoint.
        joined: The savepoint that the new job begins from.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    pipeline: str
    run: str
    plan: str
    views: tuple[str, ...]
    complete_from_ms: int
    max_ahead_ms: int
    options: Options
    archive: str | None = None
    segments: list[Segment]
    live_job: str | None = None
    drop_state: bool = False
    live_savepoint: str | None = None
    joined: str | None = None

    @property
    def group(self) -> str:
        """The consumer group of its jobs, and the beginning of their names."""
        return f"penstock-{self.pipeline}-backfill-{self.run}"

    def replay(self, segment: Segment, max_per_s: int) -> Replay:
        """What the job of a segment reads."""
        first, *others = segment.sources if segment.live_savepoint else map(_with_records, segment.sources)
        return Replay(
            topic="",  # it publishes nothing
            start=first.start,
            end=first.end,
            additional_sources=tuple(others),
            from_ms=0,
            to_ms=0,
            max_ahead_ms=self.max_ahead_ms,
            max_per_s=max_per_s,
            restored=segment.restored,
        )

    def save(self, folder: Path) -> None:
        """Write the file atomically.

        Raises:
            PenstockError: if it cannot be written; the one before stays.
        """
        try:
            write_durably(folder, _FILE_NAME, self.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise PenstockError(
                f"the progress of the fill cannot be written: {error}",
                where=str(folder),
                safe="the progress as it was before",
                next="make room if the disk is full; then run the same command, which continues",
            ) from error


def _with_records(offsets: Offsets) -> Offsets:
    """The partitions of which there is something to read."""
    held = [number for number, at in offsets.start.items() if at < offsets.end[number]]
    return Offsets(start={n: offsets.start[n] for n in held}, end={n: offsets.end[n] for n in held})


def fill_folder(settings: Settings, pipeline: str) -> Path:
    """The folder of a pipeline's fill."""
    return settings.flink.state / "fills" / pipeline


def load_fill(folder: Path) -> FillManifest | None:
    """The fill in a folder; None if there is none.

    Raises:
        PenstockError: if the file cannot be read.
    """
    path = folder / _FILE_NAME
    try:
        return FillManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise PenstockError(
            f"the progress of the fill cannot be read: {type(error).__name__}",
            where=str(path),
            safe="the running job",
            next="delete the file, and run the command again: it begins anew",
        ) from error


def forget_fill(folder: Path) -> None:
    """Remove the fill from its folder."""
    (folder / _FILE_NAME).unlink(missing_ok=True)
