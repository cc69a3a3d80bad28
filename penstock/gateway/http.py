"""The gateway by HTTP.

``POST /v1/<pipeline>/events?deadline-ms=200`` with an event as JSON gives its answer, ``GET
/v1/<pipeline>/events/<event id>`` what is known of an event. ``docs/guides/asking.md`` lists the answers.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from penstock.errors import PenstockError
from penstock.gateway.asking import STATUSES, Asks, Deadlines, Refused, ask, health_of
from penstock.gateway.gateway_metrics import GatewayMetrics

_log = logging.getLogger(__name__)

_RETRY_AFTER_S = 1


class HttpGateway:
    """Answers requests for some pipelines.

    Args:
        clients: By the name of the pipeline in the path.
        deadlines: Of requests.
        counts: Where they are counted; ``/metrics`` shows its registry.
    """

    def __init__(self, clients: Mapping[str, Asks], deadlines: Deadlines, counts: GatewayMetrics) -> None:
        self._clients, self._deadlines, self._counts = clients, deadlines, counts

    def application(self) -> web.Application:
        """The application of one server."""
        longest = max(client.source.max_bytes for client in self._clients.values())
        application = web.Application(client_max_size=longest, middlewares=[self._counted, _errors_as_json])
        application.add_routes(
            [
                web.post("/v1/{pipeline}/events", self._ask),
                web.get(r"/v1/{pipeline}/events/{event_id:[\s\S]+}", self._lookup),
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
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=self._deadlines.stop_s)
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
        answer = await ask(self._client(request), await request.read(), self._deadline(request))
        if not isinstance(answer, Refused):
            return web.json_response(asdict(answer))
        headers = {"Retry-After": str(_RETRY_AFTER_S)} if answer.kind == "busy" else None
        return _error(STATUSES[answer.kind], answer.error, answer.message, answer.field, headers)

    async def _lookup(self, request: web.Request) -> web.Response:
        known = self._client(request).lookup(request.match_info["event_id"])
        if known is None:
            return _error(404, "unknown_event", "nothing is known of this event, or not any more")
        return web.json_response(asdict(known))

    async def _health(self, _request: web.Request) -> web.Response:
        health = health_of(self._clients)
        return web.Response(text=f"{health.reason}\n", status=200 if health.ok else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._counts.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

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
            return self._deadlines.usual_ms
        try:
            deadline_ms = float(given)
        except ValueError:
            deadline_ms = math.nan
        if not 0 <= deadline_ms <= self._deadlines.most_ms:
            raise web.HTTPBadRequest(text=f"deadline-ms must be a number from 0 to {self._deadlines.most_ms:g}")
        return deadline_ms


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
