"""What a peer's process is told, by the environment. Standard library only."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "BENCH_GIVEN"


@dataclass(frozen=True)
class Given:
    """One run of a peer.

    Args:
        name: Of the run; unique.
        bootstrap: Kafka's brokers.
        source: The topic of payments, one partition.
        target: The topic of results.
        keyed_by: The entities that have windows, one stage each.
        spans_ms: Length and hop of each window.
        scratch: A folder of the run's own.
        flink: Host and port of the JobManager.
        jars: URLs of Flink's connector.
        mode: How PyFlink runs Python: ``process`` or ``thread``.
    """

    name: str
    bootstrap: str
    source: str
    target: str
    keyed_by: tuple[str, ...]
    spans_ms: list[tuple[int, int]]
    scratch: str
    flink: tuple[str, int]
    jars: tuple[str, ...]
    mode: str = ""

    def environment(self) -> dict[str, str]:
        """The variable that carries it."""
        return {VARIABLE: json.dumps(asdict(self))}


def given() -> Given:
    """What this process was told."""
    return Given(**json.loads(os.environ[VARIABLE]))
