"""faust's Kafka consumer, made fit for state that is kept with its offsets.

Three things differ from faust's own (0.11):

- it reads committed records only, which faust does in its exactly-once mode alone;
- where faust seeks to the committed offset, after each rebalance and at some other times, it seeks to the position
  that the state names: where the two disagree, the state is right;
- each record says which offset it follows. faust can lose what lies in its queues when a rebalance interrupts it
  (faust-streaming/faust#216, #596), and offsets alone cannot tell that from transaction markers. So a gap is seen, and
  the position sought again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple

import aiokafka
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.consumer import ConsumerThread, ensure_TPset
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, ConsumerMessage

_log = logging.getLogger(__name__)

_COMMIT_S = 10.0

Positions = Callable[[set[TP]], Awaitable[dict[TP, int]]]


class Followed(ConsumerMessage):  # type: ignore[misc]  # faust has no types
    """A record that knows the offset up to which everything before it was delivered."""

    __slots__ = ("follows",)
    follows: int


class _Fetched(NamedTuple):
    record: Any
    follows: int


class StatefulTransport(Transport):  # type: ignore[misc]
    """A transport whose consumers ask ``positions`` where to go on, for all that was just assigned."""

    def __init__(self, *args: Any, positions: Positions, **options: Any) -> None:
        super().__init__(*args, **options)
        self.positions = positions

    def create_consumer(self, callback: Any, **options: Any) -> StatefulConsumer:
        """The hook of faust for its own consumer."""
        return StatefulConsumer(self, callback=callback, loop=self.loop, **options)


class StatefulConsumer(Consumer):  # type: ignore[misc]
    """See the module."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every assigned partition to the position of its state."""
        positions: dict[TP, int] = await self.transport.positions(self.assignment())
        # A rebalance may have come in between: only what is still ours can be sought.
        kept = {tp: at for tp, at in positions.items() if tp in self.assignment()}
        await self._thread.seek_wait(kept)
        return kept

    async def commit_positions(self, positions: Mapping[TP, int]) -> bool:
        """Commit offsets, for others to see how far this group is; False if that failed, which harms nothing."""
        committed: bool = await self._thread.commit(positions)
        return committed

    def _to_message(self, tp: TP, fetched: _Fetched) -> Followed:
        record = fetched.record
        message = Followed(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp / 1000.0,
            record.timestamp_type,
            record.headers,
            record.key,
            record.value,
            record.checksum,
            record.serialized_key_size,
            record.serialized_value_size,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.follows = fetched.follows
        return message


class _Thread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread in which aiokafka's consumer lives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._delivered: dict[TP, int] = {}

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - read when it starts; faust has no setting for it
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - faust's signature
        max_records: int | None = None,
    ) -> dict[TP, list[_Fetched]]:
        records = await super()._fetch_records(consumer, active_partitions, timeout=timeout, max_records=max_records)
        return {tp: list(self._followed(tp, found)) for tp, found in records.items()}

    def _followed(self, tp: TP, records: list[Any]) -> Iterator[_Fetched]:
        # Counted from record to record: aiokafka's own position may lie beyond a marker, where no record was.
        for record in records:
            yield _Fetched(record, self._delivered.get(tp, record.offset))
            self._delivered[tp] = record.offset + 1

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:
        self._delivered.update(partitions)
        await super()._seek_wait(consumer, {TopicPartition(*tp): offset for tp, offset in partitions.items()})

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        consumer, assigned = self._ensure_consumer(), ensure_TPset(self.assignment())
        wanted = {TopicPartition(*tp): OffsetAndMetadata(at, "") for tp, at in offsets.items() if tp in assigned}
        try:
            if wanted:
                await asyncio.wait_for(consumer.commit(wanted), _COMMIT_S)
        except (KafkaError, TimeoutError) as error:
            _log.warning("positions not committed (%s); the state holds them", error or type(error).__name__)
            return False
        return True
