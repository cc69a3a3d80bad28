"""Numbers for events of one partition number, which their topic and offset tell apart."""

from __future__ import annotations

from collections.abc import Sequence

from streams.plan.model import PipelinePlan

TOPIC = "source.topic"
"""The column of rows that names the topic, where the events of several are scored."""


def scored_topics(plan: PipelinePlan) -> tuple[str, ...]:
    """The topics whose events are scored; empty if it is one only: then nothing names it."""
    topics = plan.triggering_topics
    return topics if len(topics) > 1 else ()


def place_numbers(topics: Sequence[str], of: Sequence[str] | None, offsets: Sequence[int]) -> list[int]:
    """A number for each event, by its topic and offset.

    Args:
        topics: The topics that there are; empty if it is one only.
        of: The topic of each event, one of these; None if it is one only.
        offsets: Their offsets.

    >>> place_numbers((), None, [3, 4]), place_numbers(("web", "app"), ["app", "web"], [3, 4])
    ([3, 4], [7, 8])
    """
    if of is None:
        return list(offsets)
    number = {topic: place for place, topic in enumerate(topics)}
    return [offset * len(topics) + number[topic] for topic, offset in zip(of, offsets, strict=True)]
