"""What a gateway counts, beside what its clients do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from penstock.gateway.asking import Asks

PART = "gateway"


class GatewayMetrics:
    """What both forms of the gateway count.

    Args:
        registry: Where they are exported.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "penstock_gateway_requests_total",
            "Requests about events, by the HTTP status of the answer, also of gRPC.",
            ("pipeline", "status"),
            registry=registry,
        )
        self.healthy = Gauge(
            "penstock_service_healthy", "1 if /healthz returns 200", ("pipeline", "part"), registry=registry
        )

    def watch(self, clients: Mapping[str, Asks]) -> None:
        """Show whether each client sends and reads."""
        for name, client in clients.items():
            self.healthy.labels(name, PART).set_function(partial(_alive, client))


def _alive(client: Asks) -> float:
    return float(client.is_alive)
