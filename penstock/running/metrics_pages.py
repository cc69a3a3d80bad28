"""What services say of themselves: ``/healthz``, and the lag on ``/metrics``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from penstock.running.figures import Health

_TIMEOUT_S = 1.0
_LAG = "penstock_consumer_lag_records"
_AGE = "penstock_consumer_lag_seconds"


@dataclass(frozen=True)
class OwnLag:
    """A service's lag as it measures it: waiting records, and the age of the oldest in seconds."""

    records: int
    seconds: float


class MetricsPages:
    """Reads the pages of services.

    Args:
        pipeline: Pages of other pipelines are passed over.
        transport: In place of the network, for tests.
    """

    def __init__(self, pipeline: str, transport: httpx.BaseTransport | None = None) -> None:
        self._pipeline = pipeline
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=False, transport=transport)

    def read(self, address: str) -> tuple[str, Health, OwnLag | None] | None:
        """The part that serves there, its health and its lag; None if nobody does, or another pipeline's.

        Args:
            address: ``host:port``.
        """
        try:
            metrics = self._client.get(f"http://{address}/metrics").raise_for_status().text
            health = self._client.get(f"http://{address}/healthz")
        except httpx.HTTPError:
            return None
        found = lags_on(metrics, self._pipeline)
        if len(found) != 1:
            return None
        ((part, lag),) = found.items()
        return part, Health(health.is_success, health.text.strip()), lag

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def lags_on(page: str, pipeline: str) -> dict[str, OwnLag | None]:
    """The parts of a pipeline on a page, each with its lag; None before it was measured.

    A page that is none of Penstock's has no parts.
    """
    parts: set[str] = set()
    records: defaultdict[str, float] = defaultdict(float)
    seconds: defaultdict[str, float] = defaultdict(float)
    try:
        families = list(text_string_to_metric_families(page))
    except ValueError:
        return {}
    for family in families:
        for sample in family.samples:
            part = sample.labels.get("part")
            if part is None or sample.labels.get("pipeline") != pipeline:
                continue
            parts.add(part)
            if family.name == _LAG:
                records[part] += sample.value
            elif family.name == _AGE:
                seconds[part] = max(seconds[part], sample.value)
    return {part: OwnLag(int(records[part]), seconds[part]) if part in records else None for part in sorted(parts)}
