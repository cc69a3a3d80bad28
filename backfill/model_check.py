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
)
from scoring.gates.report import Basis, Bin, Report
from scoring.gates.statistics import Interval, Numbers
from scoring.onnx_session import open_session, scores_of
from scoring.repository import ModelRepository
from scoring.servers.hosted import HostedModels
from scoring.servers.protocol import ModelServerUnavailable
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
_NONE = Interval(float("nan"), float("nan"), float("nan"))

Call = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class CheckRequest:
    """What to check.

    Args:
        version: The version; None for the newest.
        against: The version to compare it with; None for the one that is served, if it is another.
        limits: What the version must keep.
        seed: For the intervals that are drawn.
    """

    version: int | None
    against: int | None
    limits: Limits
    seed: int


def check_version(project: Project, settings: Settings, backfill: Backfill, request: CheckRequest) -> Report:
    """Hold a version against the gates.

    The holdout are the labelled events of the backfill after the last event that either version was trained on.

    Raises:
        PenstockError: if there is no such version, one of its files has changed, the backfill does not fit the
            pipeline, or it has no such events.
    """
    with ExitStack() as connections:
        return _check(project, settings, backfill, request, connections)


def _check(
    project: Project, settings: Settings, backfill: Backfill, request: CheckRequest, connections: ExitStack
) -> Report:
    repository, model, limits = ModelRepository(settings.model_repository), project.pipeline.model, request.limits
    version = repository.newest(model.name) if request.version is None else request.version
    serving = repository.serving_config(model.name)
    against = request.against or (serving.version if serving and serving.version != version else None)
    manifests = {number: repository.manifest(model.name, number) for number in (version, against) if number is not None}
    identities = {number: identity(repository.verified(model.name, number)) for number in manifests}
    data = _later(project, settings, backfill, manifests)
    columns = _groups(project, backfill, data, limits.groups)
    scorers = {number: _scorer(repository, settings, model.name, number, connections) for number in manifests}
    scores = {number: score(data.X).astype(np.float64) for number, score in scorers.items()}
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
    names, extremes = _extremes(len(model.inputs))
    of_extremes = scorers[version](extremes).tolist()
    results = [
        *_provenance(project, manifest),
        *_unknown_training(manifests),
        *judge_robustness(dict(zip(names, of_extremes, strict=True)), holdout.scores),
        *judge_quality(judged, limits),
        *judge_calibration(judged, limits),
        *(judge_fairness(holdout, limits) if finite.all() else ()),
        judge_freshness(manifest.trained_to_ms, int(data.event_times[-1]), limits),
    ]
    if project.pipeline.monitors is not None:
        results.append(judge_drift(_alerts(project, settings), manifest.trained_to_ms, limits))
    if against is not None:
        where, times = _latency(settings, model.name, (version, against), scorers, data.X)
        results += judge_latency(times, limits, where, request.seed)
    basis = Basis(
        version=identities[version],
        against=None if against is None else identities[against],
        limits=content_hash(limits.model_dump(mode="json")),
        backfill=content_hash(backfill.manifest.model_dump(mode="json")),
        holdout=data.data_hash,
        threshold=model.threshold,
        seed=request.seed,
        penstock=library_version("penstock"),
    )
    return Report(model.name, version, against, len(data), results, _bins(judged), basis)


def _scorer(repository: ModelRepository, settings: Settings, model: str, version: int, connections: ExitStack) -> Call:
    """Scores with a version: in this process, or on Triton if it calls a model that only Triton has."""
    hosted = repository.hosted(model, version)
    if hosted is None:
        return partial(scores_of, open_session(repository.model_file(model, version)))
    return partial(connections.enter_context(closing(HostedModels(settings.triton.access))).score, hosted)


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
    project: Project, settings: Settings, backfill: Backfill, manifests: Mapping[int, ModelManifest | ImportManifest]
) -> TrainingSet:
    """The labelled events after all that the versions were trained on, as far as that is known."""
    registry = registry_schemas(settings.schema_registry_url)
    data = read_training_set(project, settings.kafka.access, backfill, None, registry)
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


def _groups(project: Project, backfill: Backfill, data: TrainingSet, names: Sequence[str]) -> dict[str, list[object]]:
    """The values of the columns of groups, for each event."""
    if unknown := [name for name in names if name not in backfill.columns()]:
        raise PenstockError(
            f"the backfill has no column {unknown[0]}, by which groups are to be compared",
            where=str(backfill.folder),
            next=f"name columns of it in the file of gates; {project.reference} carries those in passthrough=(...)",
        )
    values: dict[str, tuple[object, ...]] = {}
    for batch in backfill.batches(["event_id", *names]) if names else ():
        columns = [batch.column(name).to_pylist() for name in ("event_id", *names)]
        for event_id, *found in zip(*columns, strict=True):
            values.setdefault(event_id, tuple(found))
    return {name: [values[event_id][place] for event_id in data.event_ids] for place, name in enumerate(names)}


def _extremes(inputs: int) -> tuple[list[str], FloatArray]:
    """Names of extreme rows, and the rows."""
    greatest = np.finfo(np.float32).max
    values = {"only nulls": np.nan, "zeros": 0, "greatest": greatest, "least": -greatest}
    return list(values), np.array([[value] * inputs for value in values.values()], np.float32)


def _provenance(project: Project, manifest: ModelManifest | ImportManifest) -> Iterator[Result]:
    """Whether the version takes the pipeline's inputs, of the views as they are, and says where it comes from."""
    views = view_versions(project.plan, project.pipeline.model.inputs)
    origin = manifest.sha256 if isinstance(manifest, ImportManifest) else manifest.data_hash
    for what, good, limit in (
        ("inputs", manifest.inputs == project.pipeline.model.inputs, "those of Model(inputs=...)"),
        ("views", dict(manifest.views) == views, "the pipeline's, as they are now"),
        ("origin", bool(origin and manifest.libraries), "a hash of its data or file, and its libraries"),
    ):
        verdict = Verdict.PASS if good else Verdict.FAIL
        yield Result(
            "provenance", "manifest", verdict, 1, f"{what}: {'as they must be' if good else 'others'}", _NONE, limit
        )


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


def _latency(
    settings: Settings,
    model: str,
    versions: tuple[int, int],
    scorers: Mapping[int, Call],
    vectors: FloatArray,
) -> tuple[str, dict[int, tuple[Numbers, Numbers]]]:
    """Where both versions were called, on the model server if it has both, and the seconds of their calls.

    Else a version with a file is called in this process, and a model that only Triton has in Triton.
    """
    with closing(open_server(PRIMARY_SERVER, settings)) as server:
        try:
            ready = {state.version for state in server.versions(model) if state.state == "READY"}
        except ModelServerUnavailable:
            ready = set()
        if ready >= set(versions):
            remote: list[Call] = [partial(server.infer, model, number, deadline_s=_DEADLINE_S) for number in versions]
            return f"on {server.name}", _times(remote, vectors)
    repository = ModelRepository(settings.model_repository)
    is_hosted = any(repository.hosted(model, number) is not None for number in versions)
    where = "by direct calls" if is_hosted else "in this process"
    return where, _times([scorers[number] for number in versions], vectors)


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
