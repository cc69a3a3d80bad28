"""What the judge of a rollout is told: one row for each record that was read. Plain data, no Kafka."""

from __future__ import annotations

from typing import NamedTuple


class Live(NamedTuple):
    """A prediction that was served under a rollout policy.

    Attributes:
        partition: The partition of its feature record.
        offset: The offset of its feature record.
        event_id: The event.
        entity: The prediction's entity; None if it has none.
        event_time_ms: The time of the event, epoch ms.
        policy: The version of the policy (twelve hex digits).
        arm: The arm that was to score it.
        version: The version of the model that scored it; of a cascade, the fast model's. Where a candidate gives no
            number, it is the champion's.
        score: The score.
        is_fallback: Whether the route is ``fallback``: the arm's version did not answer in time on its server.
        infer_ms: How long the arm took for its batch.
        scored_at_ms: When the batch was scored, epoch ms.
        groups: The event's value of each of :attr:`scoring.rollout.facts.Facts.groups`, as in the vector; NaN for null.
        is_hidden: Whether the decision that was served hides the outcome, so that no label means nothing.
    """

    partition: int
    offset: int
    event_id: str
    entity: str | None
    event_time_ms: int
    policy: str
    arm: str
    version: int
    score: float
    is_fallback: bool
    infer_ms: float
    scored_at_ms: int
    groups: tuple[float, ...] = ()
    is_hidden: bool = False


class Shadow(NamedTuple):
    """A prediction that nobody was served; the fields are those of :class:`Live`.

    Attributes:
        version: The version of the model that scored it; of a cascade, the fast model's.
    """

    partition: int
    offset: int
    event_id: str
    entity: str | None
    event_time_ms: int
    policy: str
    version: int
    score: float
    infer_ms: float


class Letter(NamedTuple):
    """A dead letter of the scorer: an event for which its arm had no number.

    Dead letters of records that could not be read are nobody's failure: leave them out.

    Attributes:
        partition: The partition of its feature record.
        offset: The offset of its feature record.
        event_id: The event.
        entity: The entity that the prediction would have had.
        time_ms: The Kafka timestamp of the letter: when the batch was scored, epoch ms.
    """

    partition: int
    offset: int
    event_id: str
    entity: str | None
    time_ms: int


class Label(NamedTuple):
    """What became known of an event.

    Attributes:
        event_id: The event.
        value: 1 or 0: whether the event is positive (of a multiclass task, of the class whose probability is the
            score); or the value of a regression. None withdraws the labels of its source before it.
        time_ms: When it became known, epoch ms. Of several labels of an event and source, the latest counts; of those
            of the same time the one that Kafka received last, and then the one with the greatest partition and offset.
        received_ms: Its Kafka timestamp; negative if it has none.
        partition: Its partition.
        offset: Its offset.
        source: The place of its source in ``Labels.sources``.
    """

    event_id: str
    value: float | None
    time_ms: int
    received_ms: int = -1
    partition: int = 0
    offset: int = 0
    source: int = 0
