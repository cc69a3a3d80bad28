"""``penstock`` as a process that kills itself (SIGKILL) at a given point of its n-th transaction.

``python -m tests.scoring.crashing_scorer POINT N scorer run ...``; points are ``after_first_record``, when the first
record is on the broker, ``before_offsets`` and ``before_commit``, when all are, and ``after_commit``, when the scorer
does not know yet that they are committed. ``scored_before_commit`` and ``scored_after_commit`` are the same after
another batch was scored meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from confluent_kafka import Producer

import penstock.kafka.transactions
import scoring.service
from penstock.cli import main
from scoring.scorer import Scorer

POINTS = (
    "after_first_record",
    "before_offsets",
    "before_commit",
    "after_commit",
    "scored_before_commit",
    "scored_after_commit",
)
# More than a batch takes; the test feeds enough that there is one.
_SCORED_S = 30.0


class ObservedScorer(Scorer):
    """A scorer that tells when it has scored a batch."""

    scored = threading.Event()

    def _score(self, *arguments: Any) -> None:
        super()._score(*arguments)
        ObservedScorer.scored.set()


class CrashingProducer(Producer):
    """A producer that kills its process at a point of a transaction."""

    point = ""
    transactions_left = 0

    def begin_transaction(self) -> None:
        CrashingProducer.transactions_left -= 1
        super().begin_transaction()

    def produce(self, *arguments: Any, **options: Any) -> None:
        super().produce(*arguments, **options)
        self._reached("after_first_record")

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        self._reached("before_offsets")
        super().send_offsets_to_transaction(*arguments)

    def commit_transaction(self, *arguments: Any) -> None:
        ObservedScorer.scored.clear()
        self._reached("before_commit")
        super().commit_transaction(*arguments)
        self._reached("after_commit")

    def _reached(self, point: str) -> None:
        if point == self.point.removeprefix("scored_") and self.transactions_left == 0:
            self.flush(30)
            if self.point.startswith("scored_"):
                assert ObservedScorer.scored.wait(_SCORED_S)
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    CrashingProducer.point, CrashingProducer.transactions_left = sys.argv[1], int(sys.argv[2])
    assert CrashingProducer.point in POINTS
    penstock.kafka.transactions.Producer = CrashingProducer
    scoring.service.Scorer = ObservedScorer
    sys.argv[1:] = sys.argv[3:]
    main()
