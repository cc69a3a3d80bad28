"""Checks a version of a model by the gates, on labelled events that it was not trained on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as library_version

import numpy as np
from numpy.typing import NDArray

from backfill.parquet import Backfill
from backfill.running_version import Call, RunningVersion, first_line
from backfill.topic_reading import topics_of
from backfill.training_parquet import read_training_set
from penstock.errors import PenstockError
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from penstock.time import iso
from schemas.history import record_decoder
from schemas.registry import registry_schemas
from scoring.gates.gates import (
    Alert,
    Holdout,
    Limits,
    Result,
    Verdict,
    judge_calibration,
    judge_drift,
    judge_fairness,
    judge_freshness,
    judge_latency,
    judge_quality,
    judge_robustness,
    without_skipped,
)
from scoring.gates.report import Basis, Bin, Report
from scoring.gates.statistics import Interval, Numbers
from scoring.repository import ModelRepository
from scoring.servers.protocol import InferenceError, ModelServer, ModelServerUnavailable
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.trained_model import ImportManifest, ModelManifest
from scoring.training_set import TrainingSet, view_versions
from scoring.vectors import FloatArray
from scoring.version_files import content_hash, identity
from streams.plan.project import Project

# Rows of a call, and how many calls of each version.
_CALLS = {1: 2_000, 64: 1_000, 1_024: 300}
_DEADLINE_S = 10.0
_BINS = 10
# How many values of a column make groups: each needs enough events.
_MOST_GROUPS = 50
Tell = Callable[[str], None]
"""Hears what takes a while, when it begins."""
_NONE = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class CheckRequest:
    """What to check.

    Args:
        version: The version; None for the newest.
        against: The version to compare it with; None for the one that is served, if it is another.
        limits: What the version must keep.
        seed: For the intervals that are drawn.
        archive: The folder or URL of an archive that has labels which Kafka has deleted; None: those of Kafka alone.
    """

    version: int | None
    against: int | None
    limits: Limits
    seed: int
    archive: str | None = None


def check_version(
    project: Project, settings: Settings, backfill: Backfill, request: CheckRequest, tell: Tell
) -> Report:
    """Hold a version against the gates.

    The holdout are the labelled events of the backfill after the last event that either version was trained on.

    Raises:
        PenstockError: if there is no such version, one of its files has changed, it would be compared with itself, the
            backfill does not fit the pipeline, or it has no such events.
    """
    with ExitStack() as connections:
        return _check(project, settings, backfill, request, connections, tell)


def _check(
    project: Project,
    settings: Settings,
    backfill: Backfill,
    request: CheckRequest,
    connections: ExitStack,
    tell: Tell,
) -> Report:
    repository, model, limits = ModelRepository(settings.model_repository), project.pipeline.model, request.limits
    declared = f"Model(groups=(...)) of {project.reference}"
    named_in = "groups = [...] of the file of gates" if limits.groups else declared
    limits = limits.model_copy(update={"groups": limits.groups or model.groups})
    version = repository.newest(model.name) if request.version is None else request.version
    against = _against(repository, model.name, version, request.against)
    manifests = {number: repository.manifest(model.name, number) for number in (version, against) if number is not None}
    identities = {number: identity(repository.verified(model.name, number)) for number in manifests}
    tell("reading the features and the labels")
    data = _later(project, settings, backfill, request.archive, manifests)
    columns = {} if "fairness" in limits.skip else _groups(project, backfill, data, limits.groups, named_in)
    runs = {number: RunningVersion(repository, settings, model.name, number, connections) for number in manifests}
    beside = "" if against is None else f" and version {against}"
    tell(f"scoring {len(data):,} later labelled events with version {version}{beside}")
    scored = {number: run.scores(data.X) for number, run in runs.items()}
    scores = {number: found for number, (found, _) in scored.items()}
    holdout = Holdout(
        data.event_times,
        data.truth,
        scores[version],
        None if against is None else scores[against],
        model.threshold,
        columns,
        is_regression=data.task == "regression",
    )
    finite = np.all([np.isfinite(found) for found in scores.values()], axis=0)
    judged = holdout if finite.all() else holdout.rows(finite)
    manifest = manifests[version]
    results = [
        *_provenance(project, manifest),
        *_unknown_training(manifests),
        *_robustness(runs[version], holdout.scores, scored[version][1], len(model.inputs)),
        *(_of_scores(judged, limits) if finite.any() else _without_scores(judged)),
        *(judge_fairness(holdout, limits) if finite.all() else ()),
        judge_freshness(manifest.trained_to_ms, int(data.event_times[-1]), limits),
    ]
    if project.pipeline.monitors is not None:
        results.append(judge_drift(_alerts(project, settings), manifest.trained_to_ms, limits))
    failure = next((error for _, error in scored.values() if error is not None), None)
    why = ""
    if against is not None:
        with closing(open_server(PRIMARY_SERVER, settings)) as server:
            ready = _ready(server, model.name)
            if request.against is None:
                loaded = "cannot be asked" if ready is None else f"has {'' if against in ready else 'not '}loaded it"
                why = f"config.pbtxt names it, {server.name} {loaded}"
            if failure is not None:
                results.append(_untimed(failure))
            elif "latency" not in limits.skip:
                tell("measuring the latency of both")
                results += _latency(server, ready or set(), model.name, (version, against), runs, data.X, request)
    basis = Basis(
        version=identities[version],
        against=None if against is None else identities[against],
        limits=content_hash(limits.model_dump(mode="json")),
        backfill=backfill.manifest.identity,
        holdout=data.data_hash,
        threshold=model.threshold,
        seed=request.seed,
        penstock=library_version("penstock"),
        failure=next((error for run in runs.values() for error in run.failures), None),
        labels=data.counts.labels_read + data.counts.labels_refused,
    )
    results = without_skipped(results, limits)
    return Report(model.name, version, against, len(data), results, _bins(judged), basis, why)


def _against(repository: ModelRepository, model: str, version: int, wanted: int | None) -> int | None:
    """The version to compare with: the one that the user names, or the one that is served, if it is another."""
    if wanted == version:
        raise PenstockError(
            f"version {version} would be compared with itself",
            where="--against",
            next="name another version, or leave --against out to compare with the one that is served",
        )
    if wanted is not None:
        return wanted
    serving = repository.serving_config(model)
    return serving.version if serving is not None and serving.version != version else None


def _robustness(run: RunningVersion, of_holdout: Numbers, failure: str | None, inputs: int) -> list[Result]:
    names, extremes = _extremes(inputs)
    found = {name: run.scores(row[np.newaxis]) for name, row in zip(names, extremes, strict=True)}
    failures = {"all events": failure, **{name: error for name, (_, error) in found.items()}}
    return judge_robustness(
        {name: float(score[0]) for name, (score, _) in found.items()},
        of_holdout,
        {where: error for where, error in failures.items() if error is not None},
    )


def _of_scores(judged: Holdout, limits: Limits) -> list[Result]:
    return [*judge_quality(judged, limits), *judge_calibration(judged, limits)]


def _without_scores(judged: Holdout) -> list[Result]:
    text = "no event has a number of each version"
    return [
        Result(gate, "all events", Verdict.INCONCLUSIVE, 0, text, _NONE, "numbers")
        for gate in ("quality", "cost", *(() if judged.is_regression else ("calibration",)))
    ]


def _bins(holdout: Holdout) -> list[Bin]:
    if holdout.is_regression:
        return []
    order = np.argsort(holdout.scores, kind="stable")
    parts = np.array_split(order, min(_BINS, max(len(order), 1)))
    return [
        Bin(float(holdout.scores[part].mean()), float(holdout.labels[part].mean()), len(part))
        for part in parts
        if len(part)
    ]


def _later(
    project: Project,
    settings: Settings,
    backfill: Backfill,
    archive: str | None,
    manifests: Mapping[int, ModelManifest | ImportManifest],
) -> TrainingSet:
    """The labelled events after all that the versions were trained on, as far as that is known."""
    registry = registry_schemas(settings.schema_registry_url)
    data = read_training_set(project, topics_of(settings.kafka.access, archive).read, backfill, None, registry)
    known = [manifest.trained_to_ms for manifest in manifests.values() if manifest.trained_to_ms is not None]
    later = data.event_times > max(known, default=-1)
    if not later.any():
        after = f" after {iso(max(known))}, which a version was trained on" if known else ""
        raise PenstockError(
            f"the backfill has no labelled event{after}",
            where=str(backfill.folder),
            safe="nothing was changed",
            next=f"penstock backfill run {project.reference} --from TIME --to TIME --out FOLDER, of a later time",
        )
    return data.rows(later)


def _groups(
    project: Project, backfill: Backfill, data: TrainingSet, names: Sequence[str], named_in: str
) -> dict[str, list[object]]:
    """The values of the columns of groups, for each event; ``named_in`` says who names them.

    Raises:
        PenstockError: if there is no such column, or one has too many values to be one of groups.
    """
    known = backfill.columns()
    if unknown := [name for name in names if name not in known]:
        fields = ", ".join(name for name in known if name.startswith("event."))
        raise PenstockError(
            f"the backfill has no column {unknown[0]}, by which groups are to be compared",
            where=f"{backfill.folder}, which has of the events: {fields or 'none'}",
            next="name one of these in the file of gates, as event.FIELD; or make a new backfill, with the field in "
            f"Pipeline(passthrough=(...)) of {project.reference}: "
            f"penstock backfill run {project.reference} --from TIME --to TIME --out FOLDER",
        )
    values: dict[str, tuple[object, ...]] = {}
    for batch in backfill.batches(list(dict.fromkeys(("event_id", *names)))) if names else ():
        columns = [batch.column(name).to_pylist() for name in ("event_id", *names)]
        for event_id, *found in zip(*columns, strict=True):
            values.setdefault(event_id, tuple(found))
    columns_of = {name: [values[event_id][place] for event_id in data.event_ids] for place, name in enumerate(names)}
    for name, found in columns_of.items():
        if (number := len(set(map(str, found)))) > _MOST_GROUPS:
            raise PenstockError(
                f"column {name} has {number:,} values, which are too many groups",
                where=named_in,
                next=f"name columns with at most {_MOST_GROUPS} values, such as a country or a kind",
            )
    return columns_of


def _extremes(inputs: int) -> tuple[list[str], FloatArray]:
    """Names of extreme rows, and the rows."""
    greatest = np.finfo(np.float32).max
    values = {"only nulls": np.nan, "zeros": 0, "greatest": greatest, "least": -greatest}
    return list(values), np.array([[value] * inputs for value in values.values()], np.float32)


def _provenance(project: Project, manifest: ModelManifest | ImportManifest) -> Iterator[Result]:
    """Whether the version takes the pipeline's inputs, of the views as they are, and says where it comes from."""
    views = view_versions(project.plan, project.pipeline.model.inputs, project.other_views)
    origin = manifest.sha256 if isinstance(manifest, ImportManifest) else manifest.data_hash
    for good, passed, failed, limit in (
        (
            manifest.inputs == project.pipeline.model.inputs,
            "takes the inputs of the pipeline's model",
            "takes other inputs than the pipeline's model",
            "the inputs of Model(inputs=...)",
        ),
        (
            dict(manifest.views) == views,
            "was made with the views as they are",
            "was made with other versions of the views",
            "the pipeline's views, as they are now",
        ),
        (
            bool(origin and manifest.libraries),
            "says what it was made from",
            "does not say what it was made from",
            "a hash of its data or file, and its libraries",
        ),
    ):
        verdict = Verdict.PASS if good else Verdict.FAIL
        yield Result("provenance", "manifest", verdict, 1, passed if good else failed, _NONE, limit)


def _alerts(project: Project, settings: Settings) -> list[Alert]:
    """All drift alerts of the pipeline.

    Raises:
        PenstockError: if their topic does not exist, or Kafka cannot be reached.
    """
    decoder = record_decoder("drift_alert")
    records = read_topic(settings.kafka.access, project.pipeline.drift_topic)
    alerts = (decoder.decode(record.value or b"") for record in records)
    return [Alert(str(alert["alert_id"]), int(alert["event_time"])) for alert in alerts]


def _unknown_training(manifests: Mapping[int, ModelManifest | ImportManifest]) -> Iterator[Result]:
    for version, manifest in manifests.items():
        if manifest.trained_to_ms is None:
            text = f"it is not known which events version {version} was trained on"
            yield Result(
                "holdout", "training", Verdict.INCONCLUSIVE, 0, text, _NONE, "model import --trained-until TIME"
            )


def _ready(server: ModelServer, model: str) -> set[int] | None:
    """The versions that the server has loaded; None if it cannot be asked."""
    try:
        return {state.version for state in server.versions(model) if state.state == "READY"}
    except ModelServerUnavailable:
        return None


def _latency(
    server: ModelServer,
    ready: set[int],
    model: str,
    versions: tuple[int, int],
    runs: Mapping[int, RunningVersion],
    vectors: FloatArray,
    request: CheckRequest,
) -> list[Result]:
    """Both versions are called on the model server if it has both.

    Else a version with a file is called in this process, and a model that only Triton has in Triton.
    """
    where = "by direct calls" if any(run.is_hosted for run in runs.values()) else "in this process"
    calls: list[Call] = [runs[number].infer for number in versions]
    if ready >= set(versions):
        where = f"on {server.name}"
        calls = [partial(server.infer, model, number, deadline_s=_DEADLINE_S) for number in versions]
    try:
        return judge_latency(_times(calls, vectors), request.limits, where, request.seed)
    except (InferenceError, PenstockError) as error:
        return [_untimed(first_line(error))]


def _untimed(why: str) -> Result:
    return Result("latency", "", Verdict.INCONCLUSIVE, 0, f"a call failed: {why}", _NONE, "calls that do not fail")


def _times(calls: Sequence[Call], vectors: FloatArray) -> dict[int, tuple[Numbers, Numbers]]:
    """Seconds of each call of both versions, by turns, with real vectors."""
    found = {}
    for rows, number in _CALLS.items():
        batch = np.ascontiguousarray(np.resize(vectors, (rows, vectors.shape[1])))
        taken: NDArray[np.float64] = np.empty((2, number))
        for turn in range(-5, number):
            for place in (0, 1) if turn % 2 else (1, 0):
                begin = time.perf_counter()
                calls[place](batch)
                taken[place, max(turn, 0)] = time.perf_counter() - begin
        found[rows] = taken[0], taken[1]
    return found
