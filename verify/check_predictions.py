"""Checks for exactly one prediction per valid event, with the score that the model gives for its feature record."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.counts import counted
from streams.definitions.pipeline import Model
from streams.plan.model import PipelinePlan
from verify.categories import codes
from verify.check_scores import ScoreCheck, Scored, ScoreFindings
from verify.emissions import JudgedEvent, first_emissions
from verify.hosted import Scorer
from verify.published import Position, Published

# Triton's onnxruntime and this process's may sum a tree ensemble's leaves in different orders.
SCORE_TOLERANCE = 1e-5
_ROUTES = ("primary", "fallback")

NO_EXCERPTS: Mapping[Position, Published] = MappingProxyType({})


@dataclass
class PredictionFindings(ScoreFindings):
    """Result of the check of the predictions topic; a mismatch is a prediction with wrong content.

    ``judged`` are those that are of a valid event, each with the vector that should have been scored.
    """

    judged: list[Scored] = field(default_factory=list)
    predictions: int = 0
    duplicates: int = 0
    gaps: int = 0
    fallbacks: int = 0


def model_vectors(model: Model, values: Iterable[Mapping[str, Any]], count: int) -> npt.NDArray[np.float32]:
    """The model's inputs for each feature record: float32 [count, inputs], NaN for null, a category as its code.

    Those of other pipelines, which are not on it, are NaN.
    """
    vectors = np.empty((count, len(model.inputs)), dtype=np.float32)
    records = list(values)
    for column, path in enumerate(model.inputs):
        if ":" in path:
            vectors[:, column] = np.nan
            continue
        scope, name = path.split(".", 1)
        cells = [None if (part := record[scope]) is None else part[name] for record in records]
        if path in model.categories or any(isinstance(cell, str) for cell in cells):
            cells = codes(cells)
        with np.errstate(over="ignore"):  # beyond float32's range a value becomes an infinity
            vectors[:, column] = np.array(cells, dtype=np.float64)
    return vectors


def check_predictions(
    plan: PipelinePlan,
    model: Model,
    events: Mapping[Position, JudgedEvent],
    features: Sequence[Published],
    predictions: Sequence[Published],
    scorer_of: Callable[[str, str], Scorer],
    *,
    excerpts: Mapping[Position, Published] = NO_EXCERPTS,
    tolerance_of: Callable[[str, str], float] = lambda *_: SCORE_TOLERANCE,
    contributions_of: Callable[[str, str], Scorer | None] = lambda *_: None,
    explored: Collection[Position] = frozenset(),
) -> PredictionFindings:
    """Check every prediction against the event's first feature record and the model file.

    ``scorer_of(name, version)`` returns a version of a model as a function from vectors to scores. It may raise
    anything; after :class:`~verify.hosted.CannotBeAsked` the scores are not checked.
    ``tolerance_of(name, version)`` is by how much a score may differ, absolutely or relatively.
    ``contributions_of(name, version)`` returns by how much each input moves a score; None if the version cannot tell.
    ``excerpts`` are the dead letters of records that were too long to be published, each scored when it was replayed.
    ``explored`` are the events whose decision is that of an exploration: it does not follow from the score.
    """
    findings = PredictionFindings(predictions=len(predictions))
    first = first_emissions(features)
    seen: set[Position] = set()
    judged: list[tuple[Published, Published]] = []
    for prediction in predictions:
        where = prediction.place_in("predictions")
        if prediction.position in seen:
            findings.duplicates += 1
            findings.note(f"{where}: event {prediction.position} was already predicted")
        elif prediction.position not in events or (scored := _scored(prediction, first, excerpts)) is None:
            findings.mismatch(f"{where}: event {prediction.position} is not a valid event with features")
        else:
            judged.append((prediction, scored))
        seen.add(prediction.position)
        findings.fallbacks += prediction.value["route"] == "fallback"
    findings.gaps = len(events.keys() - seen)
    own = policy_version(model)
    for prediction, record in judged:
        _check_references(plan, model, own, prediction, record, findings)
    for name in model.names:
        of_model = [(p, f) for p, f in judged if p.value["model"] == name]
        scores = ScoreCheck(
            model, own, partial(scorer_of, name), partial(tolerance_of, name), partial(contributions_of, name), explored
        )
        vectors = _vectors_of(model, of_model)
        findings.judged += scores.check([(p, row) for (p, _), row in zip(of_model, vectors, strict=True)], findings)
    findings.unchecked += _of_earlier_definitions(model, judged)
    return findings


def _vectors_of(model: Model, judged: Sequence[tuple[Published, Published]]) -> npt.NDArray[np.float32]:
    """What should have been scored for each prediction and its feature record, [n, inputs]."""
    # `check_other_views` judges these.
    others = [place for place, name in enumerate(model.inputs) if ":" in name]
    vectors = model_vectors(model, (record.value for _, record in judged), len(judged))
    for row, (prediction, record) in enumerate(judged):
        # The prediction says what was scored.
        if len(prediction.value["vector"]) == 4 * len(model.inputs):
            taken = slice(None) if _lacks_inputs(model, record) else others
            vectors[row, taken] = np.frombuffer(prediction.value["vector"], "<f4")[taken]
    return vectors


def _scored(
    prediction: Published, first: Mapping[Position, Published], excerpts: Mapping[Position, Published]
) -> Published | None:
    """The record that a prediction must be of."""
    excerpt = excerpts.get(prediction.position)
    return first.get(prediction.position) if excerpt is None or prediction.replayed is None else excerpt


def _of_earlier_definitions(model: Model, judged: Sequence[tuple[Published, Published]]) -> list[str]:
    """What cannot be checked of predictions that were made under another definition than the present one."""
    own, is_cascade = policy_version(model), model.cascade is not None
    models = Counter(
        p.value["model"]
        for p, record in judged
        if p.value["model"] not in model.names and (record.lacks or (is_cascade and p.value["policy_version"] != own))
    )
    policies = Counter(p.value["policy_version"] for p, _ in judged if p.value["policy_version"] != own)
    vectors = sum(_lacks_inputs(model, record) for _, record in judged)
    return [
        *(
            f"the scores of {counted(count, 'prediction')}: model {name} is not the definition's"
            for name, count in models.items()
        ),
        *(
            f"the decisions of {counted(count, 'prediction')}: policy {policy} is not the definition's"
            for policy, count in policies.items()
        ),
        *(
            [f"the vectors of {counted(vectors, 'prediction')}: an earlier definition wrote their feature records"]
            if vectors
            else []
        ),
    ]


def _lacks_inputs(model: Model, record: Published) -> bool:
    """Whether an input of the model is not in a feature record, because an earlier definition wrote it."""
    # Few lack anything.
    return bool(record.lacks) and any(
        name in record.lacks or name.partition(".")[0] in record.lacks for name in model.inputs
    )


def _check_references(
    plan: PipelinePlan,
    model: Model,
    policy: str,
    prediction: Published,
    record: Published,
    findings: PredictionFindings,
) -> None:
    value, features = prediction.value, record.value
    served = [
        {"view": view.id, **{name: features[view.name][name] for name in ("entity", "epoch", "seq", "as_of")}}
        for view in plan.views
        if features[view.name] is not None
    ]
    first_view = features[plan.views[0].name]
    expected = {
        "entity": None if first_view is None else first_view["entity"],
        "model": model.name,
        "event_id": features["event_id"],
        "event_time": features["event_time"],
        "pipeline": plan.pipeline,
        "source": features["source"],
        "features_topic": f"{plan.features_topic}.dlq" if record.is_excerpt else plan.features_topic,
        "features_partition": record.partition,
        "features_offset": record.offset,
        "attempt": features["attempt"],
        "views": served,
    }
    # A view that was removed, or has a new version, cannot be compared.
    if plan.views[0].name in record.lacks:
        del expected["entity"]
    is_of_earlier = bool(record.lacks) or value["policy_version"] != policy
    # An earlier definition may have named another model; of a cascade, `check_cascade` knows which one decides.
    if record.lacks or model.cascade is not None:
        del expected["model"]
    if model.cascade is not None and not is_of_earlier and value["model"] not in model.names:
        findings.mismatch(f"{prediction.place_in('predictions')}: model {value['model']!r} is none of the cascade")
    if model.cascade is None and not is_of_earlier and value.get("cascade") is not None:
        findings.mismatch(f"{prediction.place_in('predictions')}: has a cascade, the definition has none")
    known = {view.id for view in plan.views}
    value = {**value, "views": [view for view in value["views"] if view["view"] in known]}
    where = prediction.place_in("predictions")
    for name, wanted in expected.items():
        if value[name] != wanted:
            findings.mismatch(f"{where}: {name} is {value[name]!r}, should be {wanted!r}")
    if value["route"] not in _ROUTES:
        findings.mismatch(f"{where}: route is {value['route']!r}, should be one of {', '.join(_ROUTES)}")
    if (prediction.partition, prediction.key) != (record.partition, record.key):
        findings.mismatch(f"{where}: key or partition differs from its feature record")


def policy_version(model: Model) -> str:
    """The hash of all that decisions depend on (docs/reference/records.md)."""
    content: list[Any] = [model.threshold, model.positive, model.negative]
    if model.cascade is not None:
        content += [model.cascade.strong, model.cascade.band, model.cascade.audit]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:12]
