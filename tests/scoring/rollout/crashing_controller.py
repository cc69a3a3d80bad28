"""A rollout controller as a process that kills itself (SIGKILL), or waits, at a given point of a transaction.

``python -m tests.scoring.rollout.crashing_controller KIND POINT N rollout controller run ...``: KIND is ``save`` or
``decision``, POINT is ``before_offsets`` and ``before_commit``, when the records are on the broker, or
``after_commit``, when the controller does not know yet that they are committed; N is which transaction of the kind.

With ``hold=FILE`` in the place of N, it writes FILE at that point of its first decision, and waits until the file is
gone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

import penstock.kafka.transactions
from penstock.cli import main

POINTS = ("before_offsets", "before_commit", "after_commit")


class CrashingProducer(Producer):
    """A producer that kills its process, or waits, at a point of a transaction."""

    kind = point = ""
    left = 0
    hold: Path | None = None

    def begin_transaction(self) -> None:
        self._kind = "save"
        super().begin_transaction()

    def produce(self, topic: str, *arguments: Any, **options: Any) -> None:
        if topic.startswith("rollout.") and topic.endswith(".log"):
            self._kind = "decision"
        super().produce(topic, *arguments, **options)

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        if self._kind == CrashingProducer.kind:
            CrashingProducer.left -= 1
        self._reached("before_offsets")
        super().send_offsets_to_transaction(*arguments)

    def commit_transaction(self, *arguments: Any) -> None:
        self._reached("before_commit")
        super().commit_transaction(*arguments)
        self._reached("after_commit")

    def _reached(self, point: str) -> None:
        if (self._kind, point, self.left) != (self.kind, self.point, 0):
            return
        if self.hold is None:
            self.flush(30)
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            self.hold.touch()
            while self.hold.exists():
                time.sleep(0.05)


if __name__ == "__main__":
    CrashingProducer.kind, CrashingProducer.point, which = sys.argv[1:4]
    assert CrashingProducer.point in POINTS
    if which.startswith("hold="):
        CrashingProducer.hold, CrashingProducer.left = Path(which.removeprefix("hold=")), 1
    else:
        CrashingProducer.left = int(which)
    penstock.kafka.transactions.Producer = CrashingProducer
    sys.argv[1:] = sys.argv[4:]
    main()
