"""Logs, metrics and health of a running service: ``/metrics`` for Prometheus, ``/healthz`` for probes.

Health depends on progress: a service is unhealthy if records wait and none has been consumed for long, or if it never
started. An idle service is healthy, and so is one that cannot reach Kafka: a restart would not help it.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from penstock.errors import PenstockError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger(__name__)

# Longer than pauses that end by themselves: a rebalance (10 s), a transaction that times out (30 s) and is repeated,
# a store's pauses (10 s each).
STALL_S = 120.0
# Until partitions are first assigned: loading a model takes time, and a group waits for a dead member.
START_S = 180.0

# Age of an event or record when it is done: from less than a transaction's few milliseconds to an hour's outage.
# Each latency objective in deploy/monitoring/alerts.yml equals one of the bucket edges.
AGE_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0, 3600.0)


def configure_logging(**levels: int) -> None:
    """Log to stderr, at INFO and above.

    Args:
        levels: The lowest level to log, by the name of a library's logger.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@dataclass(frozen=True)
class Health:
    """Whether a service makes progress, and the reason for this verdict."""

    ok: bool
    reason: str


class ProgressTracker:
    """Records progress, and decides whether a service is stuck.

    Args:
        clock: Monotonic seconds.
        stall_s: How long records may wait without progress.
        start_s: How long the start may take, until :meth:`started`.
    """

    def __init__(self, clock: Callable[[], float], stall_s: float = STALL_S, start_s: float = START_S) -> None:
        self._clock = clock
        self._stall_s = stall_s
        self._start_s = start_s
        self._made = self._moved = clock()
        self._started = False
        self._behind: int | None = 0

    def started(self) -> None:
        """Call when the service begins to consume records."""
        if not self._started:
            self._started, self._moved = True, self._clock()

    def consumed(self) -> None:
        """Call when records are done: acknowledged by a store, or committed."""
        self._moved = self._clock()

    def behind(self, records: int | None) -> None:
        """Call with the number of records that wait now; None if it is unknown."""
        if not self._behind:
            self._moved = self._clock()  # the wait begins now
        self._behind = records

    def health(self) -> Health:
        """The verdict as of now."""
        now = self._clock()
        if not self._started:
            waited = now - self._made
            return Health(waited <= self._start_s, f"not started after {waited:.0f} s")
        if self._behind is None:
            return Health(True, "lag unknown: Kafka does not answer")
        if not self._behind:
            return Health(True, "caught up")
        still = now - self._moved
        reason = f"{self._behind} records behind, the last progress {still:.0f} s ago"
        return Health(still <= self._stall_s, reason)


@contextmanager
def serve(
    port: int | None, host: str, health: Callable[[], Health], registry: CollectorRegistry = REGISTRY
) -> Iterator[int | None]:
    """Serve ``/metrics`` and ``/healthz`` (200 or 503, with the reason) for the duration of the block; yields the port.

    Args:
        port: The port to listen on; 0 takes a free one, None serves nothing.
        host: The address to listen on.
        health: Called for every request of ``/healthz``.
        registry: The metrics that ``/metrics`` returns.

    Raises:
        PenstockError: the port cannot be bound.
    """
    if port is None:
        yield None
        return
    try:
        server = _server(host, port, _application(make_wsgi_app(registry), health))
    except OSError as error:
        raise PenstockError(
            f"metrics cannot be served: {error.strerror}", where=f"{host}:{port}", next="choose another --metrics-port"
        ) from error
    bound = server.server_port
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    _log.info("metrics at http://%s:%d/metrics, health at /healthz", host, bound)
    try:
        yield bound
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _SilentHandler(WSGIRequestHandler):
    """Does not log requests: probes and scrapes are frequent."""

    # Seconds: a client that connects and sends nothing must not occupy its thread for ever.
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's signature
        """Logs nothing."""


class _Server(ThreadingWSGIServer):
    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base's signature
        """Logs a client that disconnects at DEBUG only."""
        _log.debug("a request for metrics failed", exc_info=True)


def _server(host: str, port: int, application: WSGIApplication) -> ThreadingWSGIServer:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    kind = type("Server", (_Server,), {"address_family": family})
    server: ThreadingWSGIServer = make_server(host, port, application, kind, handler_class=_SilentHandler)
    return server


def _application(metrics: WSGIApplication, health: Callable[[], Health]) -> WSGIApplication:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                return metrics(environ, start_response)
            case "/healthz":
                verdict = health()
                status, text = "200 OK" if verdict.ok else "503 Service Unavailable", verdict.reason
            case _:
                status, text = "404 Not Found", "here are /metrics and /healthz"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    return application
