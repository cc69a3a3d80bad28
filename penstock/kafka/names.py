"""Topics and consumer groups as values: their names, and what a topic must be like."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Topic:
    """A topic as the pipeline needs it."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def dead_letters_of(topic: str) -> str:
    """The topic that keeps what could not be processed from ``topic``."""
    return f"{topic}.dlq"


def group_of(pipeline: str, role: str) -> str:
    """The consumer group of a part of a pipeline: ``features`` (the job), ``scorer``, ``sink-redis``, ``drift``, ..."""
    return f"penstock-{pipeline}-{role}"
