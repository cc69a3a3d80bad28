"""Checks of a cascade: that the right model decided each event, and that the audit slice is whole.

Both scores of a prediction are computed again with the versions that it names, its band is compared with those that
were chosen for these versions, and the slice with a hash of its own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.counts import counted
from streams.definitions.pipeline import Model
from verify.findings import Findings
from verify.hosted import CannotBeAsked, Scorer
from verify.published import Published
from verify.slices import position

Bands = Mapping[tuple[str, str], set[tuple[float, float]]]
"""The bands that were chosen for a fast and a strong version."""


@dataclass
class CascadeFindings(Findings):
    """Result of the check of a cascade; a mismatch is a prediction that took another way than its scores say.

    ``differing`` of the ``audited`` events are those that the strong model would have decided otherwise: the regret.
    ``unchecked`` says in words what could not be checked.
    """

    predictions: int = 0
    by_strong: int = 0
    audited: int = 0
    differing: int = 0
    unchecked: list[str] = field(default_factory=list)


def chosen_bands(folder: Path, model: Model, *, of_any_policy: bool = False) -> Bands:
    """The bands in the folder of the fast model that hold for its strong model, threshold and differing decisions.

    ``of_any_policy`` adds those for other thresholds and other shares of differing decisions.
    A line that is no band is passed over: predictions with its band are then mismatches.
    """
    cascade = model.cascade
    assert cascade is not None
    found: dict[tuple[str, str], set[tuple[float, float]]] = defaultdict(set)
    file = folder / "bands.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with suppress(ValueError, KeyError, TypeError):
            band = json.loads(line)
            holds = band["threshold"] == model.threshold and band["bound"] <= cascade.differing
            if band["strong"] == cascade.strong and (holds or of_any_policy):
                found[str(band["fast"]), str(band["strong_version"])].add((band["low"], band["high"]))
    return found


def routes(
    model: Model,
    fast: Mapping[str, Scorer],
    strong: Mapping[str, Scorer],
    bands: Bands,
    tolerance_of: Callable[[str, str], float],
) -> list[Scorer]:
    """Each way that an event's score may have come about, by the versions of both models; without those of audits.

    Args:
        model: The fast model, which has a cascade.
        fast: Its versions.
        strong: The versions of the strong model.
        bands: What was chosen for them, beside a band that is declared.
        tolerance_of: From a model's name and version to how far a score may be off: at the edges of a band, both models
            may have decided.
    """
    cascade = model.cascade
    assert cascade is not None
    declared = set() if cascade.band == "auto" else {cascade.band}
    return [*fast.values()] + [
        _route(fast[one], strong[other], band, tolerance_of(model.name, one))
        for one in fast
        for other in strong
        for band in sorted(bands.get((one, other), set()) | declared)
    ]


def check_cascade(
    pipeline: str,
    model: Model,
    scored: Iterable[tuple[Published, npt.NDArray[np.float32]]],
    scorer_of: Callable[[str, str], Scorer],
    bands: Bands,
    tolerance_of: Callable[[str, str], float],
    *,
    topic: str = "predictions",
) -> CascadeFindings:
    """Check predictions that were made with a cascade, each with the vector that should have been scored.

    Args:
        pipeline: The pipeline's name.
        model: Its model, which has a cascade.
        scored: The predictions, all under the policy of the definition.
        scorer_of: From a model's name and version to its scores. It may raise anything.
        bands: What was chosen, for a band that is not declared.
        tolerance_of: From a model's name and version to how far a score may be off.
        topic: What messages call the topic of the predictions.
    """
    cascade = model.cascade
    assert cascade is not None
    findings = CascadeFindings()
    known = [(prediction, vector) for prediction, vector in scored if _has_cascade(prediction, topic, findings)]
    findings.predictions = len(known)
    vectors = np.array([vector for _, vector in known], np.float32).reshape(len(known), len(model.inputs))
    taken = [prediction.value["cascade"] for prediction, _ in known]
    for row, (prediction, _) in enumerate(known):
        for wrong in _wrong_route(pipeline, model, prediction.value, bands):
            findings.mismatch(f"{prediction.place_in(topic)}: {wrong}")
        _count(model, taken[row], findings)
    for name, which in ((model.name, "fast"), (cascade.strong, "strong")):
        asked = [row for row, way in enumerate(taken) if which == "fast" or _is_asked(pipeline, model, known[row][0])]
        for version in sorted({taken[row][f"{which}_version"] for row in asked}):
            rows = [row for row in asked if taken[row][f"{which}_version"] == version]
            try:
                numbers = scorer_of(name, version)(vectors[rows])[:, 0].tolist()
            except CannotBeAsked as error:
                findings.unchecked.append(f"the {which} scores of {counted(len(rows), 'prediction')}: {error}")
                continue
            except Exception as error:  # noqa: BLE001 - a model file may hold anything
                findings.mismatch(f"version {version} of the {which} model {name} cannot score: {error}")
                continue
            tolerance = tolerance_of(name, version)
            for row, number in zip(rows, numbers, strict=True):
                score = taken[row][f"{which}_score"]
                if not _equal(score, number, tolerance):
                    where = known[row][0].place_in(topic)
                    findings.mismatch(f"{where}: {which} score {score}, version {version} of {name} says {number}")
    return findings


def in_audit_slice(pipeline: str, event_id: str, share: float) -> bool:
    """Whether an event is in the audit slice."""
    return position(f"{pipeline}/audit", event_id) < share


def _route(fast: Scorer, strong: Scorer, band: tuple[float, float], tolerance: float) -> Scorer:
    def score(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scores = fast(vectors)[:, :1].copy()
        off = tolerance * np.maximum(1, np.abs(scores[:, 0]))
        in_band = (scores[:, 0] >= band[0] - off) & (scores[:, 0] < band[1] + off)
        if in_band.any():
            scores[in_band] = strong(vectors[in_band])[:, :1]
        return scores

    return score


def _has_cascade(prediction: Published, topic: str, findings: CascadeFindings) -> bool:
    if prediction.value["cascade"] is None:
        findings.mismatch(f"{prediction.place_in(topic)}: has no cascade, the definition has one")
        return False
    return True


def _in_band(way: Mapping[str, Any]) -> bool:
    return bool(way["low"] <= way["fast_score"] < way["high"])


def _is_asked(pipeline: str, model: Model, prediction: Published) -> bool:
    """Whether the strong model must have been asked."""
    assert model.cascade is not None
    way = prediction.value["cascade"]
    return _in_band(way) or in_audit_slice(pipeline, prediction.value["event_id"], model.cascade.audit)


def _wrong_route(pipeline: str, model: Model, value: Mapping[str, Any], bands: Bands) -> Sequence[str]:
    """What is wrong with the way that a prediction took, given its own scores."""
    cascade, way = model.cascade, value["cascade"]
    assert cascade is not None
    wrong: list[str] = []
    band, versions = (way["low"], way["high"]), (way["fast_version"], way["strong_version"])
    allowed = bands.get(versions, set()) if cascade.band == "auto" else {cascade.band}
    if band not in allowed:
        wrong.append(f"band {band} was not chosen for versions {versions[0]} and {versions[1]}")
    by_strong = _in_band(way)
    decided = (cascade.strong, versions[1]) if by_strong else (model.name, versions[0])
    if (value["model"], value["model_version"]) != decided:
        wrong.append(f"decided by {value['model']} {value['model_version']}, should be {decided[0]} {decided[1]}")
    score = way["strong_score"] if by_strong else way["fast_score"]
    if value["score"] != score:
        wrong.append(f"score {value['score']} is not that of the model that decides, {score}")
    audited = not by_strong and in_audit_slice(pipeline, value["event_id"], cascade.audit)
    if way["audited"] != audited:
        wrong.append(f"audited is {way['audited']}, should be {audited}")
    if way["strong_score"] is not None and not (by_strong or audited):
        wrong.append("the strong model scored a clear case that is not audited")
    return wrong


def _count(model: Model, way: Mapping[str, Any], findings: CascadeFindings) -> None:
    if _in_band(way):
        findings.by_strong += 1
    elif way["audited"] and way["strong_score"] is not None:
        findings.audited += 1
        findings.differing += (way["fast_score"] >= model.threshold) != (way["strong_score"] >= model.threshold)


def _equal(published: float | None, computed: float, tolerance: float) -> bool:
    """Whether a score is what its model returns; none is published if that is no finite number."""
    if published is None or not np.isfinite(computed):
        return published is None and not np.isfinite(computed)
    return abs(published - computed) <= tolerance * max(1, abs(computed))
