"""Checks the reports of gates: that none was edited, that its verdicts follow, and that what was promoted had passed.

A report lies beside the version that it judges, and names the labelled events that it rests on by their hash. Where
these can be read again, the loss that it states is computed again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.kafka.reading import Record
from schemas.constraints import INT64_MAX
from streams.definitions.labels import Labels
from streams.definitions.pipeline import Pipeline
from streams.plan.model import PipelinePlan
from verify.findings import Findings
from verify.hosted import Scorer
from verify.labels import LabelHistory
from verify.run_data import BackfillData
from verify.training_sets import LabelledVectors, Rule, has_columns, labelled_vectors, oldest

Numbers = npt.NDArray[np.float64]

_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
# What passes, in words. The numbers have three digits or more.
_AT_MOST, _BETWEEN = re.compile(rf"at most ({_NUMBER})"), re.compile(rf"({_NUMBER}) to ({_NUMBER})")
_ROUNDING = 0.01
# Of a mean loss: scores are those of another batch size.
_TOLERANCE = 1e-4
_SLICE = re.compile(r"slice (\d+) of (\d+)")
# A logarithm's argument is at least this, and at most one minus this.
_LEAST = 1e-6


@dataclass
class GateFindings(Findings):
    """Result of the check: of ``reports``, the losses of ``checked`` were computed again."""

    reports: int = 0
    checked: int = 0


def check_gates(
    plan: PipelinePlan,
    pipeline: Pipeline,
    models: Path,
    backfills: Sequence[BackfillData],
    labels: Sequence[Sequence[Record]],
    read_labels: Callable[[Sequence[Sequence[Record]]], LabelHistory],
    scorer_of: Callable[[str, str], Scorer],
) -> GateFindings:
    """Check all reports of a pipeline's models, and their histories.

    Args:
        plan: The pipeline's plan.
        pipeline: The pipeline.
        models: The model repository.
        backfills: The backfills, of which some reports may be.
        labels: The topics of labels. The oldest records are those that a report read.
        read_labels: Gives the labels of each event from some of these records.
        scorer_of: From a model's name and version to its scores. It may raise anything.
    """
    findings = GateFindings()

    @lru_cache(maxsize=1)  # a version is often judged twice in a row on the same labels, by check and by promote
    def labelled(count: int | None, inputs: Sequence[str], categories: Sequence[str]) -> Sequence[LabelledVectors]:
        known = read_labels(oldest(labels, count))
        fitting = [one for one in backfills if has_columns(plan, one, inputs)]
        rule = _rule_of(pipeline.labels, known)
        return [labelled_vectors(plan, one, inputs, categories, known, rule) for one in fitting]

    for name in pipeline.model.names:
        promotable: dict[str, Mapping[str, Any]] = {}
        for path in sorted((models / name).glob("reports/*/[!.]*.json")):
            findings.reports += 1
            wrong: list[str] = []
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
                own, report = _hash({key: stored[key] for key in stored if key != "hash"}), stored["report"]
                if stored["hash"] != own:
                    wrong.append("its hash is not that of its content")
                promotable[own] = report
                wrong += _wrong_verdicts(report, path.parent.name)
                events = _holdout(pipeline.labels, models / name, labelled, report)
                scores = None if events is None else _scores(events, report, partial(scorer_of, name))
                if events is not None and scores is not None:
                    findings.checked += 1
                    wrong += _wrong_losses(report, events.truth, *scores)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                wrong.append(f"it is none: {error!r}")
            for text in wrong:
                findings.mismatch(f"the gates' report {path.relative_to(models)}: {text}")
        for text in _wrong_promotions(models / name / "history.jsonl", promotable):
            findings.mismatch(f"model {name}: {text}")
    return findings


def _rule_of(labels: Labels | None, known: LabelHistory) -> Rule:
    """The gates judge all events of a backfill with a label; if labels have a horizon, those that are so old."""
    if labels is None or labels.horizon is None or known.reached_ms is None:
        return Rule(INT64_MAX)
    return Rule(known.reached_ms, labels.horizon, labels.absent)


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _wrong_verdicts(report: Mapping[str, Any], version: str) -> Iterator[str]:
    """Verdicts that do not follow from what was measured."""
    if str(report["version"]) != version:
        yield f"it is of version {report['version']}"
    for one in report["gates"]:
        if one["verdict"] == "pass" and not _keeps_limit(one):
            interval = f"{one['low']} to {one['high']}"
            yield f"{one['gate']}, {one['where']} passes with {interval}, the limit is {one['limit']}"
    judged = {one["verdict"] for one in report["gates"]} - {"skipped", "not judged"}
    worst = "fail" if "fail" in judged else "pass" if judged == {"pass"} else "inconclusive"
    if report["verdict"] != worst:
        yield f"it says {report['verdict']}, its gates say {worst}"


def _keeps_limit(result: Mapping[str, Any]) -> bool:
    """Whether an interval is within the limit, as far as the limit's words have numbers."""
    low, high, limit = result["low"], result["high"], result["limit"]
    if limit == "none":
        return bool(result["estimate"] == 0)
    if low is None or high is None:
        return result["gate"] not in ("quality", "cost", "calibration", "fairness", "latency")
    if (found := _BETWEEN.match(limit)) is not None:
        least, most = map(float, found.groups())
        return bool(least - _ROUNDING * abs(least) <= low and high <= most + _ROUNDING * abs(most))
    if (found := _AT_MOST.match(limit)) is not None:
        most = float(found[1])
        return bool(high <= most + _ROUNDING * abs(most))
    return True


class _Holdout(NamedTuple):
    """The events that a report judged: their vectors, and what is true of each."""

    vectors: npt.NDArray[np.float32]
    truth: Numbers


def _holdout(
    definition: Labels | None,
    folder: Path,
    labelled: Callable[[int | None, Sequence[str], Sequence[str]], Sequence[LabelledVectors]],
    report: Mapping[str, Any],
) -> _Holdout | None:
    """The events that a report judged; None if they are not those of a backfill with these labels."""
    files = [folder / str(one) / "manifest.json" for one in (report["version"], report["against"]) if one is not None]
    if definition is None or report["basis"] is None or not all(map(Path.is_file, files)):
        return None
    manifests = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    inputs, categories = tuple(manifests[0]["inputs"]), tuple(manifests[0].get("categories", ()))
    task, positive = definition.task, None if definition.positive is None else str(definition.positive)
    for events in labelled(report["basis"].get("labels"), inputs, categories):
        if events.data_hash(task, positive) == report["basis"]["holdout"]:
            later = events.times > max(map(_trained_to, manifests))
            is_class = task == "multiclass"
            truth = np.array([str(one) == positive if is_class else one for one in events.labels], np.float64)
            return _Holdout(events.vectors[later], truth[later])
    return None


def _trained_to(manifest: Mapping[str, Any]) -> int:
    """The event time until which a version was trained; -1 if it is not known."""
    if manifest.get("kind") == "imported":
        known = manifest.get("trained_until_ms")
    else:
        known = manifest["until_ms"] if manifest.get("last_event_ms") is None else manifest["last_event_ms"]
    return -1 if known is None else int(known)


def _scores(
    events: _Holdout, report: Mapping[str, Any], scorer_of: Callable[[str], Scorer]
) -> tuple[Numbers, Numbers | None] | None:
    """The scores of the version, and of the one that it was compared with; None if one cannot score here."""
    versions = [str(one) for one in (report["version"], report["against"]) if one is not None]
    try:
        own, *others = (scorer_of(one)(events.vectors)[:, 0].astype(np.float64) for one in versions)
    except Exception:  # noqa: BLE001 - a model file may hold anything; what it scored is checked elsewhere
        return None
    return own, others[0] if others else None


def _wrong_losses(report: Mapping[str, Any], truth: Numbers, own: Numbers, other: Numbers | None) -> Iterator[str]:
    """Losses that are not those of the scores, of the events for which each version has a number."""
    scored = np.isfinite(own) if other is None else np.isfinite(own) & np.isfinite(other)
    truth, own, other = truth[scored], own[scored], None if other is None else other[scored]
    found = 0
    for one in report["gates"]:
        if one["gate"] != "quality" or one["estimate"] is None:
            continue
        found += 1
        rows = _rows_of(one["where"], len(truth))
        constant = np.full(len(truth[rows]), truth[rows].mean())
        loss = _log_loss if one["measured"].startswith("log ") else _squared_error
        losses = loss(own[rows], truth[rows]) - loss(constant if other is None else other[rows], truth[rows])
        difference = float(losses.mean())
        if one["n"] != len(losses) or abs(one["estimate"] - difference) > _TOLERANCE * max(1, abs(difference)):
            yield f"{one['where']} of {one['n']} events: loss differs by {one['estimate']}, should be {difference}"
    skipped = any(one["gate"] == "quality" and one["verdict"] == "skipped" for one in report["gates"])
    if not found and not skipped and len(truth) > 1:
        yield "the quality of its events was not judged"


def _rows_of(where: str, rows: int) -> slice:
    """All events, or a slice of them in time."""
    found = _SLICE.fullmatch(where)
    if found is None:
        return slice(0, rows)
    number, slices = map(int, found.groups())
    begin, end = list(pairwise(np.linspace(0, rows, slices + 1).astype(int).tolist()))[number - 1]
    return slice(begin, end)


def _squared_error(scores: Numbers, truth: Numbers) -> Numbers:
    return (scores - truth) ** 2


def _log_loss(scores: Numbers, truth: Numbers) -> Numbers:
    bounded = np.clip(scores, _LEAST, 1 - _LEAST)
    return -np.where(truth == 1, np.log(bounded), np.log1p(-bounded))


def _wrong_promotions(history: Path, stored: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Promotions without a report that passed, or the reason for which it was overridden."""
    # A process that is killed leaves a last line without its end.
    *lines, _ = history.read_text(encoding="utf-8").split("\n") if history.exists() else [""]
    for number, line in enumerate(lines, 1):
        where = f"line {number} of {history.name}"
        try:
            change = json.loads(line)
            alias, command, version, hash_ = (change[name] for name in ("alias", "command", "to", "report"))
        except (ValueError, KeyError, TypeError):
            yield f"{where} is no change of an alias"
            continue
        if (alias, command) != ("champion", "promote"):
            continue
        report = stored.get(str(hash_))
        if report is None or report["version"] != version:
            yield f"{where}: version {version} was promoted on a report that does not exist"
        elif report["verdict"] != "pass" and not change.get("override"):
            said = report["verdict"]
            yield f"{where}: version {version} was promoted on a report that says {said}, and nobody overrode it"
