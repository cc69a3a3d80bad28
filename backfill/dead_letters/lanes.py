"""Lanes: the letters of one topic that one component refused for one reason, and the way to replay them. Pure.

Each lane has its own progress, so that one reason can be replayed while others wait.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from penstock.errors import PenstockError
from penstock.kafka.names import dead_letters_of, group_of
from schemas.dead_letters import DeadLetter
from streams.definitions.pipeline import Pipeline

MOST_REPLAYS = 3
"""A letter whose record was replayed this often is quarantined: it is not replayed again."""

_PLACE = re.compile(r"(?P<topic>[\w.-]+)\[(?P<partition>\d+)\]@(?P<offset>\d+)")
_NAME = re.compile(r"[\w.-]{1,80}")
_JOB, _SINK = "penstock.job", "penstock.sink."


class Place(NamedTuple):
    """Where a letter is; ``str()`` gives ``topic[partition]@offset``."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @classmethod
    def read(cls, text: str) -> Place:
        """The place that a text names.

        Raises:
            PenstockError: if it names none.
        """
        match = _PLACE.fullmatch(text)
        if match is None:
            raise PenstockError(
                f"{text!r} is no place of a letter",
                next="write it as TOPIC[PARTITION]@OFFSET, as penstock dlq list PIPELINE shows it",
            )
        return cls(match["topic"], int(match["partition"]), int(match["offset"]))


@dataclass(frozen=True)
class PlacedLetter:
    """A letter, where it is, and when Kafka took it (epoch ms)."""

    place: Place
    timestamp: int
    letter: DeadLetter

    @property
    def replays(self) -> int:
        """How often its record had been replayed when it was refused.

        Anybody who may write raw events may give them the headers of a replay. So a letter of the job counts only if it
        names another letter of its own topic, and if that is in the same partition, an earlier one.
        """
        said = self.letter.replay
        if said is None:
            return 0
        of, count = said
        match = _PLACE.fullmatch(of)
        if match is None:
            return 0
        named = Place(match["topic"], int(match["partition"]), int(match["offset"]))
        is_earlier = named.partition != self.place.partition or named.offset < self.place.offset
        is_true = named.topic == self.place.topic and is_earlier
        return count if is_true or self.letter.component != _JOB else 0

    @property
    def is_quarantined(self) -> bool:
        """Whether its record was replayed too often."""
        return self.replays >= MOST_REPLAYS

    def replayed(self) -> DeadLetter:
        """The letter with the headers that its record has when it is replayed once more."""
        return self.letter.replayed(str(self.place), self.replays + 1)


class Way(Enum):
    """How the letters of a lane are replayed."""

    RAW = "goes back to its topic"
    SCORE = "is scored again"
    EXCERPT = "is scored from its excerpt"
    STORE = "is written to the store"
    NONE = "is not replayed: detectors take records in their order"


class Lane(NamedTuple):
    """The letters of one dead-letter topic that one component refused for one reason."""

    topic: str
    component: str
    reason: str

    @classmethod
    def of(cls, placed: PlacedLetter) -> Lane:
        """The lane of a letter."""
        return cls(placed.place.topic, placed.letter.component, placed.letter.reason)

    def __str__(self) -> str:
        return f"{self.topic}, {self.component_name} {self.reason_name}"

    @property
    def component_name(self) -> str:
        """``job``, ``scorer``, ``drift``, ``sink.redis``, ..."""
        return self.component.removeprefix("penstock.")

    @property
    def reason_name(self) -> str:
        """``NotANumber``, ``InvalidField``, ..."""
        return self.reason.removeprefix("penstock.")

    @property
    def store(self) -> str:
        """The store whose sink refused the record."""
        return self.component.removeprefix(_SINK)

    def group(self, pipeline: str) -> str:
        """The consumer group that holds the lane's progress, also the transactional id of its replay."""
        return group_of(pipeline, f"dlq-{self.component_name}-{self.reason_name}")

    def way(self, pipeline: Pipeline) -> Way:
        """How its letters are replayed."""
        if not (_NAME.fullmatch(self.component) and _NAME.fullmatch(self.reason)):
            return Way.NONE
        if self.component == _JOB:
            return Way.EXCERPT if self.topic == dead_letters_of(pipeline.features_topic) else Way.RAW
        if self.component == "penstock.scorer":
            return Way.SCORE
        return Way.STORE if self.component.startswith(_SINK) else Way.NONE

    @property
    def is_answer(self) -> bool:
        """Whether the scorer takes its letters for answers to their events, as it takes predictions."""
        return self.component == "penstock.scorer" and self.reason_name in ("NotANumber", "ModelFailed", "TooLarge")


def letter_topics(pipeline: Pipeline) -> list[str]:
    """The dead-letter topics of a pipeline."""
    published = (pipeline.features_topic, pipeline.predictions_topic)
    return [*(source.dead_letter_topic for source in pipeline.sources), *map(dead_letters_of, published)]


@dataclass
class LaneSummary:
    """The letters of a lane: ``waiting`` are neither replayed nor quarantined; times are epoch ms.

    ``messages`` counts what the letters say.
    """

    letters: int = 0
    waiting: int = 0
    quarantined: int = 0
    oldest_ms: int = 0
    newest_ms: int = 0
    latest: Place | None = None
    messages: Counter[str] = field(default_factory=Counter)

    def add(self, placed: PlacedLetter, *, replayed: bool) -> None:
        """Count a letter."""
        self.oldest_ms = placed.timestamp if not self.letters else min(self.oldest_ms, placed.timestamp)
        if placed.timestamp >= self.newest_ms:
            self.newest_ms, self.latest = placed.timestamp, placed.place
        self.letters += 1
        self.messages[placed.letter.message] += 1
        self.quarantined += placed.is_quarantined
        self.waiting += not (replayed or placed.is_quarantined)
