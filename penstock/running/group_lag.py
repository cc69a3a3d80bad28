"""How far the parts of a pipeline are behind, by what their consumer groups have committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from confluent_kafka import OFFSET_BEGINNING

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag, Partition, Waiting, lags
from penstock.running.figures import Backlog, Meter


class GroupLags:
    """Measures again and again; joins no group and commits nothing.

    Args:
        kafka: How to reach Kafka.
        groups: The consumer group and the topics of each part.
        partitions: How many each topic has.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        kafka: KafkaAccess,
        groups: Mapping[str, tuple[str, tuple[str, ...]]],
        partitions: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lag = Lag(kafka, partitions)
        self._groups, self._clock = groups, clock
        self._behind = {name: Meter() for name in groups}
        self._done = {name: Meter() for name in groups}
        self._nothing_between: dict[tuple[str, Partition], tuple[int, int]] = {}

    def measure(
        self, now_ms: int, ahead: Mapping[str, Mapping[Partition, int]] = MappingProxyType({})
    ) -> dict[str, Backlog]:
        """The backlog of each part whose group has begun.

        Args:
            now_ms: Epoch ms.
            ahead: How far a part has come beyond what it has committed, where that is known.

        Raises:
            KafkaException: if Kafka does not answer.
            KeyError: if a topic does not exist.
        """
        topics = {topic for _, read in self._groups.values() for topic in read}
        ends = {topic: self.lag.end_offsets(topic) for topic in sorted(topics)}
        found = {}
        for name, (group, read) in self._groups.items():
            backlog = self._of(name, group, {topic: ends[topic] for topic in read}, ahead.get(name, {}), now_ms)
            if backlog is not None:
                found[name] = backlog
        return found

    def close(self) -> None:
        """Disconnect."""
        self.lag.close()

    def _of(
        self,
        name: str,
        group: str,
        ends: Mapping[str, Mapping[int, int]],
        ahead: Mapping[Partition, int],
        now_ms: int,
    ) -> Backlog | None:
        committed = {
            (topic, number): at
            for topic in ends
            for number, at in self.lag.committed_offsets(group, topic, pending=False).items()
        }
        if not committed and not ahead:
            return None
        of_each = {(topic, number): end for topic, numbers in ends.items() for number, end in numbers.items()}
        positions = {p: max(committed.get(p, OFFSET_BEGINNING), ahead.get(p, OFFSET_BEGINNING)) for p in of_each}

        def first_waiting(asked: Mapping[Partition, int]) -> dict[Partition, Waiting | None]:
            # Where only transaction markers follow, nothing waits: that was found out, and holds until the end moves.
            news = {p: at for p, at in asked.items() if self._nothing_between.get((name, p)) != (at, of_each[p])}
            return {**dict.fromkeys(asked.keys() - news.keys()), **self.lag.first_waiting(group, news)}

        found = lags(positions, of_each, first_waiting, now_ms)
        for partition, lag in found.items():
            if lag.first is None:
                self._nothing_between[name, partition] = positions[partition], of_each[partition]
        records, now = sum(lag.records for lag in found.values()), self._clock()
        self._behind[name].set(records, now)
        self._done[name].set(sum(max(0, at) for at in positions.values()), now)
        done = self._done[name].per_second
        return Backlog(
            records,
            max((lag.age_s(None, now_ms) for lag in found.values()), default=0.0),
            self._behind[name].per_second,
            None if done is None else max(0.0, done),
        )
