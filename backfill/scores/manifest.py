"""The manifest of scores in a folder: what is scored, with what, and how far; in ``manifest.json``.

It has no times of day, so a folder that was completed after any number of interruptions has the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from backfill.resumable import write_durably
from penstock.errors import PenstockError
from penstock.time import iso
from scoring.rollout.policy import PublishedPolicy
from scoring.version_files import content_hash

FILE = "manifest.json"


class Part(BaseModel):
    """A complete part file: rows of one source partition; ``next`` is where the events after its last one begin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    partition: int
    rows: int
    next: int


class ScoresManifest(BaseModel):
    """What the scores in a folder are, and how far they have come.

    Args:
        state: ``complete`` once all parts are written.
        pipeline: The pipeline's name.
        model: The version that scores all events, ``name@version``; None if a policy says who scores.
        policy: That policy.
        versions: The hash of each version that scores, by ``name@version``, and of the band of a cascade.
        decides: The version of threshold and decisions, as predictions name it.
        from_ms: The first event time, epoch ms.
        to_ms: The first event time after the range.
        backfill: The hash of the backfill whose features are scored; None for features as they were served.
        columns: Further columns of the rows.
        topics: The topics whose events are scored, if these are several.
        ranges: What is read of each topic, by partition: the first offset, and the end.
        cut: The partitions of which Kafka has deleted predictions that may be of the range.
        parts: The part files, in order of partition and place.
        done: The partitions of which all parts are written.
        delivered: The part files that were brought on, by where to.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    kind: Literal["scores"] = "scores"
    state: Literal["running", "complete"] = "running"
    pipeline: str
    model: str | None
    policy: PublishedPolicy | None
    versions: Mapping[str, str]
    decides: str
    from_ms: int
    to_ms: int
    backfill: str | None
    columns: tuple[str, ...]
    topics: tuple[str, ...] = ()
    ranges: dict[str, dict[int, tuple[int, int]]]
    cut: list[int] = []
    parts: list[Part] = []
    done: list[int] = []
    delivered: dict[str, list[str]] = {}

    @model_serializer(mode="wrap")
    def _without_topics(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As before several topics were scored, unless they are: runs are compared."""
        data: dict[str, Any] = handler(self)
        return {name: value for name, value in data.items() if name != "topics" or value}

    @property
    def rows(self) -> int:
        """The rows of all parts written so far."""
        return sum(part.rows for part in self.parts)

    @property
    def run(self) -> str:
        """Sixteen hex digits that are the same only for the same scores of the same events."""
        return content_hash(self.model_dump(mode="json", exclude={"state", "parts", "done", "delivered"}))[:16]

    def of_partition(self, partition: int) -> list[Part]:
        """The parts of a partition."""
        return [part for part in self.parts if part.partition == partition]

    def save(self, folder: Path) -> None:
        """Write the manifest atomically."""
        write_durably(folder, FILE, self.model_dump_json(indent=2) + "\n")


def load_scores(folder: Path) -> ScoresManifest | None:
    """The manifest in a folder, or None if there is none.

    Raises:
        PenstockError: if the file is no manifest of scores.
    """
    path = folder / FILE
    try:
        return ScoresManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise PenstockError(
            f"the folder has no scores that can be gone on with: {type(error).__name__}",
            where=str(path),
            safe="nothing was changed",
            next="give another folder with --out",
        ) from error


def require_same_scores(there: ScoresManifest, wanted: ScoresManifest, folder: Path) -> None:
    """Check that the scores in a folder are those that are wanted; what topics hold by now does not count.

    Raises:
        PenstockError: if they are others; the message says how they differ.
    """
    differences = []
    if there.pipeline != wanted.pipeline:
        differences.append(f"they are of pipeline {there.pipeline}")
    if (there.from_ms, there.to_ms) != (wanted.from_ms, wanted.to_ms):
        differences.append(f"their range is {iso(there.from_ms)} to {iso(there.to_ms)}")
    if there.model != wanted.model:
        differences.append(f"they are by {there.model or 'a policy'}")
    if _hash(there.policy) != _hash(wanted.policy):
        differences.append("they are by another policy")
    differences += [
        f"{name} has changed since" if name in there.versions else f"they are not by {name}"
        for name, now in wanted.versions.items()
        if there.versions.get(name) != now
    ]
    if there.decides != wanted.decides:
        differences.append("threshold or decisions of the pipeline were others")
    if there.backfill != wanted.backfill:
        differences.append("they are of other features: --backfill differs")
    if there.columns != wanted.columns:
        differences.append(f"their further columns are {', '.join(there.columns) or 'none'}")
    if there.topics != wanted.topics:
        differences.append(f"they are of the events of {' and '.join(there.topics) or 'one topic'}")
    if differences:
        raise PenstockError(
            f"the folder holds other scores: {'; '.join(differences)}",
            where=str(folder),
            safe="nothing was changed",
            next="give another folder with --out, or delete this one",
        )


def _hash(policy: PublishedPolicy | None) -> str | None:
    return None if policy is None else policy.hash
