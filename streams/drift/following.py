"""The partitions that one instance follows: taken with their state, fed record by record, saved, released.

What each failure does:

- *killed*: who takes the partition over goes on from the saved state; records and alerts after it come again, and the
  alerts after it were never visible.
- *a save fails*: the partition is forgotten and taken anew, from the state that Kafka has.
- *cut off, and another instance took over*: saves are fenced; the group tells, once it can be reached.
- *records lost on the way through faust*: seen by what each record follows; the position is sought again.
- *a record cannot be read*: it goes to ``<topic>.dlq`` in the transaction of the state that has passed it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from faust.types import TP

from penstock.kafka.records import Produced
from schemas.codec import Undecodable, UnknownSchema
from streams.drift.consumer import Followed
from streams.drift.drift_metrics import DriftMetrics
from streams.drift.drift_records import Reader, Writer
from streams.drift.drift_reference import Reference
from streams.drift.state_store import NotSavedError, TrackStore
from streams.drift.track import DriftAlert, Track

_log = logging.getLogger(__name__)

# A state is saved with every alert, and after so much at the latest.
SAVE_EVERY_RECORDS = 5_000
SAVE_EVERY_S = 2.0
_LOOK_S = 0.1
# After a fence: longer than the group needs to tell that the partition is another's (session timeout, 10 s).
_LOST_PAUSE_S = 12.0
_RETRY_S = 1.0


@dataclass
class _Followed:
    """A partition and what is not saved of it yet."""

    track: Track
    saved: int
    alerts: list[DriftAlert] = field(default_factory=list)
    out: list[Produced] = field(default_factory=list)
    saved_at: float = 0.0
    missed: bool = False
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def due(self, now: float) -> bool:
        behind = self.track.position - self.saved
        return bool(self.out) or behind >= SAVE_EVERY_RECORDS or (behind > 0 and now - self.saved_at >= SAVE_EVERY_S)


class Following:
    """Follows the partitions that the group assigns to this instance; all of it runs in one event loop.

    Args:
        reference: What values are compared with.
        store: Keeps the tracks.
        readers: Reads the records of each topic.
        monitors: The monitors that each topic feeds.
        writer: Makes what goes out.
        metrics: Shown to operators.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        reference: Reference,
        store: TrackStore,
        readers: Mapping[str, Reader],
        monitors: Mapping[str, tuple[str, ...]],
        writer: Writer,
        metrics: DriftMetrics,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._reference = reference
        self._store = store
        self._readers = readers
        self._monitors = monitors
        self._writer = writer
        self._metrics = metrics
        self._clock = clock
        self._followed: dict[TP, _Followed] = {}
        self._lock = asyncio.Lock()
        self._again: dict[TP, float] = {}
        self.seek: Callable[[dict[TP, int]], Awaitable[None]]
        self.committed: Callable[[dict[TP, int]], Awaitable[None]]

    async def positions(self, assigned: set[TP]) -> dict[TP, int]:
        """Where to go on in each partition; what is not followed yet is taken, with its state."""
        async with self._lock:
            new = [tp for tp in assigned if tp not in self._followed and tp not in self._again]
            await asyncio.gather(*(self._take(tp) for tp in new))
            return {tp: self._followed[tp].track.position for tp in assigned if tp in self._followed}

    async def release(self, partitions: set[TP]) -> None:
        """These go to another instance, or come back soon: what is known of them is saved first."""
        for tp in partitions:
            await self._save(tp)
        async with self._lock:
            for tp in partitions:
                self._drop(tp)
                self._again.pop(tp, None)

    def take(self, message: Followed) -> None:
        """Take one record in. One that does not follow what came before is left for when it comes again."""
        followed = self._followed.get(message.tp)
        if followed is None or message.offset < followed.track.position:
            return
        if message.follows > followed.track.position:
            if not followed.missed:
                self._metrics.gaps.inc()
                where = f"{message.topic}[{message.partition}]"
                _log.warning("%s: nothing from %d to %d; sought again", where, followed.track.position, message.follows)
                followed.missed = True
            return
        self._feed(followed, message)

    def _feed(self, followed: _Followed, message: Followed) -> None:
        track, before = followed.track, followed.track.observed
        try:
            observation = self._readers[message.topic](message.value or b"")
        except (Undecodable, UnknownSchema) as error:
            where = (message.topic, message.partition, message.offset)
            headers = list(message.headers or ())
            followed.out.append(self._writer.dead_letter(where, message.key, message.value, headers, error, _now_ms()))
            _log.warning("dead letter: %s[%d]@%d: %s", *where, error.what)
            track.take(message.offset, None)
            self._metrics.record(message.topic, "dead_letter")
            return
        alerts = track.take(message.offset, observation)
        self._metrics.record(message.topic, "monitored" if track.observed > before else "passed")
        for alert in alerts:
            followed.alerts.append(alert)
            followed.out.append(self._writer.alert(alert, track.topic, track.partition, _now_ms()))

    async def keep(self, stopping: asyncio.Event) -> None:
        """Save what is due, seek what was missed, take again what was lost, until told to stop; then save the rest."""
        while not stopping.is_set():
            await self._seek_again()
            done = {}
            for tp, followed in list(self._followed.items()):
                if followed.due(self._clock()) and await self._save(tp):
                    done[tp] = followed.saved
            if done:
                await self.committed(done)
            try:
                await asyncio.wait_for(stopping.wait(), _LOOK_S)
            except TimeoutError:
                continue

    async def _take(self, tp: TP) -> None:
        try:
            resume = await asyncio.to_thread(self._store.take, tuple(tp))
        except NotSavedError as error:
            _log.warning("%s cannot be followed yet: %s", tp, error)
            self._again[tp] = self._clock() + _RETRY_S
            return
        names = self._monitors[tp.topic]
        track = (
            Track(self._reference, names, tp.topic, tp.partition, resume.start)
            if resume.state is None
            else Track.restored(resume.state, self._reference, names, tp.topic, tp.partition)
        )
        self._followed[tp] = _Followed(track, saved=track.position, saved_at=self._clock())
        _log.info("%s[%d] is followed from %d", tp.topic, tp.partition, track.position)

    async def _seek_again(self) -> None:
        now = self._clock()
        due = {tp for tp, at in self._again.items() if at <= now}
        for tp in due:
            del self._again[tp]
        missed = {tp for tp, followed in self._followed.items() if followed.missed}
        if due or missed:
            await self.seek(await self.positions(due | missed))
            for tp in missed & self._followed.keys():
                self._followed[tp].missed = False

    async def _save(self, tp: TP) -> bool:
        followed = self._followed.get(tp)
        if followed is None:  # released while another was saved
            return False
        async with followed.busy:
            if followed.track.position == followed.saved:
                return False
            state, alerts, out = followed.track.state(), followed.alerts, followed.out
            followed.alerts, followed.out = [], []
            begin = self._clock()
            try:
                size = await asyncio.to_thread(self._store.save, tuple(tp), state, out, _now_ms())
            except NotSavedError as error:
                self._metrics.not_saved()
                _log.warning("%s[%d]: state not saved (%s); taken anew", tp.topic, tp.partition, error)
                if self._followed.get(tp) is followed:
                    self._drop(tp)
                    self._again[tp] = self._clock() + (_LOST_PAUSE_S if error.lost else _RETRY_S)
                return False
            followed.saved, followed.saved_at = state.position, self._clock()
        self._metrics.save_seconds.observe(followed.saved_at - begin)
        self._metrics.saved(followed.track, alerts, size)
        for alert in alerts:
            _log.info("drift: %s (%.4g > %.4g)", alert.alert_id, alert.crossing.statistic, alert.crossing.threshold)
        return True

    def _drop(self, tp: TP) -> None:
        followed = self._followed.pop(tp, None)
        self._store.release(tuple(tp))
        if followed is not None:
            self._metrics.released(followed.track)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
