"""What a scorer is made of: :mod:`scoring.service` puts it together, :mod:`scoring.scorer` runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import Consumer

from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.records import Produced
from penstock.kafka.retention import OffsetResets
from penstock.kafka.transactions import TransactionalProducer
from scoring.batch import FeatureReader
from scoring.history import PredictionHistory
from scoring.lineup import LineUp
from scoring.other_views import OtherViews
from scoring.scorer_metrics import ScorerMetrics


@dataclass(frozen=True)
class BatchLimits:
    """A batch has at most ``max_batch`` records, collected for at most ``linger_s`` seconds."""

    max_batch: int
    linger_s: float


class LineUps(Protocol):
    """Where the scorer learns who scores; :class:`~scoring.policy_follower.PolicyFollower` offers it."""

    def latest(self) -> LineUp:
        """Who scores from now on. The one before is closed."""

    def refusals(self, now: int) -> list[Produced]:
        """What the log of rollouts must say of policies that this scorer cannot follow; each only once."""

    def marker(self, partition: int, offset: int, policy: str, now: int) -> Produced:
        """What the log says of a policy that is taken up on a partition from an offset on."""

    def await_policy(self, policy: str) -> None:
        """Without a policy, nothing is scored where one was effective; raises PenstockError if waiting is no use."""


@dataclass(frozen=True)
class ScorerComponents:
    """The components of a scorer. Their creator owns and closes them, except the consumers, which the scorer closes."""

    new_consumer: Callable[[], Consumer]
    producer: TransactionalProducer
    history: PredictionHistory
    line_ups: LineUps
    other_views: OtherViews
    reader: FeatureReader
    metrics: ScorerMetrics
    watch: LagWatch
    resets: OffsetResets
