"""What the gateway answers to requests, and that it answers those who wait when it is stopped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from examples.fraud.pipeline import pipeline as fraud
from penstock.client.answers import EventConflict, EventRefused, Refusal, TooBusy
from penstock.errors import PenstockError
from penstock.gateway.asking import Deadlines
from penstock.gateway.gateway_metrics import GatewayMetrics
from penstock.gateway.http import HttpGateway
from penstock.running.metrics_pages import lags_on
from schemas.producer import InvalidEvent
from tests.penstock.client.test_client import PAYMENT
from tests.penstock.gateway.answers import Asks

URL = "/v1/fraud/events"


def serve(client: Asks, use: Callable[[aiohttp.ClientSession], Any], stop: asyncio.Event | None = None) -> Any:
    """The result of using a gateway that runs for it."""

    async def run() -> Any:
        stopped, ready = stop or asyncio.Event(), asyncio.get_running_loop().create_future()
        registry = CollectorRegistry()
        Counter("asked", "Asked.", registry=registry).inc()
        counts = GatewayMetrics(registry)
        counts.watch({"fraud": client})
        gateway = HttpGateway({"fraud": client}, Deadlines(200, 1_000), counts)
        serving = asyncio.create_task(
            gateway.serve("127.0.0.1", 0, stopped, lambda host, port: ready.set_result(f"http://{host}:{port}"))
        )
        try:
            async with aiohttp.ClientSession(await ready) as session:
                return await use(session)
        finally:
            stopped.set()
            await serving

    return asyncio.run(run())


def post(client: Asks, body: Any = PAYMENT, url: str = URL) -> tuple[int, dict[str, Any], Any]:
    async def use(session: aiohttp.ClientSession) -> tuple[int, dict[str, Any], Any]:
        data = body if isinstance(body, bytes) else json.dumps(body)
        async with session.post(url, data=data) as response:
            return response.status, await response.json(), response.headers

    found: tuple[int, dict[str, Any], Any] = serve(client, use)
    return found


def get(client: Asks, url: str) -> tuple[int, str]:
    async def use(session: aiohttp.ClientSession) -> tuple[int, str]:
        async with session.get(url) as response:
            return response.status, await response.text()

    found: tuple[int, str] = serve(client, use)
    return found


def test_an_event_is_answered_under_its_deadline_or_the_usual_one() -> None:
    client = Asks()
    status, body, _ = post(client)
    assert (status, body["decision"], body["source"], body["waited_ms"]) == (200, "decline", "model", 12.5)
    post(client, url=f"{URL}?deadline-ms=50")
    assert [(dict(event)["amount"], deadline_ms) for event, deadline_ms in client.asked] == [(12.5, 200), (12.5, 50)]


@pytest.mark.parametrize(
    ("does", "status", "error"),
    [
        (TooBusy("too many", "topic"), 503, "busy"),
        (EventConflict("transaction_id"), 409, "conflict"),
        (EventRefused(Refusal("penstock.FutureEvent", "validate", "why"), "topic"), 422, "penstock.FutureEvent"),
        (InvalidEvent("too long"), 422, "penstock.InvalidField"),
        (RuntimeError("no secrets"), 500, "internal"),
    ],
)
def test_what_cannot_be_answered_has_a_status_and_a_reason(does: Exception, status: int, error: str) -> None:
    found, body, headers = post(Asks(lambda: does))
    assert (found, body["error"]) == (status, error)
    assert headers.get("Retry-After") == ("1" if status == 503 else None)
    assert "secrets" not in body["message"]


@pytest.mark.parametrize(
    ("body", "url", "status", "error", "field"),
    [
        (PAYMENT | {"amount": "12.5"}, URL, 422, "penstock.InvalidField", "amount"),
        (b"{", URL, 422, "penstock.Undecodable", None),
        (b"\xc3\x01" + b"\0" * 20, URL, 422, "penstock.UnknownSchema", None),
        (b"0" * (fraud.source.max_bytes + 1), URL, 413, "request_entity_too_large", None),
        (PAYMENT, "/v1/other/events", 404, "not_found", None),
        (PAYMENT, f"{URL}?deadline-ms=1001", 400, "bad_request", None),
        (PAYMENT, f"{URL}?deadline-ms=soon", 400, "bad_request", None),
        (PAYMENT, f"{URL}/a", 405, "method_not_allowed", None),
    ],
)
def test_what_cannot_be_asked_says_why(body: Any, url: str, status: int, error: str, field: str | None) -> None:
    client = Asks()
    found, said, _ = post(client, body, url)
    assert (found, said["error"], said["field"]) == (status, error, field)
    assert client.asked == []


def test_an_event_can_be_looked_up_by_its_id() -> None:
    status, text = get(Asks(), f"{URL}/a%2Fb")
    assert (status, json.loads(text)["answer"]["decision"]) == (200, "decline")
    for other in ("c", "c%0Ad"):
        status, text = get(Asks(), f"{URL}/{other}")
        assert (status, json.loads(text)["error"]) == (404, "unknown_event"), other


def test_health_says_whether_answers_can_come_and_metrics_are_there() -> None:
    client = Asks()
    assert get(client, "/healthz") == (200, "answering\n")
    client.is_alive = False
    assert get(client, "/healthz") == (503, "no answers any more for fraud\n")
    assert "asked_total 1.0" in get(client, "/metrics")[1]


def test_requests_are_counted_by_their_status_and_names_that_callers_make_up_are_not() -> None:
    async def use(session: aiohttp.ClientSession) -> str:
        for url, body in ((URL, PAYMENT), (URL, {}), ("/v1/made-up/events", PAYMENT)):
            async with session.post(url, data=json.dumps(body)):
                pass
        async with session.get("/metrics") as response:
            return await response.text()

    text = serve(Asks(), use)
    assert 'penstock_gateway_requests_total{pipeline="fraud",status="200"} 1.0' in text
    assert 'penstock_gateway_requests_total{pipeline="fraud",status="422"} 1.0' in text
    assert "made-up" not in text


def test_the_screen_of_a_run_finds_it_among_the_pages_of_services() -> None:
    client = Asks()
    assert lags_on(get(client, "/metrics")[1], "fraud") == {"gateway": None}
    client.is_alive = False
    assert 'penstock_service_healthy{part="gateway",pipeline="fraud"} 0.0' in get(client, "/metrics")[1]


def test_who_waits_when_it_is_stopped_is_still_answered() -> None:
    client = Asks()
    client.wait_s = 0.3
    stop = asyncio.Event()

    async def use(session: aiohttp.ClientSession) -> str:
        asking = asyncio.create_task(session.post(URL, data=json.dumps(PAYMENT)))
        await client.called.wait()
        stop.set()
        async with await asking as response:
            return str((await response.json())["decision"])

    assert serve(client, use, stop) == "decline"


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    async def use(session: aiohttp.ClientSession) -> None:
        url = session._base_url
        assert url is not None
        taken = HttpGateway({"fraud": Asks()}, Deadlines(1, 1), GatewayMetrics(CollectorRegistry()))
        with pytest.raises(PenstockError, match="cannot be answered"):
            await taken.serve("127.0.0.1", url.port or 0, asyncio.Event(), lambda *_: None)

    serve(Asks(), use)
