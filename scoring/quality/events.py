"""An event that waits for its label, and how it counts. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, TypeAlias

from penstock.kafka.lag import Partition
from scoring.label_precedence import counting
from scoring.quality.facts import QualityFacts
from scoring.quality.histograms import DAY_MS, HOUR_MS, UNITS, Entry, Key, Outcome
from scoring.quality.label_watch import Taken

LIVE = ""
"""The name of the prediction that was served, among those of an event; the others have their version as name."""
ONE, HIDDEN, OTHER = "1", "hidden", "other"

Rank: TypeAlias = tuple[int, ...]


class Scored(NamedTuple):
    """A prediction.

    Attributes:
        event_id: The event.
        event_time_ms: Its time, epoch ms.
        rank: Of several predictions of one event id, the one with the smallest rank counts: Kafka timestamp, partition
            and offset of the raw event, then the offset of the feature record.
        version: As in :class:`~scoring.quality.histograms.Key`.
        policy: The same.
        arm: The same.
        route: The same.
        score: From 0 to 1.
        decision: What was decided on it.
        threshold_policy: The version of threshold and decisions.
        explored: Whether the exploration decided.
        propensity: With which probability it does.
        groups: The event's value of each declared group, as text.
        is_shadow: Whether nobody was served it.
        topic: The topic of the raw event, where :attr:`QualityFacts.scored` names several; else empty.
        place: Where it was read: the partition and the offset. An event does not keep it.
    """

    event_id: str
    event_time_ms: int
    rank: Rank
    version: str
    policy: str
    arm: str
    route: str
    score: float
    decision: str
    threshold_policy: str
    explored: bool
    propensity: float
    groups: tuple[str, ...]
    is_shadow: bool
    topic: str = ""
    place: tuple[Partition, int] | None = None

    @property
    def name(self) -> str:
        """Its name among the predictions of its event."""
        return self.version if self.is_shadow else LIVE


class KnownLabel(NamedTuple):
    """What became known of an event.

    Attributes:
        event_id: The event.
        rank: Of several labels of one source, the one with the greatest rank counts: when it became known (epoch ms),
            then its Kafka timestamp, partition and offset.
        value: Whether the event is positive; None if the label withdraws what its source has said before.
        source: The place of its source in ``Labels.sources``.
    """

    event_id: str
    rank: Rank
    value: bool | None
    source: int = 0

    @property
    def known_at_ms(self) -> int:
        """When it became known, epoch ms."""
        return self.rank[0]


@dataclass(slots=True)
class Event:
    """What has come of an event so far.

    Attributes:
        event_id: Its id.
        predictions: Its predictions, by their names.
        labels: Its labels by their source and when they became known: of equal ones only the one that counts.
        is_mature: Whether its labels are final.
        taken: What the detector of its version has seen of it; None if it has not.
        is_stored: Whether the event is in the saved state.
    """

    event_id: str
    predictions: dict[str, Scored] = field(default_factory=dict)
    labels: dict[tuple[int, int], KnownLabel] = field(default_factory=dict)
    is_mature: bool = False
    taken: Taken | None = None
    is_stored: bool = False

    @property
    def time_ms(self) -> int | None:
        """The time of the event; None as long as no prediction has come."""
        found = self.predictions.get(LIVE) or min(self.predictions.values(), key=lambda one: one.rank, default=None)
        return None if found is None else found.event_time_ms

    def add_prediction(self, scored: Scored) -> None:
        """Take a prediction, unless one that ranks before it has come."""
        held = self.predictions.get(scored.name)
        if held is None or scored.rank < held.rank:
            self.predictions[scored.name] = scored if scored.place is None else scored._replace(place=None)

    def add_label(self, label: KnownLabel) -> None:
        """Take a label."""
        key = label.source, label.known_at_ms
        held = self.labels.get(key)
        if held is None or label.rank > held.rank:
            self.labels[key] = label._replace(event_id=self.event_id)  # one text for both, in memory

    def truth(self, horizon_ms: int) -> bool | None:
        """What the label says that counts, of those that came within the horizon; None if there is none."""
        time_ms = self.time_ms
        assert time_ms is not None
        found = counting(label for label in self.labels.values() if label.known_at_ms <= time_ms + horizon_ms)
        return None if found is None else found.value

    def counts(self, facts: QualityFacts) -> Iterator[tuple[Key, Entry]]:
        """Where its predictions count, and as what."""
        live, time_ms = self.predictions.get(LIVE), self.time_ms
        if time_ms is None:
            return
        stratum = _stratum(live, facts)
        truth = self.truth(facts.horizon_ms) if self.is_mature else None
        hour, day = time_ms // HOUR_MS * HOUR_MS, time_ms // DAY_MS * DAY_MS
        for one in self.predictions.values():
            units = round(one.score * UNITS)
            rest = facts.bin_of(one.score), units, one.decision == facts.positive
            entries = [Entry("scored", *rest)]
            if self.is_mature:
                entries.append(Entry(_outcome(truth, stratum, facts), *rest))
            of = one.version, one.policy, one.arm, one.route, stratum
            keys = [Key(*of, "", "", hour)]
            keys += [Key(*of, group, value, day) for group, value in zip(facts.groups, one.groups, strict=True)]
            for key in keys:
                for entry in entries:
                    yield key, entry

    def encode(self) -> bytes:
        """As the value of a record."""
        content: dict[str, Any] = {
            "mature": self.is_mature,
            # Without a topic as releases wrote that knew only one.
            "predictions": [list(one[:-1] if one.topic else one[:-2]) for one in self.predictions.values()],
            # Of the first source without its number, as releases wrote that knew only one.
            "labels": [
                [list(one.rank), one.value, *([one.source] if one.source else [])] for one in self.labels.values()
            ],
        }
        if self.taken is not None:
            content["taken"] = list(self.taken)
        return json.dumps(content, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, event_id: str, content: bytes) -> Self:
        """The opposite of :meth:`encode`.

        Raises:
            ValueError: if it is no event.
        """
        try:
            value = json.loads(content)
            event = cls(event_id, is_mature=value["mature"], is_stored=True)
            for fields in value["predictions"]:
                one = Scored(*fields)
                event.add_prediction(one._replace(rank=tuple(one.rank), groups=tuple(one.groups)))
            for rank, *of in value["labels"]:
                event.add_label(KnownLabel(event_id, tuple(rank), *of))
            event.taken = Taken(*value["taken"]) if "taken" in value else None
        except (TypeError, KeyError) as error:
            raise ValueError(f"no event that waits: {content[:80]!r}") from error
        return event


def _outcome(truth: bool | None, stratum: str, facts: QualityFacts) -> Outcome:
    if truth is not None:
        return "positive" if truth else "negative"
    # Where nobody could see an outcome, no label does not mean that there was none.
    return "negative" if facts.absent == "negative" and stratum != HIDDEN else "unknown"


def _stratum(live: Scored | None, facts: QualityFacts) -> str:
    """How surely the outcome of an event could be seen: by what was served, whoever else has scored it."""
    if facts.hidden_by is None:
        return ONE
    if live is None or live.decision == facts.hidden_by:
        return HIDDEN
    if not live.explored:
        return ONE
    if live.threshold_policy != facts.policy:
        return OTHER
    if (live.score >= facts.threshold) != facts.hides_positive:
        return ONE
    is_probability = math.isfinite(live.propensity) and 0 < live.propensity <= 1
    return f"{live.propensity:.9g}" if is_probability else OTHER
