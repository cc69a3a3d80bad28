"""The settings of a peer's process, passed in an environment variable. Standard library only."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "BENCH_GIVEN"


@dataclass(frozen=True)
class PeerSettings:
    """The settings of one run of a peer.

    Args:
        name: The unique name of the run.
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
        """The environment variable with these settings."""
        return {VARIABLE: json.dumps(asdict(self))}


def peer_settings() -> PeerSettings:
    """The settings of this process."""
    return PeerSettings(**json.loads(os.environ[VARIABLE]))
