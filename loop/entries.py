"""What the log of a pipeline's incidents says, entry by entry: what happened, why, who did what about it. Pure.

The log is kept for ever, and everything about incidents follows from it. Entries about a proposal to train go to the
topic of proposals, too, as CloudEvents: an orchestrator reacts to them without code of Penstock's.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from loop.causes import Action, Cause
from penstock.errors import PenstockError

Step = Literal["backfill", "training", "gates", "rollout"]
Outcome = Literal["done", "refused", "undecided", "failed"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a later release may say more

    incident: str
    time_ms: int


class Signal(BaseModel):
    """One alarm that belongs to an incident.

    Args:
        id: The alarm's id, by which it counts once.
        what: What it is about, such as a monitored input.
        text: The alarm for a person.
        event_time_ms: What the stream had reached, epoch ms.
        place: ``topic[partition]@offset`` of the record at which it was found.
        model_version: The version that was watched.
        detector: What found it, such as ``psi``, or ``range`` of data quality.
        current: What it measured then, such as the share of records.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    what: str
    text: str
    event_time_ms: int
    place: str
    model_version: str
    detector: str = ""
    current: float = 0.0


class Opened(_Entry):
    """An incident begins."""

    kind: Literal["opened"] = "opened"
    signals: Annotated[tuple[Signal, ...], Field(min_length=1)]


class Joined(_Entry):
    """More alarms of an incident that is open."""

    kind: Literal["joined"] = "joined"
    signals: Annotated[tuple[Signal, ...], Field(min_length=1)]


class Diagnosed(_Entry):
    """The cause, as far as it is known; a later diagnosis, when more labels are mature, replaces it.

    Args:
        cause: The cause.
        action: What to do.
        why: The reasons, a sentence each.
        column: The raw column at fault.
        first: ``topic[partition]@offset`` of the first event with the fault.
        producer: What the producer of that event says its version is.
        shares: The share of each input in the shift.
        mature: How many events of the present period had a final label.
    """

    kind: Literal["diagnosed"] = "diagnosed"
    cause: Cause
    action: Action
    why: tuple[str, ...]
    column: str | None = None
    first: str | None = None
    producer: str | None = None
    shares: dict[str, float] = Field(default_factory=dict)
    mature: int = 0


class Proposed(_Entry):
    """A training is proposed.

    Args:
        proposal: Its id, which runs through the versions, gates and rollouts that follow.
        cause: Why.
        action: ``retrain``, ``recalibrate`` or ``prepare``.
        from_ms: The first event time to train on.
        to_ms: The event time before which the events to train and judge on are.
        model_version: The version to replace.
    """

    kind: Literal["proposed"] = "proposed"
    proposal: str
    cause: Cause | Literal["scheduled"]
    action: Action
    from_ms: int
    to_ms: int
    model_version: str


class Stepped(_Entry):
    """A step of a training that was proposed.

    Args:
        proposal: The proposal.
        step: Which step.
        outcome: How it ended.
        detail: What it made, or why it failed: ``version 3``.
    """

    kind: Literal["stepped"] = "stepped"
    proposal: str
    step: Step
    outcome: Outcome
    detail: str


class Closed(_Entry):
    """The incident ends."""

    kind: Literal["closed"] = "closed"
    author: str
    reason: str


Entry = Opened | Joined | Diagnosed | Proposed | Stepped | Closed


class _Record(RootModel[Annotated[Entry, Field(discriminator="kind")]]):
    """What a record of the log holds."""


def encode(entry: Entry) -> bytes:
    """The entry as the log has it."""
    return entry.model_dump_json().encode()


def decode(value: bytes | None, where: str) -> Entry:
    """The entry in a record of the log; ``where`` is its topic, partition and offset.

    Raises:
        PenstockError: if it is none.
    """
    try:
        return _Record.model_validate_json(value or b"").root
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise PenstockError(
            f"the record is no entry of a log of incidents that this release knows: {first['msg']}",
            where=where,
            safe="the other entries",
            next="if a later release wrote it, use that one; only `penstock incidents` and `penstock retrain` may",
        ) from error
