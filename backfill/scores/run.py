"""Scores the events of a range into a folder; after an interruption, the same call goes on with it.

What is read is fixed before the first event is scored, and is in the manifest: the range of each topic. Parts are
written one after the other, each recorded when it is whole. So however often this is interrupted, the files have the
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from backfill.gaps import prediction_times, require_after_gaps
from backfill.parquet import Backfill
from backfill.resumable import LOCK, StoppedError, exclusive_lock
from backfill.scores.events import EventSource, RecomputedEvents, ServedEvents
from backfill.scores.manifest import FILE, Part, ScoresManifest, load_scores, require_same_scores
from backfill.scores.places import TOPIC, place_numbers, scored_topics
from backfill.scores.rows import ScoredRows, Seen, read_part, write_part
from backfill.topic_reading import Range, Topics
from backfill.training_parquet import require_fit
from penstock.errors import PenstockError
from penstock.time import iso
from scoring.batch_decisions import Decider, champion_alone
from scoring.decision import Policy
from scoring.local_versions import LocalVersions, open_local_versions
from scoring.repository import ModelRepository
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.policy_check import check_declared
from scoring.startup import check_model
from scoring.training_set import view_versions
from streams.plan.project import Project


class ModelVersion(NamedTuple):
    """The name of a model, and its version."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class ScoreRequest:
    """What to score, with what.

    Args:
        from_ms: The first event time, epoch ms.
        to_ms: The first event time after the range.
        model: The version that scores all events, by itself.
        policy: Or the policy that says who scores which.
        amount: A column of amounts that each row gets, ``event.<column>`` or ``<view>.<feature>``.
        backfill: Scores its features; None for features as they were served.
    """

    from_ms: int
    to_ms: int
    model: ModelVersion | None
    policy: PublishedPolicy | None
    amount: str | None = None
    backfill: Backfill | None = None


@dataclass(frozen=True)
class Outcome:
    """The complete scores, and how many rows of them this call has written."""

    manifest: ScoresManifest
    new_rows: int


def score(
    project: Project,
    repository: ModelRepository,
    topics: Topics,
    request: ScoreRequest,
    folder: Path,
    on_part: Callable[[Part], None],
    is_stopping: Callable[[], bool],
) -> Outcome:
    """Score the range into part files under ``folder``.

    If the folder has the same scores, unfinished ones are gone on with, and complete ones are left as they are.

    Args:
        project: The pipeline.
        repository: Has the versions.
        topics: The pipeline's topics.
        request: What to score.
        folder: Where to.
        on_part: Called with each part that is written.
        is_stopping: Whether to stop after the present part.

    Raises:
        StoppedError: if it was to stop; what was written stays.
        PenstockError: if the range is empty, a version or the backfill does not fit the pipeline, the folder has other
            content or is in use, or what is read is not there.
    """
    if request.from_ms >= request.to_ms:
        raise PenstockError(
            f"the range is empty: {iso(request.from_ms)} is not before {iso(request.to_ms)}",
            next="give --from an earlier time than --to",
        )
    with open_local_versions(project, repository) as versions:
        decider = _decider(project, versions, request)
        columns = _columns(project, request)
        if request.backfill is not None:
            _require_backfill(project, request.backfill, request, columns)
        wanted = ScoresManifest(
            pipeline=project.name,
            model=None if request.model is None else str(request.model),
            policy=request.policy,
            versions=_what_scores(versions, decider),
            decides=Policy.of(project.pipeline.model).version,
            from_ms=request.from_ms,
            to_ms=request.to_ms,
            backfill=None if request.backfill is None else request.backfill.manifest.identity,
            columns=columns,
            topics=scored_topics(project.plan),
            ranges={},
        )
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder), _explained(folder):
            manifest = load_scores(folder)
            if manifest is None:
                _require_empty(folder)
                manifest = wanted
                manifest.ranges = _ranges(project, topics, request, columns)
                if request.backfill is None:
                    manifest.cut = _cut(project, topics, manifest)
                manifest.save(folder)
            else:
                require_same_scores(manifest, wanted, folder)
            before = manifest.rows
            if manifest.state == "running":
                groups = [] if request.policy is None else list(project.pipeline.model.groups)
                policy = None if request.policy is None else request.policy.version
                rows = ScoredRows(decider.kept, policy, groups, request.amount, has_topic=bool(manifest.topics))
                source = _source(project, repository, topics, request, manifest, folder)
                for partition in source.partitions():
                    if partition not in manifest.done:
                        _write_partition(folder, manifest, partition, source, decider, rows, on_part, is_stopping)
                manifest.state = "complete"
                manifest.save(folder)
            return Outcome(manifest, manifest.rows - before)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say what to do if the disk is full."""
    try:
        yield
    except OSError as error:
        raise PenstockError(
            f"the scores cannot be written: {error}",
            where=str(folder),
            safe="the parts that the manifest names, and what is served",
            next="make room if the disk is full; then the same command, which goes on with them",
        ) from error


def _write_partition(
    folder: Path,
    manifest: ScoresManifest,
    partition: int,
    source: EventSource,
    decider: Decider,
    rows: ScoredRows,
    on_part: Callable[[Part], None],
    is_stopping: Callable[[], bool],
) -> None:
    parts, seen, topics = manifest.of_partition(partition), Seen(), manifest.topics
    for part in parts:
        written_rows = read_part(folder, part, ["source.offset", *([TOPIC] if topics else [])])
        of = written_rows[TOPIC].to_pylist() if topics else None
        seen.new(place_numbers(topics, of, written_rows["source.offset"].to_pylist()))
    start = parts[-1].next if parts else 0

    def batches() -> Iterator[tuple[pa.RecordBatch, int]]:
        for events in source.events(partition, start):
            decided = decider.decide(events.vectors, events.entities, events.ids)
            is_new = seen.new(place_numbers(topics, events.topics, events.offsets.tolist()))
            batch = rows.batch(partition, events, decided)
            yield batch if is_new.all() else batch.filter(pa.array(is_new)), events.next

    scored = batches()
    while True:
        if is_stopping():
            raise StoppedError
        written = write_part(folder, partition, len(manifest.of_partition(partition)), scored, rows.schema)
        if written is None:
            break
        manifest.parts.append(written)
        manifest.save(folder)
        on_part(written)
    manifest.done.append(partition)
    manifest.save(folder)


def _decider(project: Project, versions: LocalVersions, request: ScoreRequest) -> Decider:
    pipeline, policy = project.pipeline, Policy.of(project.pipeline.model)
    if request.policy is not None:
        check_declared(request.policy.policy, pipeline, "--policy")
        arms = [versions.arm(arm.version) for arm in request.policy.policy.arms]
        return Decider(request.policy, arms, policy)
    assert request.model is not None, "one of both is given"
    name, version = request.model
    if name not in pipeline.model.names:
        raise PenstockError(
            f"pipeline {pipeline.name} has no model {name}",
            where="--model",
            safe="nothing was scored or written",
            next=f"name one of {', '.join(pipeline.model.names)}, such as --model {pipeline.model.name}@{version}",
        )
    return Decider(champion_alone(pipeline.name, version), [versions.alone(name, version)], policy)


def _what_scores(versions: LocalVersions, decider: Decider) -> dict[str, str]:
    bands = {
        f"band of {arm.model.name}@{arm.model.version} and {arm.strong.name}@{arm.strong.version}": str(
            (arm.band.low, arm.band.high)
        )
        for arm in decider.arms
        if arm.strong is not None and arm.band is not None
    }
    return dict(sorted((versions.identities | bands).items()))


def _columns(project: Project, request: ScoreRequest) -> tuple[str, ...]:
    """The further columns that rows need: those of groups, if decisions are compared, and of amounts."""
    groups = () if request.policy is None else project.pipeline.model.groups
    columns = tuple(dict.fromkeys([*groups, *([] if request.amount is None else [request.amount])]))
    if request.amount is not None:
        _require_number(project, request.amount)
    return columns


def _require_number(project: Project, name: str) -> None:
    """Check that feature records have the column, and that it is a number."""
    scope, _, column = name.partition(".")
    numbers: dict[str, str] = {f"event.{one}": kind for one, kind in project.plan.passthrough}
    numbers |= {f"{view.name}.{one.name}": one.type for view in project.plan.views for one in view.outputs}
    if numbers.get(name) in ("long", "double"):
        return
    known = ", ".join(one for one, kind in numbers.items() if kind in ("long", "double") and one.startswith(scope))
    raise PenstockError(
        f"feature records have no number {name}",
        where="--amount",
        safe="nothing was scored or written",
        next=f"name one of {known}" if known else f"name a column that Pipeline(passthrough=({column!r},)) keeps",
    )


def _ranges(
    project: Project, topics: Topics, request: ScoreRequest, columns: tuple[str, ...]
) -> dict[str, dict[int, Range]]:
    """What is to be read of each topic."""
    pipeline, found = project.pipeline, {}
    is_recomputed = request.backfill is not None
    if not is_recomputed or request.policy is not None or project.other_views:
        require_after_gaps(topics, pipeline.predictions_topic, request.to_ms, prediction_times)
        found[pipeline.predictions_topic] = topics.ranges(pipeline.predictions_topic)
    if columns and not is_recomputed:
        found[pipeline.features_topic] = topics.ranges(pipeline.features_topic)
    return found


def _cut(project: Project, topics: Topics, manifest: ScoresManifest) -> list[int]:
    """The partitions of which predictions of the range may be deleted.

    A prediction is never dated before its event, and an event's time is at most ``max_future`` ahead of its own date.
    So if the first prediction that is left is dated before that, all of the range are left.
    """
    topic = project.pipeline.predictions_topic
    oldest_ms = manifest.from_ms - max(source.max_future_ms for source in project.plan.sources if source.triggers)
    cut = []
    for partition, (first, end) in sorted(manifest.ranges[topic].items()):
        if first > 0:
            record = next(topics.read(topic, start={partition: first}, end={partition: end}), None)
            if record is None or record.timestamp > oldest_ms:
                cut.append(partition)
    return cut


def _source(
    project: Project,
    repository: ModelRepository,
    topics: Topics,
    request: ScoreRequest,
    manifest: ScoresManifest,
    folder: Path,
) -> EventSource:
    pipeline = project.pipeline
    predictions = manifest.ranges.get(pipeline.predictions_topic, {})
    features = manifest.ranges.get(pipeline.features_topic, {})
    scope = (request.from_ms, request.to_ms, manifest.columns)
    if request.backfill is not None:
        return RecomputedEvents(project, request.backfill, topics, predictions, *scope, folder)

    def check(model: str, version: str) -> None:
        try:
            check_model(pipeline, project.plan, repository.description(model, int(version)), 1, project.other_views)
        except PenstockError as error:
            raise PenstockError(
                f"what version {version} of model {model} was given cannot be scored: {error.what}",
                where=error.where,
                safe="what was written stays",
                next="score recomputed features instead: --backfill FOLDER",
            ) from error

    return ServedEvents(project, topics, predictions, features, *scope, check, folder)


def _require_backfill(project: Project, backfill: Backfill, request: ScoreRequest, columns: tuple[str, ...]) -> None:
    pipeline, replay = project.pipeline, backfill.manifest.replay
    require_fit(project, view_versions(project.plan, pipeline.model.inputs, project.other_views), backfill)
    times = f"--from {iso(request.from_ms)} --to {iso(request.to_ms)}"
    again = f"penstock backfill run {project.reference} {times} --out FOLDER"
    if request.from_ms < replay.from_ms or request.to_ms > replay.to_ms:
        raise PenstockError(
            f"the backfill has only the events of {iso(replay.from_ms)} to {iso(replay.to_ms)}",
            where=str(backfill.folder),
            safe="nothing was scored",
            next=again,
        )
    needed = columns if request.policy is None else (f"{pipeline.views[0].name}.entity", *columns)
    known = backfill.columns()
    if (TOPIC in known) != bool(scored_topics(project.plan)):
        raise PenstockError(
            f"the backfill has the events of {'several topics' if TOPIC in known else 'one topic'}, and the pipeline "
            f"scores those of {', '.join(project.plan.triggering_topics)}",
            where=str(backfill.folder),
            safe="nothing was scored",
            next=again,
        )
    if missing := [name for name in needed if name not in known]:
        raise PenstockError(
            f"the backfill has no column {missing[0]}, which is needed to share events out, or to compare decisions",
            where=str(backfill.folder),
            safe="nothing was scored",
            next=f"{again}, with all views",
        )


def _require_empty(folder: Path) -> None:
    leftovers = (LOCK, f".{FILE}")
    if any(path.name not in leftovers for path in folder.iterdir()):
        raise PenstockError(
            "the folder has files that are no scores", where=str(folder), next="give another folder with --out"
        )
