"""Chooses the band of a cascade on the events of a backfill that are later than both trainings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from backfill.parquet import Backfill
from backfill.running_version import RunningVersion
from backfill.training_parquet import VectorReader, feature_columns, feature_rows, require_fit
from penstock.errors import PenstockError, naming
from penstock.paths import STRONG
from penstock.settings import Settings
from penstock.time import readable
from scoring.bands import ChosenBand
from scoring.cascade import CertifiedBand, Numbers, choose_band
from scoring.repository import ModelRepository
from scoring.startup import check_cascade, check_model
from scoring.training_set import view_versions
from scoring.vectors import FloatArray
from streams.plan.project import Project

# One batch of a busy scorer, and how often it is timed: by turns, so that other work on the machine slows both.
_TIMED_ROWS, _ROUNDS = 1_024, 15


@dataclass(frozen=True)
class Choice:
    """A band, what is certain of it, and what the models cost.

    Args:
        chosen: As it is kept.
        certified: What the later half of the holdout says of it.
        holdout: How many events the holdout has, both halves.
        fast_s: The median time of a batch of the fast model in this process, in seconds.
        strong_s: That of the strong model.
        unknown: The versions (name, version) that do not say when their training ended: it may be on the holdout.
    """

    chosen: ChosenBand
    certified: CertifiedBand
    holdout: int
    fast_s: float
    strong_s: float
    unknown: tuple[tuple[str, int], ...]

    @property
    def times_cheaper(self) -> float:
        """The time of the strong model for all events, divided by that of the cascade."""
        return self.certified.times_cheaper(self.fast_s, self.strong_s)


def choose(
    project: Project,
    settings: Settings,
    backfill: Backfill,
    versions: tuple[int | None, int | None],
    alpha: float,
    clock: Callable[[], float],
    now_ms: int,
) -> Choice:
    """Choose the band for a version of the fast and one of the strong model; None is the one that is served.

    Args:
        project: Its model has a cascade.
        settings: Say where the repository and Triton are.
        backfill: Its events need no labels.
        versions: Of the fast and of the strong model.
        alpha: The probability that more decisions differ than declared.
        clock: Seconds.
        now_ms: Epoch ms.

    Raises:
        PenstockError: if the pipeline has no cascade, a version does not exist, has changed or fails, does not fit the
            pipeline, or no band is certain enough.
    """
    model, repository = project.pipeline.model, ModelRepository(settings.model_repository)
    if model.cascade is None:
        raise PenstockError(
            f"model {model.name} has no cascade, so it needs no band",
            next='declare Model(cascade=Cascade(strong="..."))',
        )
    if project.other_views:
        raise PenstockError(
            "a backfill has no inputs of other pipelines, so a band cannot be chosen on it",
            where=f"model {model.name}",
            next=f'declare one: Cascade(strong="{model.cascade.strong}", band=(LOW, HIGH))',
        )
    names = (model.name, model.cascade.strong)
    fast = _version(project, repository, names[0], versions[0])
    with naming(f"PIPELINE{STRONG}"):
        strong = _version(project, repository, names[1], versions[1])
    check_cascade(repository.description(names[0], fast), repository.description(names[1], strong))
    pair = list(zip(names, (fast, strong), strict=True))
    trained_to_ms = {one: repository.manifest(*one).trained_to_ms for one in pair}
    since = max((until for until in trained_to_ms.values() if until is not None), default=None)
    vectors = _vectors(project, backfill, since)
    if not len(vectors):
        until = "" if since is None else f" after {readable(since, 'minutes', zone=' UTC')}, the end of both trainings"
        raise PenstockError(
            f"the backfill has no event{until}",
            where=str(backfill.folder),
            safe="no band was chosen",
            next="penstock backfill run PIPELINE --from TIME --to TIME --out FOLDER, of later events",
        )
    with ExitStack() as connections:
        runs = [RunningVersion(repository, settings, *one, connections) for one in pair]
        fast_scores = _scores(runs[0], pair[0], vectors, backfill)
        with naming(f"PIPELINE{STRONG}"):
            strong_scores = _scores(runs[1], pair[1], vectors, backfill)
        certified = choose_band(fast_scores, strong_scores, model.threshold, model.cascade.differing, alpha)
        fast_s, strong_s = _times(runs, vectors[:_TIMED_ROWS], clock)
    chosen = ChosenBand(
        time_ms=now_ms,
        fast=fast,
        strong=names[1],
        strong_version=strong,
        threshold=model.threshold,
        limit=model.cascade.differing,
        holdout=hashlib.sha256(vectors.tobytes()).hexdigest(),
        low=certified.band.low,
        high=certified.band.high,
        events=certified.events,
        in_band=certified.strong,
        differing=certified.differing,
        bound=certified.bound,
        alpha=alpha,
    )
    unknown = tuple(one for one, until in trained_to_ms.items() if until is None)
    return Choice(chosen, certified, len(vectors), fast_s, strong_s, unknown)


def _version(project: Project, repository: ModelRepository, model: str, wanted: int | None) -> int:
    """The version, which is as it was written and fits the pipeline as it is defined now."""
    version = repository.current(model) if wanted is None else wanted
    repository.verified(model, version)
    check_model(project.pipeline, project.plan, repository.description(model, version), _TIMED_ROWS)
    return version


def _vectors(project: Project, backfill: Backfill, since: int | None) -> FloatArray:
    """The vectors of all events of the backfill after a time (epoch ms), in order of time."""
    pipeline, inputs = project.pipeline, project.pipeline.model.inputs
    views = view_versions(project.plan, inputs)
    require_fit(project, views, backfill)
    reader, batches = VectorReader(inputs, pipeline.categories), backfill.batches(feature_columns(inputs, views))
    rows = [row for row in feature_rows(reader, views, batches) if since is None or row.event_time_ms > since]
    rows.sort(key=lambda row: (row.event_time_ms, row.position))
    return np.array([row.vector for row in rows], np.float32).reshape(len(rows), len(inputs))


def _scores(run: RunningVersion, of: tuple[str, int], vectors: FloatArray, backfill: Backfill) -> Numbers:
    """The scores of the vectors by a version (name, version), all of them finite numbers."""
    name, version = of
    scores, failure = run.scores(vectors)
    without = int((~np.isfinite(scores)).sum())
    if without:
        why = "" if failure is None else f": {failure}"
        raise PenstockError(
            f"version {version} of model {name} has no finite score for {without:,} of {len(vectors):,} events{why}",
            where=str(backfill.folder),
            safe="no band was chosen",
            next=f"penstock model check PIPELINE --version {version} --backfill FOLDER, and a band for one that passes",
        )
    return scores


def _times(runs: list[RunningVersion], vectors: FloatArray, clock: Callable[[], float]) -> list[float]:
    """The median seconds that each model takes for the vectors."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(_ROUNDS):
        for run, times in zip(runs, taken, strict=True):
            begin = clock()
            run.infer(vectors)
            times.append(clock() - begin)
    return [float(np.median(times)) for times in taken]
