"""Waits until consumer groups have read what was published."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaException

from penstock.kafka.lag import Lag

# A machine that is many times slower than a quiet one still gets there.
_CATCH_UP_S = 300.0


def await_caught_up(lag: Lag, group: str, topic: str, meanwhile: Callable[[], object], *, markers: int = 0) -> None:
    """Wait until the group has read the topic, but for as many transaction markers in each partition.

    A broker that cannot answer now, as on a starved machine, is asked again. ``meanwhile`` is called several times a
    second.
    """
    deadline = time.monotonic() + _CATCH_UP_S
    while not _is_caught_up(lag, group, topic, markers):
        assert time.monotonic() < deadline, f"{group} did not catch up on {topic} within {_CATCH_UP_S:.0f} s"
        meanwhile()
        time.sleep(0.2)


def _is_caught_up(lag: Lag, group: str, topic: str, markers: int) -> bool:
    try:
        return all(records <= markers for records in lag.of_group(group, topic).values())
    except KafkaException:
        return False
