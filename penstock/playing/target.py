"""The topic that a file is played to, as one of those that a pipeline reads. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.errors import PenstockError
from schemas.contract import Contract, Role, field_with_role
from schemas.envelopes import CloudEvents, Debezium
from schemas.sealing import require_writable
from streams.definitions.pipeline import Pipeline


@dataclass(frozen=True)
class Target:
    """A topic of events or labels.

    Args:
        topic: The topic.
        contract: Its contract.
        key: The field by which producers partition it.
        partitions: How many it has.
        max_future_ms: How far an event's time may be ahead of the time at which it is sent.
        envelope: What stands around its events.
    """

    topic: str
    contract: type[Contract]
    key: str | None
    partitions: int
    max_future_ms: int
    envelope: Debezium | CloudEvents | None = None

    @property
    def time_field(self) -> str:
        """The field with the event time."""
        name = field_with_role(self.contract, Role.EVENT_TIME)
        assert name is not None  # Contract checks this for every subclass
        return name


def split_reference(text: str) -> tuple[str, str | None]:
    """The pipeline, and the topic if one is named, of ``PIPELINE`` or ``PIPELINE:TOPIC``.

    >>> split_reference("ads/pipeline.py"), split_reference("ads:labels.ads")
    (('ads/pipeline.py', None), ('ads', 'labels.ads'))
    """
    reference, separator, topic = text.rpartition(":")
    return (reference, topic) if separator else (text, None)


def target_of(pipeline: Pipeline, topic: str | None, typed: str) -> Target:
    """The target of a name.

    Args:
        pipeline: The pipeline.
        topic: The topic; None for that of the events that are scored.
        typed: As it was typed, for errors.

    Raises:
        PenstockError: if the pipeline reads no such topic, or its events cannot be written.
    """
    targets = [
        Target(
            source.topic,
            source.contract,
            source.key,
            source.partitions,
            source.max_future,
            source.envelope,
        )
        for source in pipeline.sources
    ]
    for of in () if pipeline.labels is None else pipeline.labels.sources:
        key, future_ms = field_with_role(of.contract, Role.EVENT_ID), pipeline.source.max_future
        targets.append(Target(of.topic, of.contract, key, pipeline.source.partitions, future_ms))
    for target in targets:
        if topic in (None, target.topic):
            require_writable(target.contract, target.topic, target.envelope)
            return target
    raise PenstockError(
        f"the pipeline does not read topic {topic}",
        where=typed,
        safe="nothing was sent",
        next=f"name one that it reads, behind the pipeline and a colon: {', '.join(t.topic for t in targets)}",
    )
