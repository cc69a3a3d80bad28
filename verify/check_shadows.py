"""Checks shadow predictions: each is of a version in shadow, beside the prediction that was served, and rightly scored.

A version that fails in shadow leaves no record. So those that are missing are counted, and are no mismatch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.definitions.pipeline import Model
from verify.check_rollout import arm_version, is_duration
from verify.check_scores import ScoreCheck, Scored, ScoreFindings
from verify.published import Published
from verify.rollout_policies import Policy

TOPIC = "predictions.shadow"
"""What messages call the topic."""

# What is the version's own; all else is copied from the feature record, as on the prediction that was served.
_OWN = frozenset(
    ("score", "decision", "model", "model_version", "route", "scored_at", "outputs", "reasons", "cascade", "rollout")
)

_Place = tuple[str, int, int]


@dataclass
class ShadowFindings(ScoreFindings):
    """Result of the check: how many ``shadows`` there are, and how many are ``missing`` beside what was served.

    ``judged`` are those whose score could be judged, each with the vector that should have been scored.
    """

    shadows: int = 0
    missing: int = 0
    judged: list[Scored] = field(default_factory=list)


def check_shadows(
    model: Model,
    policies: Mapping[str, Policy],
    predictions: Sequence[Published],
    shadows: Sequence[Published],
    scored: Sequence[Scored],
    scores_of: Callable[[str], ScoreCheck],
) -> ShadowFindings:
    """Check the topic of shadow predictions.

    Args:
        model: The pipeline's model.
        policies: Every policy that was published, by the version that predictions name.
        predictions: What was served.
        shadows: The topic.
        scored: Those of the predictions that can be judged, with the vector that should have been scored.
        scores_of: From a model's name to how its scores in shadow are judged.
    """
    findings = ShadowFindings(shadows=len(shadows))
    served: dict[_Place, list[Published]] = {}
    for prediction in predictions:
        served.setdefault(_place(prediction), []).append(prediction)
    seen = Counter[tuple[_Place, str]]()
    for shadow in shadows:
        where, place, version = shadow.place_in(TOPIC), _place(shadow), arm_version(shadow.value)
        seen[place, version] += 1
        if seen[place, version] > 1:
            findings.mismatch(f"{where}: version {version} has scored {_text(place)} before")
        beside = served.get(place, [])
        if len(beside) != 1:
            findings.mismatch(f"{where}: {_text(place)} has {len(beside)} predictions in place of one")
            continue
        for wrong in _wrong_in(shadow, version, beside[0], policies):
            findings.mismatch(f"{where}: {wrong}")
    expected = {
        (_place(one), version)
        for one in predictions
        if one.replayed is None and (policy := _policy_of(one, policies)) is not None
        for version in policy.shadowed
    }
    findings.missing = len(expected - seen.keys())
    vectors = {_place(prediction): vector for prediction, vector in scored}
    for name in sorted({shadow.value["model"] for shadow in shadows}):
        if name not in model.names:
            findings.mismatch(f"{TOPIC}: model {name!r} is not the definition's")
            continue
        of_model = [s for s in shadows if s.value["model"] == name and _place(s) in vectors]
        of_vectors = [(shadow, vectors[_place(shadow)]) for shadow in of_model]
        findings.judged += scores_of(name).check(of_vectors, findings)
    return findings


def _place(prediction: Published) -> _Place:
    value = prediction.value
    return value["features_topic"], value["features_partition"], value["features_offset"]


def _text(place: _Place) -> str:
    return f"{place[0]}[{place[1]}]@{place[2]}"


def _policy_of(prediction: Published, policies: Mapping[str, Policy]) -> Policy | None:
    arm = prediction.value["rollout"]
    return None if arm is None else policies.get(arm["policy"])


def _wrong_in(shadow: Published, version: str, served: Published, policies: Mapping[str, Policy]) -> Iterator[str]:
    """What is wrong with a shadow prediction, given the one that was served."""
    arm, policy = shadow.value["rollout"], _policy_of(served, policies)
    if arm is None or arm["policy"] != (served.value["rollout"] or {}).get("policy"):
        yield f"is under another policy than the prediction at {served.place_in('predictions')}"
    elif policy is not None and version not in policy.shadowed:
        yield f"policy {policy.version} has no version {version} in shadow"
    due: dict[str, Any] = {"arm": "shadow", "probability": 1.0, "explored": False, "propensity": 1.0}
    for name, wanted in due.items():
        if arm is not None and arm[name] != wanted:
            yield f"{name} is {arm[name]!r}, should be {wanted!r}"
    if arm is not None and not is_duration(arm["infer_ms"]):
        yield f"infer_ms is {arm['infer_ms']}"
    for name, copied in served.value.items():
        if name not in _OWN and shadow.value[name] != copied:
            yield f"{name} is {shadow.value[name]!r}, the prediction that was served has {copied!r}"
    if (shadow.partition, shadow.key) != (served.partition, served.key):
        yield "key or partition differs from those of the prediction that was served"
