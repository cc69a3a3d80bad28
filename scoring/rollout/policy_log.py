"""What is written down about a rollout. Pure, no Kafka.

There are three records, all JSON: a :class:`PolicyChange` says that a policy was published, by whom and why; a
:class:`Marker` that a scorer took a policy up on a partition, in the transaction of its first predictions under it; a
:class:`Refusal` that a scorer could not, and why.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, JsonValue, RootModel, ValidationError, field_validator, model_validator

from penstock.counts import counted
from penstock.errors import PenstockError
from scoring.rollout.policy import PublishedPolicy
from streams.definitions.base import Definition

Text = Annotated[str, Field(min_length=1)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Up to the year 9999: beyond, it cannot be said.
TimeMs = Annotated[int, Field(ge=0, lt=253_402_300_800_000)]
Status = Literal["running", "paused", "ended"]


class PolicyChange(Definition):
    """A policy that was published.

    Args:
        policy: What scorers follow since.
        author: Who published it: a person, or the controller.
        reason: Why, in words.
        evidence: The measurements that it rests on, as JSON.
        previous: The hash of the policy before; None for the first one.
        time_ms: When, in epoch ms.
        step: Which of the policy's steps a canary is at, from 0; 0 for other modes.
        status: ``running``: the controller judges it and moves it on. ``paused``: it is served as it is until somebody
            decides, or the controller rolls it back. ``ended``: nothing is being tried, as after a promotion or a
            rollback.
    """

    format: Literal[1] = 1
    kind: Literal["change"] = "change"
    policy: PublishedPolicy
    author: Text
    reason: Text
    evidence: dict[str, JsonValue] = Field(default_factory=dict)
    previous: Hash | None
    time_ms: TimeMs
    step: Annotated[int, Field(ge=0)] = 0
    status: Status = "running"

    @model_validator(mode="after")
    def _step_exists(self) -> Self:
        steps = len(self.policy.policy.steps)
        if self.step >= max(steps, 1):
            raise ValueError(f"there is no step {self.step}: the policy has {counted(steps, 'step')}")
        return self

    @field_validator("evidence", mode="after")
    @classmethod
    def _evidence_is_json(cls, evidence: dict[str, JsonValue]) -> dict[str, JsonValue]:
        json.dumps(evidence, allow_nan=False)  # NaN would be read back as null
        return evidence


class Marker(Definition):
    """On a partition of the features topic, a policy is effective from an offset on.

    Args:
        partition: The partition.
        first_offset: The first offset that was scored under the policy.
        policy: The hash of the published policy.
    """

    format: Literal[1] = 1
    kind: Literal["marker"] = "marker"
    partition: Annotated[int, Field(ge=0, lt=2**31)]
    first_offset: Annotated[int, Field(ge=0, lt=2**63)]
    policy: Hash


class Refusal(Definition):
    """A scorer cannot follow a policy, and goes on with the one before.

    Args:
        instance: The scorer.
        policy: The hash of the published policy.
        reason: Why, in words.
        time_ms: When, in epoch ms.
    """

    format: Literal[1] = 1
    kind: Literal["refusal"] = "refusal"
    instance: Text
    policy: Hash
    reason: Text
    time_ms: TimeMs


Entry = PolicyChange | Marker | Refusal


class Logged(NamedTuple):
    """An entry of a rollout log, its offset there, and the time that the record has in Kafka (epoch ms)."""

    offset: int
    time_ms: int
    entry: Entry


class _Record(RootModel[Entry]):
    root: Entry = Field(discriminator="kind")


def encode(entry: Entry) -> bytes:
    """The record as JSON in UTF-8."""
    return entry.model_dump_json().encode()


def decode(value: bytes, where: str) -> Entry:
    """The record in a value; ``where`` is its topic, partition and offset.

    Raises:
        PenstockError: if it is none that this release writes.
    """
    try:
        return _Record.model_validate_json(value).root
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise PenstockError(
            f"the record is no entry of a rollout log: {f'{field}: ' if field else ''}{first['msg']}",
            where=where,
            safe="nothing was changed",
            next="read it with the release that wrote it, if that is a later one",
        ) from error
