"""Builds a training set: stages topics and features, joins them, writes the files, checks for leaks, then the manifest.

Everything is made in ``.building`` in the folder. The manifest comes last, so that a folder that has one is complete; a
killed build leaves none, and the next one begins anew and makes the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version as library_version
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from backfill.labels import LabelReader
from backfill.manifest import plan_hash
from backfill.parquet import Backfill
from backfill.resumable import LOCK, exclusive_lock
from backfill.topics_read import ReadRecords
from backfill.training_parquet import VectorReader, offsets_of, require_fit, require_labels
from backfill.training_sets.joining import SetFiles, SetJoin, SetRange, connect
from backfill.training_sets.leaks import SKIPPED, check_leaks
from backfill.training_sets.manifest import (
    FILE_NAME,
    LabelRule,
    OtherLabels,
    Probe,
    Request,
    SetCounts,
    SourceCounts,
    TrainingSetManifest,
    load_set_manifest,
)
from backfill.training_sets.parts import data_hash, set_schema, write_parts
from backfill.training_sets.staging import PredictionStaging, Staged, stage_backfill, stage_labels
from penstock.errors import PenstockError
from penstock.time import iso
from schemas.codec import Registry
from scoring.label_maturity import Maturity
from scoring.training_set import view_versions
from streams.definitions.labels import Labels
from streams.definitions.other_inputs import is_other
from streams.plan.project import Project

_BUILDING = ".building"
_LIBRARIES = ("duckdb", "numpy", "pyarrow", "scikit-learn")


@dataclass(frozen=True)
class Inputs:
    """What a set is made of.

    Args:
        records: Reads topics.
        backfill: The recomputed features; None for those of the log of predictions.
        registry: Finds the schemas of Confluent-framed labels.
    """

    records: ReadRecords
    backfill: Backfill | None = None
    registry: Registry | None = None


def build_training_set(
    project: Project,
    inputs: Inputs,
    request: Request,
    folder: Path,
    memory_limit: str = "1GB",
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[TrainingSetManifest, bool]:
    """Write a training set to a folder; return its manifest, and whether it was made now.

    A folder that has the set already is left as it is. The same inputs give the same bytes.

    Args:
        project: The pipeline.
        inputs: What it is made of.
        request: Which set.
        folder: Where to write it.
        memory_limit: How much memory DuckDB may take, such as ``1GB``; Python takes some hundred MB beside it.
        tell: Is told each step.

    Raises:
        PenstockError: if the pipeline has no labels, or too few; the features do not fit; there is no row; the folder
            has other content or is in use; or memory or disk do not suffice. No set is then in the folder.
    """
    labels = require_labels(project)
    if request.embargo and labels.horizon is None:
        raise PenstockError(
            "an embargo leaves out rows whose labels were not final, and these labels have no horizon",
            where=f"pipeline {project.name}",
            next="declare Labels(horizon=...), or leave --embargo out",
        )
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder):
        found = load_set_manifest(folder)
        if found is not None:
            _require_same(found, project, labels, request, inputs.backfill, folder)
            shutil.rmtree(folder / _BUILDING, ignore_errors=True)
            return found, False
        _clear(folder)
        building = folder / _BUILDING
        building.mkdir()
        try:
            with _explained(folder, memory_limit):
                made = _Build(project, labels, inputs, request, building, memory_limit, tell).run()
                for part in made.parts:
                    (building / part.file).replace(folder / part.file)
                made.save(folder)
                shutil.rmtree(building)
        except PenstockError:
            shutil.rmtree(folder, ignore_errors=True) if is_new else _clear(folder)
            raise
        return made, True


class _Staged(NamedTuple):
    """Files, what was read of each topic of labels, the offsets of each topic, and the counts of what was refused."""

    files: SetFiles
    labels: dict[str, Staged]
    offsets: dict[str, dict[int, tuple[int, int]]]
    refused: dict[str, int]

    @property
    def reached_ms(self) -> int | None:
        """How far labels have come."""
        return max((of.reached_ms for of in self.labels.values() if of.reached_ms is not None), default=None)


class _Build:
    """One build, in its folder."""

    def __init__(
        self,
        project: Project,
        labels: Labels,
        inputs: Inputs,
        request: Request,
        folder: Path,
        memory_limit: str,
        tell: Callable[[str], None],
    ) -> None:
        self._project, self._labels, self._inputs, self._request = project, labels, inputs, request
        self._folder, self._memory_limit, self._tell = folder, memory_limit, tell
        self._model = project.pipeline.model
        self._views = view_versions(project.plan, self._model.inputs, project.other_views)

    def run(self) -> TrainingSetManifest:
        """Make the files and return the manifest."""
        request, labels, pipeline = self._request, self._labels, self._project.pipeline
        staged = self._stage()
        until_ms = Maturity.of(labels).until(request.until_ms, staged.reached_ms)
        range_ = SetRange(request.from_ms, request.to_ms, until_ms)
        self._tell("joining")
        with closing(connect(self._memory_limit, self._folder / "spill")) as sql:
            join = SetJoin(sql, staged.files, range_, labels, self._model)
            _require_declared(labels, join.explored(), self._project)
            join.require_labelled()
            counts = join.counts().model_copy(update=staged.refused)
            shares = [Fraction(share) for share in request.split]
            join.cut(shares, embargo=request.embargo)
            splits = join.splits()
            rows = sum(split.rows for split in splits.values())
            if not rows:
                raise _no_row(counts, self._project)
            self._tell(f"writing {rows:,} rows")
            schema = set_schema(labels.task, self._model.inputs, with_source=bool(labels.otherwise))
            parts = write_parts(self._folder, schema, join.rows(len(self._model.inputs)))
            classes = join.classes()
            self._tell("checking for leaks")
            source = self._project.plan.sources[0]
            leak_check = check_leaks(sql, source.max_future_ms, request.to_ms, self._probe(sql))
            arrival, selection, versions = join.arrival(), join.selection(), join.versions()
            label_sources = _label_sources(staged.labels, join.labels_by_source()) if labels.otherwise else {}
        positive = None if labels.positive is None else str(labels.positive)
        paths = [self._folder / part.file for part in parts]
        return TrainingSetManifest(
            pipeline=pipeline.name,
            model=self._model.name,
            request=request,
            until_ms=until_ms,
            labels=rule_of(labels),
            inputs=self._model.inputs,
            categories=pipeline.categories,
            views=self._views,
            plan=plan_hash(self._project.plan),
            rows=rows,
            classes=classes,
            data_hash=data_hash(paths, self._model.inputs, self._views, labels.task, classes, positive),
            parts=parts,
            splits=splits,
            counts=counts,
            label_sources=label_sources,
            offsets=staged.offsets,
            backfill=_identity(self._inputs.backfill),
            versions=versions,
            arrival=arrival,
            selection=selection,
            leak_check=leak_check,
            libraries={name: library_version(name) for name in _LIBRARIES},
        )

    def _stage(self) -> _Staged:
        """Write the files that are to be joined."""
        project, labels, backfill = self._project, self._labels, self._inputs.backfill
        if backfill is not None:
            self._require_recomputed(backfill)
        files = {name: self._folder / f"{name}.parquet" for name in ("labels", "features", "decisions")}
        self._tell(f"reading {', '.join(labels.topics)}")
        reader = LabelReader(labels, project.schemas, self._inputs.registry)
        of_labels = stage_labels(files["labels"], labels.task, reader, self._inputs.records)
        offsets = {topic: of.offsets for topic, of in of_labels.items()}
        topic, decisions, refused = project.pipeline.predictions_topic, None, 0
        if backfill is None or labels.hidden_by is not None:
            self._tell(f"reading {topic}")
            decisions = files["features" if backfill is None else "decisions"]
            staging = PredictionStaging(project, features=backfill is None)
            of_predictions = staging.stage(decisions, self._inputs.records(topic))
            offsets[topic], refused = of_predictions.offsets, of_predictions.refused
        if backfill is not None:
            self._tell(f"reading {backfill.folder}")
            vectors = VectorReader(self._model.inputs, project.pipeline.categories)
            by_arrival = project.pipeline.source.order == "arrival"
            stage_backfill(files["features"], self._model.inputs, vectors, backfill, by_arrival=by_arrival)
            offsets |= offsets_of(project, backfill)
        return _Staged(
            SetFiles(files["labels"], files["features"], decisions),
            of_labels,
            offsets,
            {"labels_refused": reader.refusals, "predictions_refused": refused},
        )

    def _require_recomputed(self, backfill: Backfill) -> None:
        """Check that the backfill has the inputs and the range.

        Raises:
            PenstockError: if it lacks one.
        """
        project, replay, request = self._project, backfill.manifest.replay, self._request
        if project.other_views:
            other = next(filter(is_other, self._model.inputs))
            raise PenstockError(
                f"input {other} is of another pipeline, which a backfill does not have",
                where=str(backfill.folder),
                next="give --features served in the place of --backfill: predictions have all inputs",
            )
        require_fit(project, self._views, backfill)
        if request.from_ms < replay.from_ms or request.to_ms > replay.to_ms:
            raise PenstockError(
                f"the backfill has events from {iso(replay.from_ms)} to {iso(replay.to_ms)} only",
                where=str(backfill.folder),
                next="give --from and --to within that range, or run a longer backfill: "
                f"penstock backfill run {project.reference} --from TIME --to TIME --out FOLDER",
            )

    def _probe(self, sql: duckdb.DuckDBPyConnection) -> Probe:
        if not self._request.probe:
            return SKIPPED
        from backfill.training_sets.probe import probe  # noqa: PLC0415 - scikit-learn is slow to import

        return probe(sql, self._model.inputs, self._labels, self._request.seed)


def rule_of(labels: Labels) -> LabelRule:
    """The declaration as a manifest has it."""
    return LabelRule(
        topic=labels.topic,
        value=labels.value,
        task=labels.task,
        positive=None if labels.positive is None else str(labels.positive),
        horizon_ms=labels.horizon,
        absent=labels.absent,
        hidden_by=labels.hidden_by,
        otherwise=tuple(OtherLabels(topic=one.topic, value=one.value, of=one.of) for one in labels.otherwise),
        of=labels.of,
    )


def _label_sources(staged: Mapping[str, Staged], rows: Mapping[str, int]) -> dict[str, SourceCounts]:
    return {
        topic: SourceCounts(read=of.rows, refused=of.refused, rows=rows.get(topic, 0)) for topic, of in staged.items()
    }


def _require_declared(labels: Labels, explored: int, project: Project) -> None:
    """Check that labels say which decision hides outcomes, if a rollout explores what that decision hides."""
    if explored and labels.hidden_by is None:
        decision = project.pipeline.model.positive
        raise PenstockError(
            f"{explored:,} predictions are of an exploration slice, but the labels do not say which decision hides "
            "outcomes: nobody can tell which negatives were only never seen",
            where=project.pipeline.predictions_topic,
            safe="nothing was written",
            next=f"declare the decision after which no label can come, such as Labels(hidden_by={decision!r})",
        )


def _no_row(counts: SetCounts, project: Project) -> PenstockError:
    read = {name: number for name, number in counts.model_dump().items() if number}
    return PenstockError(
        "no event of the range is in the set",
        where=", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in read.items()) or "nothing was read",
        safe="nothing was written",
        next="give another range or a later --until; if events are immature, wait until their labels are final; "
        f"penstock topics show {project.reference} shows whether the topics exist",
    )


def _identity(backfill: Backfill | None) -> str | None:
    return None if backfill is None else backfill.manifest.identity


def _require_same(
    found: TrainingSetManifest,
    project: Project,
    labels: Labels,
    request: Request,
    backfill: Backfill | None,
    folder: Path,
) -> None:
    """Check that a folder's set is the one that was asked for.

    Raises:
        PenstockError: if it is another.
    """
    views = view_versions(project.plan, project.pipeline.model.inputs, project.other_views)
    differences = []
    if found.pipeline != project.name:
        differences.append(f"it is of pipeline {found.pipeline}")
    else:
        was, now = found.request.model_dump(), request.model_dump()
        differences += [
            f"its {name.removesuffix('_ms')} is {was[name]}, not {now[name]}" for name in was if was[name] != now[name]
        ]
        if found.labels != rule_of(labels):
            differences.append("the declaration of the labels has changed")
        if dict(found.views) != views or found.inputs != project.pipeline.model.inputs:
            differences.append("the inputs of the model or their views have changed")
        if found.backfill not in (None, _identity(backfill)):
            differences.append("it is of another backfill, which replayed other offsets or another definition")
    if differences:
        raise PenstockError(
            f"the folder has another training set: {'; '.join(differences)}",
            where=str(folder),
            safe="nothing was changed",
            next="give another folder with --out, or delete this one",
        )


def _clear(folder: Path) -> None:
    """Remove what a killed build left. Parts are a build's only beside its ``.building``, which goes last.

    Raises:
        PenstockError: if the folder has anything else, such as the parts of another program.
    """
    was_built = (folder / _BUILDING).exists()
    found = sorted(folder.iterdir(), key=lambda path: path.name == _BUILDING)
    ours = [
        path
        for path in found
        if path.name in (_BUILDING, f".{FILE_NAME}") or (was_built and path.match("part-*.parquet"))
    ]
    if strange := sorted({path.name for path in folder.iterdir()} - {path.name for path in ours} - {LOCK}):
        raise PenstockError(
            f"the folder has files that are not of a training set, such as {strange[0]}",
            where=str(folder),
            safe="nothing was changed",
            next="give another folder with --out",
        )
    for path in ours:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _explained(folder: Path, memory_limit: str) -> Iterator[None]:
    """Say what to do if memory or disk do not suffice, or a file that is read is damaged."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise PenstockError(
            f"DuckDB cannot join the set within {memory_limit}: {str(error).splitlines()[0]}",
            where=str(folder),
            safe="nothing was written",
            next="give more with --memory-limit, or make room on the disk of --out, where it keeps the rest",
        ) from error
    except (OSError, duckdb.IOException, pa.ArrowInvalid) as error:
        raise PenstockError(
            f"a file cannot be read or written: {str(error).splitlines()[0]}",
            where=str(folder),
            safe="no set was written; what it is made of was not changed",
            next="make room on the disk, or repair what the message names, and run the same command again",
        ) from error
