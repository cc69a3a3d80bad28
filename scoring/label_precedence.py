"""Which of an event's labels counts, of several sources: one rule for all that reads labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar


class Sourced(Protocol):
    """A label of an event."""

    @property
    def source(self) -> int:
        """The place of its source in ``Labels.sources``."""

    @property
    def rank(self) -> Any:
        """Of the labels of a source, the one with the greatest rank stands for it."""

    @property
    def value(self) -> Any:
        """What it says; None if it withdraws the labels of its source before it."""


L = TypeVar("L", bound=Sourced)


def counting(labels: Iterable[L]) -> L | None:
    """The label that counts of those that are known of an event, in any order; None if none says anything.

    It is the latest one of the first source, unless that withdraws the others; then that of the next source.
    """
    latest: dict[int, L] = {}
    for label in labels:
        held = latest.get(label.source)
        if held is None or label.rank > held.rank:
            latest[label.source] = label
    said = [label for label in latest.values() if label.value is not None]
    return min(said, key=lambda label: label.source, default=None)
