"""How far back answers must be looked for, whatever the timestamps of the raw records.

A raw record may carry any Kafka timestamp, but its offset cannot lie: it grows. Each commit of the scorer therefore
carries, as the metadata of the committed offset, the highest raw offset answered so far, and marks: earlier ends of the
two topics of answers, each with what was the highest raw offset then. A raw event above the highest has no answer. The
answer to any other is at or after the newest mark that is below it. So the scorer reads what was answered since the
event was first passed: as far as the job has gone back, and no further.

Metadata and answers are committed in one transaction, so the highest is never too low. Pure: no Kafka, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

# Sixteen marks take about 600 bytes of the 4,096 that the broker allows. Thinned as below, one lies at most about three
# times as far back as needed, over a million times the distance of the newest two.
_MAX_MARKS = 16
_FORMAT = 1


class Ends(NamedTuple):
    """Offsets of a partition of the predictions topic and of its dead-letter topic."""

    predictions: int
    dead_letters: int


class Mark(NamedTuple):
    """All answers before ``ends`` are to raw events before offset ``raw``."""

    raw: int
    ends: Ends


@dataclass(frozen=True)
class LookBack:
    """The highest raw offset of a partition that has been answered, at most; -1 if none. Marks ascend."""

    highest: int
    marks: tuple[Mark, ...] = ()

    def answered(self, offsets: Iterable[int]) -> Self:
        """After the answers to these raw offsets."""
        return replace(self, highest=max(self.highest, *offsets, -1))

    def marked(self, ends: Ends) -> Self:
        """With a mark at the present ends. Answers of this scorer that are not committed yet count as answered."""
        marks = [mark for mark in self.marks if mark.ends != ends]
        if len(marks) < len(self.marks):
            return self  # an earlier mark at the same place serves more events
        return replace(self, marks=tuple(_thinned([*marks, Mark(self.highest + 1, ends)])))

    def fits(self, ends: Ends) -> bool:
        """Whether the topics of answers can be those of the marks: a topic that was made anew is shorter."""
        return all(
            mark.ends.predictions <= ends.predictions and mark.ends.dead_letters <= ends.dead_letters
            for mark in self.marks[-1:]
        )

    def start(self, offset: int) -> Mark | None:
        """The newest mark after which the answer to a raw offset lies, if it has one; None if no mark says."""
        return next((mark for mark in reversed(self.marks) if mark.raw <= offset), None)

    def dump(self) -> str:
        """As the metadata of a committed offset."""
        marks = [[mark.raw, *mark.ends] for mark in self.marks]
        return json.dumps({"penstock": _FORMAT, "highest": self.highest, "marks": marks}, separators=(",", ":"))

    @classmethod
    def load(cls, metadata: str | None) -> Self | None:
        """From the metadata of a committed offset; None if another tool has committed it."""
        try:
            read = json.loads(metadata or "")
            if read["penstock"] != _FORMAT:
                return None
            marks = [Mark(int(raw), Ends(int(predictions), int(dead))) for raw, predictions, dead in read["marks"]]
            return cls(int(read["highest"]), tuple(marks))
        except (ValueError, TypeError, KeyError):
            return None


def _thinned(marks: list[Mark]) -> list[Mark]:
    """At most the allowed number: the distances from the newest mark grow by about the same factor each."""
    while len(marks) > _MAX_MARKS:
        distance = [sum(marks[-1].ends) - sum(mark.ends) for mark in marks]
        inner = range(1, len(marks) - 1)
        del marks[min(inner, key=lambda i: distance[i - 1] / max(distance[i + 1], 1))]
    return marks
