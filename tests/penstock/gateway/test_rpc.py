"""What the gateway answers to gRPC calls, and that its generated code is that of its interface."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import grpc
import pytest
from grpc_tools import protoc
from prometheus_client import CollectorRegistry
from pydantic import Field

import penstock as ps
from examples.fraud.pipeline import pipeline as fraud
from penstock.client.answers import Answer, EventConflict, EventRefused, Refusal, TooBusy
from penstock.errors import PenstockError
from penstock.gateway import gateway_pb2
from penstock.gateway.asking import Deadlines
from penstock.gateway.gateway_metrics import GatewayMetrics
from penstock.gateway.gateway_pb2 import AskRequest, LookupRequest
from penstock.gateway.rpc import SERVICE, RpcGateway
from penstock.paths import ROOT
from schemas.producer import InvalidEvent
from tests.penstock.client.test_client import PAYMENT
from tests.penstock.gateway.answers import Asks

PROTO = "penstock/gateway/gateway.proto"


def serve(
    client: Asks,
    use: Callable[[grpc.aio.Channel], Any],
    stop: asyncio.Event | None = None,
    counts: GatewayMetrics | None = None,
) -> Any:
    """The result of using a gateway that runs for it."""

    async def run() -> Any:
        stopped, ready = stop or asyncio.Event(), asyncio.get_running_loop().create_future()
        gateway = RpcGateway({"fraud": client}, Deadlines(200, 1_000), counts or GatewayMetrics(CollectorRegistry()))
        serving = asyncio.create_task(
            gateway.serve("127.0.0.1", 0, stopped, lambda host, port: ready.set_result(f"{host}:{port}"))
        )
        try:
            async with grpc.aio.insecure_channel(await ready) as channel:
                return await use(channel)
        finally:
            stopped.set()
            await serving

    return asyncio.run(run())


def call(channel: grpc.aio.Channel, method: str, request: Any, **options: Any) -> Any:
    reply = gateway_pb2.Answer if method == "Ask" else gateway_pb2.Known
    return channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=reply.FromString,
    )(request, **options)


def ask(client: Asks, request: AskRequest, **options: Any) -> Any:
    async def use(channel: grpc.aio.Channel) -> Any:
        return await call(channel, "Ask", request, **options)

    return serve(client, use)


def payment(**fields: Any) -> AskRequest:
    return AskRequest(**{"pipeline": "fraud", "event": json.dumps(PAYMENT).encode(), **fields})


def test_an_event_is_answered() -> None:
    client = Asks()
    answer = ask(client, payment(deadline_ms=50))
    assert (answer.decision, answer.source, answer.score, answer.waited_ms) == ("decline", "model", 0.9, 12.5)
    assert not answer.HasField("reason")
    assert [(dict(event)["amount"], deadline_ms) for event, deadline_ms in client.asked] == [(12.5, 50)]


def test_what_a_fallback_does_not_know_is_absent() -> None:
    answer = ask(Asks(lambda: Answer("a", "pass", None, None, None, "fallback", "late", 1.0)), payment())
    assert (answer.decision, answer.reason) == ("pass", "late")
    assert not any(answer.HasField(name) for name in ("score", "model", "model_version"))


def test_the_fallback_comes_before_the_deadline_of_the_call() -> None:
    client = Asks()
    ask(client, payment(), timeout=0.15)
    ask(client, payment(), timeout=10)
    ask(client, payment(deadline_ms=900), timeout=0.15)
    first, second, third = (deadline_ms for _, deadline_ms in client.asked)
    assert first < 140
    assert second == 200
    assert third < 140


@pytest.mark.parametrize(
    ("does", "code", "error"),
    [
        (TooBusy("too many", "topic"), grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"),
        (EventConflict("transaction_id"), grpc.StatusCode.ALREADY_EXISTS, "conflict"),
        (
            EventRefused(Refusal("penstock.FutureEvent", "validate", "why"), "topic"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "penstock.FutureEvent",
        ),
        (InvalidEvent("too long"), grpc.StatusCode.INVALID_ARGUMENT, "penstock.InvalidField"),
        (RuntimeError("no secrets"), grpc.StatusCode.INTERNAL, None),
    ],
)
def test_what_cannot_be_answered_has_a_status_and_a_reason(
    does: Exception, code: grpc.StatusCode, error: str | None
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        ask(Asks(lambda: does), payment())
    assert raised.value.code() is code
    assert dict(raised.value.trailing_metadata()).get("penstock-error") == error
    assert "secrets" not in raised.value.details()


@pytest.mark.parametrize(
    ("fields", "code", "error", "field"),
    [
        (
            {"event": json.dumps(PAYMENT | {"amount": "12.5"}).encode()},
            grpc.StatusCode.INVALID_ARGUMENT,
            "penstock.InvalidField",
            "amount",
        ),
        ({"event": b""}, grpc.StatusCode.INVALID_ARGUMENT, "penstock.Undecodable", None),
        ({"event": b"0" * (fraud.source.max_bytes + 1)}, grpc.StatusCode.INVALID_ARGUMENT, "penstock.TooLarge", None),
        ({"event": b"0" * (fraud.source.max_bytes + 10_000)}, grpc.StatusCode.RESOURCE_EXHAUSTED, None, None),
        ({"pipeline": "other"}, grpc.StatusCode.NOT_FOUND, None, None),
        ({"deadline_ms": 1001}, grpc.StatusCode.INVALID_ARGUMENT, None, None),
    ],
)
def test_what_cannot_be_asked_says_why(
    fields: dict[str, Any], code: grpc.StatusCode, error: str | None, field: str | None
) -> None:
    client = Asks()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        ask(client, payment(**fields))
    said = dict(raised.value.trailing_metadata())
    assert (raised.value.code(), said.get("penstock-error"), said.get("penstock-field")) == (code, error, field)
    assert client.asked == []


@pytest.mark.parametrize(
    ("name", "kind", "problem", "field"),
    [
        ("größe %", int, "x", "gr%C3%B6%C3%9Fe %25"),
        ("kind", Literal[tuple(f"kind{n}" for n in range(3_000))], "x", "kind"),
    ],
)
def test_a_field_of_any_name_and_a_reason_of_any_length_arrive(name: str, kind: Any, problem: str, field: str) -> None:
    class Odd(ps.Contract, name="rpc_odd", version=1):
        """An event whose field has that name in messages."""

        id: Annotated[str, ps.EVENT_ID]
        time: Annotated[int, ps.EVENT_TIME]
        odd: kind = Field(alias=name)

    class Client(Asks):
        source = ps.Source(topic="events.odd", contract=Odd, key="id")

    event = {"id": "a", "time": 1_772_366_400_000, name: problem}
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        ask(Client(), payment(event=json.dumps(event).encode()))
    said = dict(raised.value.trailing_metadata())
    assert (raised.value.code(), said["penstock-field"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def test_the_name_of_a_pipeline_may_be_of_any_length() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        ask(Asks(), payment(pipeline="é" * 20_000))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_event_can_be_looked_up_by_its_id() -> None:
    async def use(channel: grpc.aio.Channel) -> tuple[Any, Any]:
        known = await call(channel, "Lookup", LookupRequest(pipeline="fraud", event_id="a/b"))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(channel, "Lookup", LookupRequest(pipeline="fraud", event_id="c"))
        return known, raised.value.code()

    known, code = serve(Asks(), use)
    assert (known.answer.decision, known.HasField("prediction"), code) == ("decline", False, grpc.StatusCode.NOT_FOUND)


def test_calls_are_counted_by_the_status_that_they_would_have_by_http() -> None:
    counts, client = GatewayMetrics(CollectorRegistry()), Asks()

    async def use(channel: grpc.aio.Channel) -> None:
        await call(channel, "Ask", payment())
        for request in (payment(event=b""), payment(pipeline="other")):
            with pytest.raises(grpc.aio.AioRpcError):
                await call(channel, "Ask", request)
        client.does = lambda: TooBusy("too many", "topic")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, "Ask", payment())

    serve(client, use, counts=counts)
    found = {one.labels["status"]: one.value for one in counts.requests.collect()[0].samples if "total" in one.name}
    assert found == {"200": 1, "422": 1, "503": 1}


def test_who_waits_when_it_is_stopped_is_still_answered() -> None:
    client = Asks()
    client.wait_s = 0.3
    stop = asyncio.Event()

    async def use(channel: grpc.aio.Channel) -> str:
        asking = call(channel, "Ask", payment())
        await client.called.wait()
        stop.set()
        return str((await asking).decision)

    assert serve(client, use, stop) == "decline"


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    async def run() -> None:
        taken, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
        gateway = RpcGateway({"fraud": Asks()}, Deadlines(1, 1), GatewayMetrics(CollectorRegistry()))
        first = asyncio.create_task(gateway.serve("127.0.0.1", 0, stop, lambda _, port: taken.set_result(port)))
        with pytest.raises(PenstockError, match="cannot be answered"):
            await gateway.serve("127.0.0.1", await taken, asyncio.Event(), lambda *_: None)
        stop.set()
        await first

    asyncio.run(run())


def test_the_generated_code_is_that_of_the_interface(tmp_path: Path) -> None:
    assert protoc.main(["protoc", f"-I{ROOT}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", PROTO]) == 0
    for name in ("gateway_pb2.py", "gateway_pb2.pyi"):
        made = (tmp_path / "penstock" / "gateway" / name).read_text()
        assert made == (ROOT / "penstock" / "gateway" / name).read_text(), "run make protocol"
