"""``penstock`` as a process that kills itself (SIGKILL) at a given point of its n-th transaction.

``python -m tests.scoring.crashing_scorer POINT N scorer run ...``; points are ``before_offsets`` and ``before_commit``,
when the records are on the broker, and ``after_commit``, when the scorer does not know yet that they are committed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from confluent_kafka import Producer

import penstock.kafka.transactions
from penstock.cli import main

POINTS = ("before_offsets", "before_commit", "after_commit")


class CrashingProducer(Producer):
    """A producer that kills its process at a point of a transaction."""

    point = ""
    transactions_left = 0

    def begin_transaction(self) -> None:
        CrashingProducer.transactions_left -= 1
        super().begin_transaction()

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        self._reached("before_offsets")
        super().send_offsets_to_transaction(*arguments)

    def commit_transaction(self, *arguments: Any) -> None:
        self._reached("before_commit")
        super().commit_transaction(*arguments)
        self._reached("after_commit")

    def _reached(self, point: str) -> None:
        if point == self.point and self.transactions_left == 0:
            self.flush(30)
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    CrashingProducer.point, CrashingProducer.transactions_left = sys.argv[1], int(sys.argv[2])
    assert CrashingProducer.point in POINTS
    penstock.kafka.transactions.Producer = CrashingProducer
    sys.argv[1:] = sys.argv[3:]
    main()
