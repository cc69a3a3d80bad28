"""The HTTP gateway: asks pipelines for callers in any language.

``POST /v1/<pipeline>/events?deadline-ms=200`` with an event as JSON gives its answer, ``GET
/v1/<pipeline>/events/<event id>`` what is known of an event. ``docs/guides/asking.md`` lists the answers.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from penstock.client.answers import Answer, EventConflict, EventRefused, Known, TooBusy
from penstock.errors import PenstockError
from penstock.telemetry import Health
from schemas.codec import Decoder, Rejection, decode_event
from schemas.contract import Contract
from schemas.producer import InvalidEvent
from streams.definitions.sources import Source

_log = logging.getLogger(__name__)

PART = "gateway"
_RETRY_AFTER_S = 1
# The longest deadline, and the end of the wait for those who are being answered at a stop.
_STOP_S = 5.0
_JSON_ONLY = Decoder()


class Asks(Protocol):
    """What the gateway needs of a :class:`penstock.client.Client`."""

    @property
    def source(self) -> Source:
        """Where its events go."""

    @property
    def is_alive(self) -> bool:
        """Whether it sends and reads."""

    async def ask_async(self, event: Contract, *, deadline_ms: float) -> Answer:
        """The answer to an event."""

    def lookup(self, event_id: str) -> Known | None:
        """What is known of an event."""


class GatewayMetrics:
    """What a gateway counts, beside what its clients do.

    Args:
        registry: Where they are exported.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "penstock_gateway_requests_total",
            "Requests about events, by the status of the answer.",
            ("pipeline", "status"),
            registry=registry,
        )
        self.healthy = Gauge(
            "penstock_service_healthy", "1 if /healthz returns 200", ("pipeline", "part"), registry=registry
        )


class Gateway:
    """Answers requests for some pipelines.

    Args:
        clients: By the name of the pipeline in the path.
        deadline_ms: The deadline of a request that names none.
        most_deadline_ms: The longest deadline that a request may name.
        registry: What ``/metrics`` shows.
    """

    def __init__(
        self, clients: Mapping[str, Asks], *, deadline_ms: float, most_deadline_ms: float, registry: CollectorRegistry
    ) -> None:
        self._clients, self._registry = clients, registry
        self._counts = GatewayMetrics(registry)
        for name, client in clients.items():
            self._counts.healthy.labels(name, PART).set_function(partial(_alive, client))
        self._deadline_ms, self._most_deadline_ms = deadline_ms, most_deadline_ms

    def application(self) -> web.Application:
        """The application of one server."""
        longest = max(client.source.max_bytes for client in self._clients.values())
        application = web.Application(client_max_size=longest, middlewares=[self._counted, _errors_as_json])
        application.add_routes(
            [
                web.post("/v1/{pipeline}/events", self._ask),
                web.get("/v1/{pipeline}/events/{event_id:.+}", self._lookup),
                web.get("/healthz", self._health),
                web.get("/metrics", self._metrics),
            ]
        )
        return application

    async def serve(self, host: str, port: int, stop: asyncio.Event, on_ready: Callable[[str, int], object]) -> None:
        """Answer requests until ``stop``; those that wait then are still answered.

        Args:
            host: The address to listen on.
            port: The port; 0 takes a free one.
            stop: Set when to end.
            on_ready: Called with address and port when requests are answered.

        Raises:
            PenstockError: the port cannot be bound.
        """
        runner = web.AppRunner(
            self.application(), access_log=None, shutdown_timeout=self._most_deadline_ms / 1000 + _STOP_S
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            bound = runner.addresses[0]
            on_ready(bound[0], bound[1])
            await stop.wait()
        except OSError as error:
            raise PenstockError(
                f"requests cannot be answered: {error.strerror}", where=f"{host}:{port}", next="choose another --port"
            ) from error
        finally:
            await runner.cleanup()

    async def _ask(self, request: web.Request) -> web.Response:
        client = self._client(request)
        deadline_ms = self._deadline(request)
        source = client.source
        event = decode_event(
            await request.read(),
            source.contract,
            _JSON_ONLY,
            # The job judges the event's time by Kafka's clock; here is none that counts.
            kafka_timestamp_ms=-1,
            max_future_ms=0,
            max_bytes=source.max_bytes,
        )
        if isinstance(event, Rejection):
            field, _, message = event.message.partition(": ") if event.stage == "validate" else ("", "", event.message)
            return _error(422, event.reason, message, field or None)
        try:
            return web.json_response(asdict(await client.ask_async(event, deadline_ms=deadline_ms)))
        except TooBusy as error:
            return _error(503, "busy", error.what, headers={"Retry-After": str(_RETRY_AFTER_S)})
        except EventConflict as error:
            return _error(409, "conflict", error.what, source.event_id)
        except EventRefused as error:
            return _error(422, error.reason, error.what)
        except InvalidEvent as error:
            return _error(422, "penstock.InvalidField", error.what)

    async def _lookup(self, request: web.Request) -> web.Response:
        known = self._client(request).lookup(request.match_info["event_id"])
        if known is None:
            return _error(404, "unknown_event", "nothing is known of this event, or not any more")
        return web.json_response(asdict(known))

    def health(self) -> Health:
        """Whether answers can come; any thread may ask."""
        ended = sorted(name for name, client in self._clients.items() if not client.is_alive)
        return Health(not ended, f"no answers any more for {', '.join(ended)}" if ended else "answering")

    async def _health(self, _request: web.Request) -> web.Response:
        health = self.health()
        return web.Response(text=f"{health.reason}\n", status=200 if health.ok else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @web.middleware
    async def _counted(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        response = await handler(request)
        # Of other paths, callers make up the names.
        if (name := request.match_info.get("pipeline")) in self._clients:
            self._counts.requests.labels(name, str(response.status)).inc()
        return response

    def _client(self, request: web.Request) -> Asks:
        name = request.match_info["pipeline"]
        if name not in self._clients:
            raise web.HTTPNotFound(text=f"no pipeline {name} here, only {', '.join(sorted(self._clients))}")
        return self._clients[name]

    def _deadline(self, request: web.Request) -> float:
        given = request.query.get("deadline-ms")
        if given is None:
            return self._deadline_ms
        try:
            deadline_ms = float(given)
        except ValueError:
            deadline_ms = math.nan
        if not 0 <= deadline_ms <= self._most_deadline_ms:
            raise web.HTTPBadRequest(text=f"deadline-ms must be a number from 0 to {self._most_deadline_ms:g}")
        return deadline_ms


def _alive(client: Asks) -> float:
    return float(client.is_alive)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return _error(error.status, error.reason.lower().replace(" ", "_"), error.text or "", headers=allowed)
    except Exception:  # noqa: BLE001 - the caller gets an answer that a program can read
        _log.exception("%s %s failed", request.method, request.path)
        return _error(500, "internal", "the gateway failed; its log says why. Ask again: the event is not sent twice")


def _error(
    status: int, error: str, message: str, field: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    body = {"error": error, "message": message, "field": field}
    return web.json_response(body, status=status, headers=headers)
