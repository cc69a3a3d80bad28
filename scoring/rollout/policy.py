"""A rollout policy: which versions of a pipeline's model score which entities. Immutable data, no I/O.

A :class:`RolloutPolicy` is what a person writes into a file. A :class:`PublishedPolicy` is what scorers follow: it also
says which entities belong to which arm. Both have a content hash, which does not depend on how the content was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from penstock.counts import counted
from scoring.audit import audit_salt
from scoring.rollout.allocation import Range, check_ranges, everything_to, reallocate, weights_of
from scoring.version_files import content_hash
from streams.definitions.base import Definition, Name
from streams.definitions.rollout import PARTS, Step, Weight, check_steps, parts_of, refuse_booleans

FLOOR = 0.05
"""The least weight of an arm of a bandit."""

SHADOW = "shadow"
"""The arm of predictions that nobody is served; no policy has an arm of this name."""

Mode = Literal["shadow", "canary", "blue_green", "ab", "bandit"]
# Whose weights the policy declares; those of the others follow from steps or rewards.
_WITH_WEIGHTS: tuple[Mode, ...] = ("blue_green", "ab")


Version = Annotated[int, BeforeValidator(refuse_booleans), Field(ge=1, lt=2**63)]
Salt = Annotated[str, Field(min_length=1)]


class Arm(Definition):
    """A version of the pipeline's model that scores a share of the entities.

    Args:
        name: What it is called in this policy and the ones after it.
        version: The version of the model.
        role: The ``champion`` is the version in production; ``candidate`` are all others.
        weight: The share of entities, a multiple of 0.0001; for the modes ``ab`` and ``blue_green`` only.
    """

    name: Name
    version: Version
    role: Literal["champion", "candidate"] = "candidate"
    weight: Weight | None = None


class Exploration(Definition):
    """A slice of the entities whose decision is the permissive one, whatever their score.

    Args:
        share: The share of entities, at most 1 %.
        decision: The permissive decision, such as ``approve``.
        salt: Chooses the entities. With another salt, it is others.
    """

    share: Annotated[float, BeforeValidator(refuse_booleans), Field(gt=0, le=0.01)]
    decision: Annotated[str, Field(min_length=1)]
    salt: Salt


class RolloutPolicy(Definition):
    """What a person declares about a rollout.

    Args:
        pipeline: The pipeline's name.
        mode: How entities are shared out. ``shadow``: all to the champion. ``canary``: to one candidate as much as the
            steps say. ``blue_green``: all to one of two arms. ``ab``: by weights. ``bandit``: by rewards.
        salt: Chooses which entities an arm gets. Each experiment has its own, so that experiments are independent.
        arms: The champion and its candidates, in any order.
        shadow: Versions that score all events, and whose scores nobody is served.
        steps: The steps of a canary; a canary without any gets the pipeline's with :meth:`with_steps`.
        exploration: The exploration slice, if there is one.
    """

    pipeline: Name
    mode: Mode
    salt: Salt
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    shadow: tuple[Version, ...] = ()
    steps: tuple[Step, ...] = ()
    exploration: Exploration | None = None

    @property
    def champion(self) -> Arm:
        """The version in production."""
        return self.arms[0]

    @property
    def candidates(self) -> tuple[Arm, ...]:
        """The other arms, by name."""
        return self.arms[1:]

    @property
    def versions(self) -> tuple[int, ...]:
        """All versions of the model that must be loaded, ascending."""
        return tuple(sorted({*(arm.version for arm in self.arms), *self.shadow}))

    def with_steps(self, default: tuple[Step, ...]) -> RolloutPolicy:
        """The same policy; a canary that has no steps has these."""
        if self.steps or self.mode != "canary":
            return self
        # Not model_copy, which also copies the hash.
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return RolloutPolicy.model_validate(fields | {"steps": default})

    @property
    def first_weights(self) -> dict[str, float]:
        """The weight of each arm when the rollout begins.

        They are the declared ones, those of a canary's first step, or equal ones for a bandit.
        """
        if self.mode in _WITH_WEIGHTS:
            return {arm.name: arm.weight or 0.0 for arm in self.arms}
        share = {"canary": self.steps[0].weight if self.steps else 0.0, "bandit": PARTS // len(self.arms) / PARTS}
        weights = {arm.name: share[self.mode] for arm in self.candidates}
        return {self.champion.name: (PARTS - sum(map(parts_of, weights.values()))) / PARTS, **weights}

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the content: the same for every way to write it."""
        return content_hash(_content(self))

    # Pydantic runs the validators of a field only if its own checks pass, and those of a model after all fields.
    @field_validator("arms", mode="after")
    @classmethod
    def _arms_fit(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        names = [arm.name for arm in arms]
        if len(set(names)) < len(names):
            raise ValueError(f"names must differ, got {', '.join(names)}")
        if SHADOW in names:
            raise ValueError(f"no arm may be called {SHADOW}: that is the arm of predictions that nobody is served")
        champions = [arm.name for arm in arms if arm.role == "champion"]
        if len(champions) != 1:
            raise ValueError(f"one arm must have role: champion, and {', '.join(champions) or 'none'} has it")
        return tuple(sorted(arms, key=lambda arm: (arm.role != "champion", arm.name)))

    @field_validator("shadow", mode="after")
    @classmethod
    def _shadow_versions_differ(cls, versions: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(versions)) < len(versions):
            raise ValueError(f"versions must differ, got {', '.join(map(str, versions))}")
        return tuple(sorted(versions))

    @field_validator("steps", mode="after")
    @classmethod
    def _steps_rise(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return check_steps(steps)

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        least, most = _CANDIDATES[self.mode]
        if not least <= len(self.candidates) <= most:
            needed = counted(least, "candidate") if least == most else f"{least} to {most} candidates"
            raise ValueError(f"mode {self.mode} takes {needed}, got {len(self.candidates)}")
        if self.steps and self.mode != "canary":
            raise ValueError("steps are for mode canary")
        with_weight = [arm.name for arm in self.arms if arm.weight is not None]
        if self.mode not in _WITH_WEIGHTS and with_weight:
            raise ValueError(f"mode {self.mode} sets the weights itself: leave out that of {', '.join(with_weight)}")
        if self.mode in _WITH_WEIGHTS:
            self._check_weights()
        return self

    def _check_weights(self) -> None:
        missing = [arm.name for arm in self.arms if arm.weight is None]
        if missing:
            raise ValueError(f"mode {self.mode} needs a weight for each arm, and {', '.join(missing)} has none")
        weights = self.first_weights
        listed = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        if sum(map(parts_of, weights.values())) != PARTS:
            raise ValueError(f"the weights of the arms must sum to 1, and sum to {sum(weights.values()):g}: {listed}")
        if self.mode == "blue_green" and 1.0 not in weights.values():
            raise ValueError(f"mode blue_green needs weight 1 for one arm and 0 for the other, got {listed}")

    @model_validator(mode="after")
    def _salts_differ(self) -> Self:
        salts = {"salt": self.salt, "the salt of the audit slice": audit_salt(self.pipeline)}
        if self.exploration is not None:
            salts["exploration.salt"] = self.exploration.salt
        for name, other in pairwise(sorted(salts, key=lambda name: salts[name])):
            if salts[name] == salts[other]:
                raise ValueError(f"{name} and {other} must differ, both are {salts[name]!r}")
        return self


_MOST_CANDIDATES = round(1 / FLOOR) - 1
# How many candidates a mode takes.
_CANDIDATES: Mapping[Mode, tuple[int, int]] = {
    "shadow": (0, 0),
    "canary": (1, 1),
    "blue_green": (1, 1),
    "ab": (1, _MOST_CANDIDATES),
    "bandit": (1, _MOST_CANDIDATES),
}


class PublishedPolicy(Definition):
    """What scorers follow: a policy, and which entities belong to which arm.

    Args:
        policy: What was declared.
        ranges: The arm of each part of [0, 1).
    """

    policy: RolloutPolicy
    ranges: tuple[Range, ...]

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each arm, in the order of the policy's arms."""
        present = weights_of(self.ranges)
        return {arm.name: present.get(arm.name, 0.0) for arm in self.policy.arms}

    @property
    def shadows(self) -> tuple[int, ...]:
        """The versions that score every event in shadow: those declared, and a canary's candidate without a weight."""
        policy, waiting = self.policy, set()
        if policy.mode == "canary":
            waiting = {arm.version for arm in policy.candidates if not self.weights[arm.name]}
        return tuple(sorted({*policy.shadow} | waiting))

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the content. It identifies the arm of every entity."""
        return content_hash({"policy": _content(self.policy), "ranges": [_content(each) for each in self.ranges]})

    @property
    def version(self) -> str:
        """The first twelve hex digits of the hash, for predictions."""
        return self.hash[:12]

    @model_validator(mode="after")
    def _ranges_fit(self) -> Self:
        if self.policy.mode == "canary" and not self.policy.steps:
            raise ValueError("a canary needs at least one step")
        check_ranges(self.ranges, (arm.name for arm in self.policy.arms))
        if self.policy.mode in (*_WITH_WEIGHTS, "shadow") and self.weights != self.policy.first_weights:
            raise ValueError(f"the ranges give weights {self.weights}, the policy declares {self.policy.first_weights}")
        return self


def publish(
    policy: RolloutPolicy, previous: PublishedPolicy | None = None, weights: Mapping[str, float] | None = None
) -> PublishedPolicy:
    """The policy for scorers, in which as few entities as possible change their arm.

    Args:
        policy: What is declared.
        previous: What scorers follow now. If its salt is another one, nothing of it is kept.
        weights: The weight of each arm; by default those with which the rollout begins.

    Raises:
        ValueError: if the weights do not sum to 1, or are not those that the policy declares.
    """
    champion = policy.champion.name
    keeps = previous is not None and previous.policy.salt == policy.salt
    ranges = previous.ranges if previous is not None and keeps else everything_to(champion)
    return PublishedPolicy(policy=policy, ranges=reallocate(ranges, weights or policy.first_weights, champion))


def _content(definition: Definition) -> dict[str, Any]:
    """What is hashed. A field that has its default is left out, so a new field of a later release changes no hash."""
    return definition.model_dump(mode="json", exclude_defaults=True)
