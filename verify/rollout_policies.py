"""Rollout policies as ``docs/concepts/rollout-policy.md`` documents them, read apart from the code that publishes them.

What a policy says of an entity is computed anew from the two hashes of that page.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from verify.slices import position

PARTS, VERSION_DIGITS = 10_000, 12

_FLOOR, _MOST_EXPLORED = 0.05, 0.01
_NOBODY = ""


class Strict(BaseModel):
    """A JSON object with exactly these fields, whose values have exactly these types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Arm(Strict):
    """A version, and who it is."""

    name: str
    version: int
    role: Literal["champion", "candidate"] = "candidate"
    weight: float | None = None


class Step(Strict):
    """A step of a canary; times in milliseconds."""

    weight: float
    least_events: int
    least_time: int
    most_time: int


class Exploration(Strict):
    """The slice of entities whose decision is ``decision``."""

    share: float
    decision: str
    salt: str


class Declared(Strict):
    """What a person declared."""

    pipeline: str
    mode: Literal["shadow", "canary", "blue_green", "ab", "bandit"]
    salt: str
    arms: tuple[Arm, ...]
    shadow: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()
    exploration: Exploration | None = None


class Range(Strict):
    """The parts from ``start`` up to, but not including, ``end``."""

    arm: str
    start: int
    end: int


class Due(NamedTuple):
    """What a prediction must say under a policy: the fields of its arm, and the version of the model.

    ``champion`` is the version that scores where the arm's gives no number. ``decision`` is the exploration's for an
    explored event, else None: the score decides.
    """

    arm: str
    version: str
    champion: str
    probability: float
    explored: bool
    propensity: float
    decision: str | None


class Policy(Strict):
    """A published policy."""

    policy: Declared
    ranges: tuple[Range, ...]

    @cached_property
    def hash(self) -> str:
        """The hash of the content, as the page defines it."""
        declared = _without(self.policy.model_dump(mode="json"), {"shadow": [], "steps": [], "exploration": None})
        declared["arms"] = [_without(arm, {"role": "candidate", "weight": None}) for arm in declared["arms"]]
        content = {"policy": declared, "ranges": [each.model_dump(mode="json") for each in self.ranges]}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def version(self) -> str:
        """How predictions name it."""
        return self.hash[:VERSION_DIGITS]

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """The share of parts of each arm."""
        parts = Counter(self.owners)
        return {arm.name: parts[arm.name] / PARTS for arm in self.policy.arms}

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The arm of each part."""
        found = [_NOBODY] * PARTS
        for each in self.ranges:
            begin, end = max(0, each.start), min(PARTS, each.end)
            found[begin:end] = [each.arm] * max(0, end - begin)
        return tuple(found)

    @cached_property
    def shadowed(self) -> frozenset[str]:
        """The versions that score events beside the arms: those in shadow, and a canary's candidate at weight 0."""
        found = {str(version) for version in self.policy.shadow}
        if self.policy.mode == "canary":
            candidates = (arm for arm in self.policy.arms if arm.role == "candidate")
            found |= {str(arm.version) for arm in candidates if not self.weights[arm.name]}
        return frozenset(found)

    @property
    def champion(self) -> str:
        """The version that scores where a candidate gives no number; empty if there is no champion."""
        return next((str(arm.version) for arm in self.policy.arms if arm.role == "champion"), _NOBODY)

    def due(self, entity: str | None, event_id: str) -> Due | None:
        """What a prediction for an entity must say; None if the entity has no arm, which :meth:`wrong` reports."""
        name = event_id if entity is None else entity
        owner = self.owners[math.floor(position(self.policy.salt, name) * PARTS)]
        version = next((str(arm.version) for arm in self.policy.arms if arm.name == owner), None)
        if version is None:
            return None
        slice_, explored, propensity = self.policy.exploration, False, 1.0
        if slice_ is not None:
            explored = position(slice_.salt, name) < slice_.share
            propensity = slice_.share if explored else 1 - slice_.share
        decision = slice_.decision if slice_ is not None and explored else None
        return Due(owner, version, self.champion, self.weights[owner], explored, propensity, decision)

    def wrong(self, step: int) -> Iterator[str]:
        """What contradicts itself in the policy, of which a canary is at this step."""
        declared, names = self.policy, [arm.name for arm in self.policy.arms]
        ends = [each.end for each in self.ranges]
        if [each.start for each in self.ranges] != [0, *ends[:-1]] or ends[-1:] != [PARTS]:
            yield f"the ranges do not have each of the {PARTS} parts once, in order"
        if any(each.start >= each.end for each in self.ranges) or any(
            one.arm == next_.arm for one, next_ in pairwise(self.ranges)
        ):
            yield "the ranges are more than they need be"
        if not {each.arm for each in self.ranges} <= {*names}:
            yield f"a range belongs to none of the arms {', '.join(names)}"
        champions = [arm.name for arm in declared.arms if arm.role == "champion"]
        if len({*names}) < len(names) or len(champions) != 1:
            yield f"of the arms {', '.join(names)}, {len(champions)} are champions, or two have one name"
        for name, weight in self._due_weights(step).items():
            if self.weights[name] != weight:
                yield f"the ranges give {name} a weight of {self.weights[name]:g}, should be {weight:g}"
        least = min(self.weights.values(), default=0.0)
        if declared.mode == "bandit" and least < _FLOOR:
            yield f"an arm of the bandit has a weight of {least:g}, the least is {_FLOOR:g}"
        slice_ = declared.exploration
        if slice_ is not None and not 0 < slice_.share <= _MOST_EXPLORED:
            yield f"the exploration has a share of {slice_.share:g}"
        salts = [declared.salt, f"{declared.pipeline}/audit", *([] if slice_ is None else [slice_.salt])]
        if len({*salts}) < len(salts):
            yield f"of the salts {', '.join(salts)}, two are the same"

    def moved(self, after: Policy) -> Iterator[str]:
        """The candidates that, with the same salt, neither keep all their parts nor only give some up."""
        if self.policy.salt != after.policy.salt:
            return
        champions = {arm.name for arm in after.policy.arms if arm.role == "champion"}
        for name in sorted({*self.owners, *after.owners} - champions):
            before, now = ({n for n, owner in enumerate(each.owners) if owner == name} for each in (self, after))
            if not (before <= now or now <= before):
                yield f"arm {name} gives up parts and takes others"

    def _due_weights(self, step: int) -> Mapping[str, float]:
        """The weight that each arm must have, of those modes that fix it."""
        declared = self.policy
        if declared.mode in ("ab", "blue_green"):
            return {arm.name: arm.weight or 0.0 for arm in declared.arms}
        if declared.mode == "shadow":
            return {arm.name: float(arm.role == "champion") for arm in declared.arms}
        if declared.mode == "canary":
            weight = declared.steps[step].weight if step < len(declared.steps) else math.nan
            return {arm.name: weight for arm in declared.arms if arm.role == "candidate"}
        return {}


def _without(content: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that do not have these values."""
    return {name: value for name, value in content.items() if name not in defaults or value != defaults[name]}
