"""faust's Kafka consumer, adapted to state that is saved together with its offsets.

Six things differ from faust's own (0.11):

- It reads committed records only; faust does so in its exactly-once mode alone.
- Where faust seeks to the committed offset (after each rebalance and at some other times), it seeks to the position in
  the saved state. If the two disagree, the state is right.
- The records of a partition that one fetch returned travel through faust as one message, a block: faust spends more
  time on a message than the detectors on a record.
- Each block carries ``delivered_until``: the offset up to which everything before it was delivered. faust can lose
  queued messages when a rebalance interrupts it (faust-streaming/faust#216, #596), and offsets alone cannot tell such a
  gap from transaction markers. The follower detects the gap and seeks back.
- After a fetch of few records it waits a little before the next one, so that a slow stream is read in blocks, too.
- Where Kafka no longer has the next record, it says so instead of going on at the earliest one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import aiokafka
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.consumer import ConsumerThread, ensure_TPset
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, ConsumerMessage

_log = logging.getLogger(__name__)

_COMMIT_S = 10.0
# The next fetch fails again until the partitions are sought; without a pause, it would keep a core busy until then.
_UNPLACED_PAUSE_S = 0.1
# A block costs about as much as a hundred of its records. States and alerts are saved every 0.1 s anyway.
_FEW_RECORDS = 500
_GATHER_S = 0.05

Positions = Callable[[set[TP]], Awaitable[dict[TP, int]]]
OutOfRange = Callable[[set[TP]], None]


class RecordBlock(ConsumerMessage):  # type: ignore[misc]  # faust has no types
    """The records of a partition that one fetch returned, none lost between them; its offset is that of the last one.

    ``records`` are aiokafka's, in order; ``delivered_until`` is the offset up to which everything before them was
    delivered.
    """

    __slots__ = ("delivered_until", "records")
    records: Sequence[Any]
    delivered_until: int

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return int(self.offset) + 1


class _Fetched(NamedTuple):
    records: Sequence[Any]
    delivered_until: int


class StatefulTransport(Transport):  # type: ignore[misc]
    """A transport whose consumers call ``positions`` for the offsets at which newly assigned partitions resume.

    They call ``out_of_range``, in the app's event loop, with partitions whose next record Kafka no longer has.
    """

    def __init__(self, *args: Any, positions: Positions, out_of_range: OutOfRange, **options: Any) -> None:
        super().__init__(*args, **options)
        self.positions = positions
        self.out_of_range = out_of_range

    def create_consumer(self, callback: Any, **options: Any) -> StatefulConsumer:
        """Faust's hook: returns the consumer to use."""
        return StatefulConsumer(self, callback=callback, loop=self.loop, **options)


class StatefulConsumer(Consumer):  # type: ignore[misc]
    """faust's consumer with the changes that the module describes."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every assigned partition to the position in its saved state."""
        positions: dict[TP, int] = await self.transport.positions(self.assignment())
        # A rebalance may have happened meanwhile: only partitions that are still assigned can be sought.
        kept = {tp: at for tp, at in positions.items() if tp in self.assignment()}
        await self._thread.seek_wait(kept)
        return kept

    async def commit_positions(self, positions: Mapping[TP, int]) -> bool:
        """Commit offsets so that the group's lag is visible; False on failure, which is harmless: the state counts."""
        committed: bool = await self._thread.commit(positions)
        return committed

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a full queue makes faust wait with the next block.

        faust's own answer is to fetch nothing of the partition; with all of them in that state it sleeps for a second.
        """

    def _to_message(self, tp: TP, fetched: _Fetched) -> RecordBlock:
        last = fetched.records[-1]
        block = RecordBlock(
            last.topic,
            last.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            (),
            None,
            None,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )
        block.records, block.delivered_until = fetched
        return block


class _Thread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread in which aiokafka's consumer lives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._delivered: dict[TP, int] = {}
        self._fetched_few = False

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
        if self._fetched_few:
            await asyncio.sleep(_GATHER_S)
        try:
            records = await super()._fetch_records(
                consumer, active_partitions, timeout=timeout, max_records=max_records
            )
        except NoOffsetForPartitionError:  # assigned, and not sought yet
            await asyncio.sleep(_UNPLACED_PAUSE_S)
            return {}
        except OffsetOutOfRangeError as error:
            transport = self.consumer.transport
            transport.loop.call_soon_threadsafe(transport.out_of_range, {TP(*tp) for tp in error.args[0]})
            await asyncio.sleep(_UNPLACED_PAUSE_S)
            return {}
        self._fetched_few = sum(map(len, records.values())) < _FEW_RECORDS
        return {tp: [self._in_sequence(tp, fetched)] for tp, fetched in records.items() if fetched}

    def _in_sequence(self, tp: TP, records: Sequence[Any]) -> _Fetched:
        # Computed from the records: aiokafka's own position may already be beyond a transaction marker.
        fetched = _Fetched(records, self._delivered.get(tp, records[0].offset))
        self._delivered[tp] = records[-1].offset + 1
        return fetched

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
            _log.warning("positions not committed (%s); the saved state has them", error or type(error).__name__)
            return False
        return True
