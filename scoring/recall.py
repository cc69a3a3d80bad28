"""Tells which events are not scored yet: from memory first, then from as few published answers as possible.

There are two exact ways to say where the answers to an event begin: by its Kafka timestamp, because no answer is dated
before its event, and by its raw offset (:mod:`scoring.look_back`). The way that reads less is taken. So neither a raw
record that is dated years ago nor a topic that is replayed makes the scorer read more than it has answered since the
raw event was first passed.

With several topics whose events are scored, offsets are noted of the pipeline's own; the others' events go by their
timestamps alone.

A scorer claims events before it scores them, and scores the next ones while the answers to these are being committed.
If that fails, it forgets the partition, with all claims on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from schemas.columns import Mask
from scoring.commit_note import CommitNote
from scoring.history import HistoryUnavailableError
from scoring.look_back import Ends, LookBack
from scoring.memory import MAX_CHUNKS, EventPosition, Events, PartitionMemory

_log = logging.getLogger(__name__)

# A mark costs two small requests. What is answered in this time is read again by a scorer that starts after a failure.
_MARK_EVERY_S = 10.0


class OtherLogError(Exception):
    """Another event was scored at the same raw offset: the raw topic was made anew."""

    def __init__(self, event: EventPosition) -> None:
        super().__init__(event)
        self.event = event


class History(Protocol):
    """What :class:`~scoring.history.PredictionHistory` offers."""

    def ends(self, partition: int) -> Ends: ...  # noqa: D102
    def raw_end(self, partition: int) -> int: ...  # noqa: D102
    def starts_at(self, partition: int, since: int) -> Ends: ...  # noqa: D102
    def read_from(self, partition: int, starts: Ends) -> Iterator[EventPosition]: ...  # noqa: D102
    def forget(self, partition: int) -> None: ...  # noqa: D102


@dataclass
class _Partition:
    memory: PartitionMemory
    look_back: LookBack | None
    policy: str | None
    marked_at: float


class Recall:
    """The scored events of the partitions that this scorer holds.

    Args:
        raw_topic: The topic of the pipeline's own source; an event keeps its partition number.
        history: Reads published answers.
        committed: The metadata of a partition's committed offset; raises HistoryUnavailableError.
        clock: Monotonic seconds.
        max_chunks: How many chunks of events to keep in memory for each partition.
    """

    def __init__(
        self,
        raw_topic: str,
        history: History,
        committed: Callable[[int], str | None],
        *,
        clock: Callable[[], float],
        max_chunks: int = MAX_CHUNKS,
    ) -> None:
        self._raw_topic = raw_topic
        self._history = history
        self._committed = committed
        self._clock = clock
        self._max_chunks = max_chunks
        self._partitions: dict[int, _Partition] = {}

    def reads(self, partition: int, events: Sequence[Events]) -> bool:
        """Whether :meth:`prepare` or :meth:`claim` will ask Kafka what is published.

        All claimed events must be committed before: what is published is complete only then.
        """
        state = self._partitions.get(partition)
        return state is None or any(state.memory.uncovered(some).any() for some in events)

    def prepare(self, partition: int) -> None:
        """Before events of the partition are claimed: read what its last commit says; take a mark when one is due.

        Raises:
            HistoryUnavailableError: if that cannot be read now.
        """
        state = self._partitions.get(partition)
        now = self._clock()
        if state is not None and now - state.marked_at < _MARK_EVERY_S:
            return
        ends = self._history.ends(partition)
        if state is None:
            note = CommitNote.load(self._committed(partition))
            look_back = self._look_back(partition, note.look_back, ends)
            state = _Partition(PartitionMemory(self._max_chunks), look_back, note.policy, now)
        elif state.look_back is None:
            state.look_back = self._begin(partition, ends)
        if state.look_back is not None:
            # Nothing above the highest has an answer.
            state.memory.extend_from(self._raw_topic, partition, state.look_back.highest + 1, ())
            state.look_back = state.look_back.marked(ends)
        state.marked_at = now
        self._partitions[partition] = state

    def claim(self, partition: int, events: Sequence[Events]) -> list[Mask]:
        """Claim those of the events that are not scored yet; of equal ones the first.

        Reads published answers where memory does not cover the events.

        Args:
            partition: Where their feature records are.
            events: Those of each raw partition.

        Returns:
            For each of ``events``, which are now claimed.

        Raises:
            HistoryUnavailableError: if the answers cannot be read now.
            OtherLogError: if the raw topic was made anew.
        """
        state = self._partitions[partition]
        uncovered = [some.where(state.memory.uncovered(some)) for some in events]
        if any(len(some.offsets) for some in uncovered):
            self._read(partition, state, uncovered)
        claimed = []
        for some in events:
            other = state.memory.of_another_log(some)
            if other.any():
                raise OtherLogError(some.where(other).positions()[0])
            first = np.zeros(len(some.offsets), np.bool_)
            first[np.unique(some.offsets, return_index=True)[1]] = True
            claimed.append(first & ~state.memory.scored(some))
        new = [some.where(mask) for some, mask in zip(events, claimed, strict=True)]
        if state.look_back is not None:
            state.look_back = state.look_back.answered(self._raw_offsets(partition, new))
        for some in new:
            state.memory.add(some)
        if state.memory.shrink(new):
            self._history.forget(partition)
        return claimed

    def take_up(self, partition: int, policy: str) -> bool:
        """Newly claimed events of the partition are scored under a policy; returns whether it was another before."""
        state = self._partitions[partition]
        changes = state.policy != policy
        state.policy = policy
        return changes

    def policy(self, partition: int) -> str | None:
        """The policy under which events of the partition were last scored; None if there was none."""
        return self._partitions[partition].policy

    def metadata(self, partition: int) -> str:
        """The metadata to commit with the answers to all claimed events; empty if nothing is known."""
        state = self._partitions[partition]
        return CommitNote(state.look_back, state.policy).dump()

    def forget(self, partition: int) -> None:
        """Forget a partition: another scorer may answer its events."""
        self._partitions.pop(partition, None)
        self._history.forget(partition)

    def forget_all(self) -> None:
        """Forget every partition: answers to claimed events are lost, or it is unknown what was committed."""
        for partition in list(self._partitions):
            self.forget(partition)

    def _look_back(self, partition: int, committed: LookBack | None, ends: Ends) -> LookBack | None:
        if committed is not None and committed.fits(ends):
            return committed
        look_back = self._begin(partition, ends)
        if look_back is None:
            _log.warning(
                "partition %d: until Kafka tells the end of topic %s, a record dated long ago makes the scorer read "
                "all predictions since then",
                partition,
                self._raw_topic,
            )
        return look_back

    def _begin(self, partition: int, ends: Ends) -> LookBack | None:
        """Without a commit that says it: no answer before ``ends`` is to an event after the present end."""
        if ends == Ends(0, 0):
            return LookBack(highest=-1)
        try:
            return LookBack(highest=self._history.raw_end(partition) - 1)
        except HistoryUnavailableError:
            return None

    def _read(self, partition: int, state: _Partition, uncovered: Sequence[Events]) -> None:
        since = min(int(some.timestamps.min()) for some in uncovered if len(some.offsets))
        by_time = self._history.starts_at(partition, since)
        offsets = self._raw_offsets(partition, uncovered)
        all_raw = len(offsets) == sum(len(some.offsets) for some in uncovered)
        mark = state.look_back.start(min(offsets)) if state.look_back and all_raw else None
        # One event at a time: a long way back is read in little memory.
        if mark is not None and sum(mark.ends) > sum(by_time):
            state.memory.extend_from(
                self._raw_topic, partition, mark.raw, self._history.read_from(partition, mark.ends)
            )
            _log.debug("partition %d: read the answers since raw offset %d", partition, mark.raw)
        else:
            state.memory.extend(since, self._history.read_from(partition, by_time))
            _log.debug("partition %d: read the answers since %d", partition, since)

    def _raw_offsets(self, partition: int, events: Sequence[Events]) -> list[int]:
        at = self._raw_topic, partition
        return [offset for some in events if (some.topic, some.partition) == at for offset in some.offsets.tolist()]
