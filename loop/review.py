"""Which events people should label: a review queue of unclear, disputed, explored and ordinary events. Pure.

A case tool reads the queue; what people find goes to the topic of labels, as any other label.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from scoring.label_precedence import counting
from scoring.training_set import LabelRow

Why = Literal["uncertain", "disputed", "explored", "ordinary", "again"]

SHARES: Mapping[Why, float] = {"uncertain": 0.4, "disputed": 0.25, "explored": 0.1, "ordinary": 0.2, "again": 0.05}
"""The share of the queue that each reason gets, as far as there are such events; what is left goes to ``ordinary``."""

_AGAIN = "penstock.again"


@dataclass(frozen=True)
class Candidate:
    """An event that may be put into the queue.

    Args:
        event_id: Its id.
        event_time: Epoch ms.
        place: ``topic[partition]@offset`` of the raw event.
        score: What was served.
        decision: What was served.
        model_version: Who scored it.
        explored: Whether the decision was the permissive one, by chance.
        others: The scores of versions in shadow.
        is_labelled: Whether it has a label.
    """

    event_id: str
    event_time: int
    place: str
    score: float
    decision: str
    model_version: str
    explored: bool = False
    others: Sequence[float] = field(default=())
    is_labelled: bool = False

    @property
    def dispute(self) -> float:
        """The greatest difference between what was served and a version in shadow."""
        return max((abs(self.score - other) for other in self.others), default=0.0)


class Chosen(NamedTuple):
    """An event for the queue, and the reason for which it was chosen."""

    candidate: Candidate
    why: Why


def choose(
    candidates: Iterable[Candidate], taken: Collection[str], number: int, *, threshold: float, seed: int
) -> list[Chosen]:
    """Choose events for the queue; the same ones for the same seed, whatever their order.

    ``uncertain``: scores next to the threshold. ``disputed``: versions in shadow say something else. ``explored``: the
    decision was let through by chance, so that the outcome can be seen. ``ordinary``: drawn alike of all, so that what
    nobody suspects is seen, too. ``again``: labelled already, to learn how far people agree.

    Args:
        candidates: The events.
        taken: The ids of those that are in the queue already.
        number: How many to choose.
        threshold: The model's.
        seed: Of the draws.
    """
    found = {one.event_id: one for one in candidates if one.event_id not in taken and math.isfinite(one.score)}
    drawn = sorted(found.values(), key=lambda one: _draw(one.event_id, seed))
    fresh = [one for one in drawn if not one.is_labelled]
    ranked: Mapping[Why, Sequence[Candidate]] = {
        "uncertain": sorted(fresh, key=lambda one: abs(one.score - threshold)),
        "disputed": sorted((one for one in fresh if one.dispute > 0), key=lambda one: -one.dispute),
        "explored": [one for one in fresh if one.explored],
        "again": [one for one in drawn if one.is_labelled],
    }
    chosen: dict[str, Chosen] = {}
    for why, rows in ranked.items():
        wanted = round(SHARES[why] * number)
        for one in rows:
            if wanted <= 0:
                break
            if one.event_id not in chosen:
                chosen[one.event_id] = Chosen(one, why)
                wanted -= 1
    for one in fresh:
        if len(chosen) >= number:
            break
        chosen.setdefault(one.event_id, Chosen(one, "ordinary"))
    return list(chosen.values())[:number]


def encode(chosen: Chosen, asked_ms: int) -> bytes:
    """The record of the queue: JSON that a case tool can read."""
    one = chosen.candidate
    content = {
        "event_id": one.event_id,
        "event_time": one.event_time,
        "place": one.place,
        "score": one.score,
        "decision": one.decision,
        "model_version": one.model_version,
        "why": chosen.why,
        "asked_ms": asked_ms,
    }
    # People should not know that others have labelled the event: a header says so, and the content does not.
    return json.dumps(content | ({"why": "ordinary"} if chosen.why == "again" else {})).encode()


def headers(chosen: Chosen) -> list[tuple[str, bytes | None]]:
    """The headers of the record."""
    return [(_AGAIN, b"1")] if chosen.why == "again" else []


class Asked(NamedTuple):
    """What a record of the queue asks for; ``again`` if the event had a label by then."""

    event_id: str
    asked_ms: int
    again: bool


def decode(value: bytes | None, found: Iterable[tuple[str, bytes | None]] = ()) -> Asked | None:
    """What a record of the queue, with the headers ``found``, asks for; None if it is none."""
    try:
        content = json.loads(value or b"")
        return Asked(str(content["event_id"]), int(content["asked_ms"]), (_AGAIN, b"1") in found)
    except (ValueError, TypeError, KeyError):
        return None


@dataclass(frozen=True)
class Agreement:
    """How far people agree on events that were labelled twice.

    Args:
        asked: How many events were put into the queue again.
        answered: How many of them have a label from after that.
        agree: How many of these have the same one as before.
        kappa: Cohen's kappa: the agreement beyond what chance gives; None if it cannot be told.
    """

    asked: int
    answered: int
    agree: int
    kappa: float | None


def agreement(asked: Iterable[Asked], labels: Mapping[str, Sequence[LabelRow]]) -> Agreement:
    """How far the label that counted before a question agrees with the first one after it, of whatever source.

    Args:
        asked: What the queue asks for.
        labels: The labels of each event, in any order.
    """
    again = [one for one in asked if one.again]
    pairs = []
    for one in again:
        known = labels.get(one.event_id, ())
        before = counting(label for label in known if label.known_at_ms <= one.asked_ms)
        after = [label for label in known if label.known_at_ms > one.asked_ms and label.value is not None]
        if before is not None and after:
            pairs.append((before.value, min(after, key=lambda label: label.rank).value))
    agree = sum(first == second for first, second in pairs)
    return Agreement(len(again), len(pairs), agree, _kappa(pairs))


def _kappa(pairs: Sequence[tuple[object, object]]) -> float | None:
    if not pairs:
        return None
    number = len(pairs)
    first, second = Counter(str(one) for one, _ in pairs), Counter(str(other) for _, other in pairs)
    by_chance = sum(count * second[name] for name, count in first.items()) / number**2
    if by_chance == 1:
        return None
    return (sum(one == other for one, other in pairs) / number - by_chance) / (1 - by_chance)


def _draw(event_id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{event_id}".encode("utf-8", "surrogatepass")).digest()
