"""Names of topics and consumer groups, and the required properties of a topic."""

from __future__ import annotations

from dataclasses import dataclass, field

PRODUCER_VERSION_HEADER = "producer-version"
"""The header of a raw event in which its producer may say its own version, as text in UTF-8."""


@dataclass(frozen=True)
class Topic:
    """The name, partitions and configuration that a pipeline requires of a topic."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def dead_letters_of(topic: str) -> str:
    """The dead-letter topic, for records of ``topic`` that could not be processed."""
    return f"{topic}.dlq"


def group_of(pipeline: str, role: str) -> str:
    """The consumer group of a part of a pipeline: ``features`` (the job), ``scorer``, ``sink-redis``, ``drift``, ..."""
    return f"penstock-{pipeline}-{role}"
