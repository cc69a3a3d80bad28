"""Tells whether the client may have sent the end of a transaction twice.

librdkafka sends an EndTxn request again, by itself, when it loses the connection before the answer or the coordinator
moves, and then reports success. It lacks KIP-890: the first copy may still be on its way, and would commit (or abort)
half of the transaction that is open when it arrives. A producer in doubt must therefore be replaced before its next
transaction: the broker refuses requests of an earlier epoch.

No call reports a request that was sent again. librdkafka 2.16 logs a lost connection at once, tells its error callback
of some, and counts requests in statistics that are up to an interval old. All three are watched, and how long the end
took. Pure but for the clock.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError

LOST, SLOW, RESENT = "connection_lost", "slow", "sent_twice"
DOUBTS = (LOST, SLOW, RESENT)

# An answer that took longer may belong to a second request. Usually it takes some milliseconds.
_SLOW_S = 1.0
# A failed attempt to connect has sent nothing: a broker that is down for hours must not replace producers.
_NEVER_CONNECTED = "in state CONNECT"
# The log lines of lost and failed connections begin with this.
_FAILED = "FAIL "
# The counters of sent requests, one for each broker, in librdkafka's statistics (JSON); parsing all of it costs more.
_SENT = re.compile(r'"EndTxn":\s*(\d+)')


class EndWatch:
    """Watches one producer from its creation.

    Any lost connection counts, not only one during an end: librdkafka does not tell of the same error of a broker again
    within 30 s, so the next one may be silent.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends = 0  # that the client has sent, at most
        self._settled = False  # whether statistics that come now were made after the last end
        self._doubt: str | None = None

    @property
    def doubt(self) -> str | None:
        """Why an end may have been sent twice, one of DOUBTS; None if it was not."""
        return self._doubt

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Around the calls that commit or abort one transaction."""
        self._settled = False
        self._ends += 1
        begin = self._clock()
        try:
            yield
        except BaseException:
            # A commit that could not deliver its records has sent no end. Other failures discard the producer.
            self._ends -= 1
            raise
        finally:
            if self._clock() - begin > _SLOW_S:
                self._note(SLOW)

    def on_log(self, line: str) -> None:
        """A line of the client's log, at level INFO or above."""
        if line.startswith(_FAILED) and _NEVER_CONNECTED not in line:
            self._note(LOST)

    def on_error(self, error: KafkaError) -> None:
        """The client's error callback."""
        if _NEVER_CONNECTED not in error.str():
            self._note(LOST)

    def on_statistics(self, statistics: str) -> None:
        """The client's statistics callback: more ends sent than transactions that end or have ended.

        Statistics may also lower the count: the abort of a transaction that the broker knows nothing of sends no end.
        """
        sent = sum(map(int, _SENT.findall(statistics)))
        if sent > self._ends:
            self._note(RESENT)
        elif self._settled:
            self._ends = sent

    def settle(self) -> None:
        """Called between ends, after a poll: statistics that come from now on were made after the last end."""
        self._settled = True

    def _note(self, doubt: str) -> None:
        self._doubt = self._doubt or doubt


class WatchedLog:
    """A producer's log: shown to the watch, and passed on from a level on. The client calls nothing but ``log``."""

    def __init__(self, watch: EndWatch, log: logging.Logger, least: int) -> None:
        self._watch = watch
        self._log = log
        self._least = least

    def log(self, level: int, message: str, *values: object) -> None:
        """As :meth:`logging.Logger.log`."""
        self._watch.on_log(message % values)
        if level >= self._least:
            self._log.log(level, message, *values)
