"""The gateway by gRPC: ``gateway.proto`` is its interface, and says which status means what.

``gateway_pb2.py`` and ``gateway_pb2.pyi`` are generated from it (``make protocol``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf.message import Message

from penstock.client.answers import Answer
from penstock.errors import PenstockError
from penstock.gateway.asking import STATUSES, Asks, Deadlines, Refused, ask
from penstock.gateway.gateway_metrics import GatewayMetrics
from penstock.gateway.gateway_pb2 import DESCRIPTOR, AskRequest, Known, LookupRequest
from penstock.gateway.gateway_pb2 import Answer as AnswerMessage

_log = logging.getLogger(__name__)

SERVICE = DESCRIPTOR.services_by_name["Gateway"].full_name

# So much earlier than the caller's own deadline is the fallback given, so that it arrives before it.
_AHEAD_MS = 10.0
# Of a request, beside its event.
_OVERHEAD_BYTES = 4096
# Of a text in the trailing metadata, as it is sent there. A caller who gets more than 8 KiB may see RESOURCE_EXHAUSTED
# in place of the status.
_MOST_TEXT = 2048
_CODES = {
    "invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "conflict": grpc.StatusCode.ALREADY_EXISTS,
    "busy": grpc.StatusCode.RESOURCE_EXHAUSTED,
}
# The HTTP status that an answer would have: both are counted alike.
_HTTP = {code: STATUSES[kind] for kind, code in _CODES.items()} | {grpc.StatusCode.NOT_FOUND: 404}
# What metadata has as it is; the rest is percent-encoded.
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_GONE = 499  # the caller has gone


class RpcGateway:
    """Answers calls for some pipelines.

    Args:
        clients: By the name of the pipeline in the request.
        deadlines: Of requests; that of the call counts too, if it is earlier.
        counts: Where they are counted.
    """

    def __init__(self, clients: Mapping[str, Asks], deadlines: Deadlines, counts: GatewayMetrics) -> None:
        self._clients, self._deadlines, self._counts = clients, deadlines, counts

    async def serve(self, host: str, port: int, stop: asyncio.Event, on_ready: Callable[[str, int], object]) -> None:
        """Answer calls until ``stop``; those that wait then are still answered.

        Args:
            host: The address to listen on.
            port: The port; 0 takes a free one.
            stop: Set when to end.
            on_ready: Called with address and port when calls are answered.

        Raises:
            PenstockError: the port cannot be bound.
        """
        longest = max(client.source.max_bytes for client in self._clients.values())
        # Without the last option, two gateways on one port would share its calls without a word.
        options = [("grpc.max_receive_message_length", longest + _OVERHEAD_BYTES), ("grpc.so_reuseport", 0)]
        server = grpc.aio.server(options=options)
        handlers = {
            "Ask": self._counted(self._ask, AskRequest),
            "Lookup": self._counted(self._lookup, LookupRequest),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError as error:
            raise PenstockError(
                "gRPC calls cannot be answered: the port cannot be bound",
                where=f"{host}:{port}",
                next="choose another --grpc-port",
            ) from error
        await server.start()
        on_ready(host, bound)
        try:
            await stop.wait()
        finally:
            await server.stop(self._deadlines.stop_s)

    def _counted(self, answers: Callable[..., Any], request_type: type[Message]) -> grpc.RpcMethodHandler:
        async def counted(request: Any, context: Any) -> Message:
            status = _GONE
            try:
                answer: Message = await answers(request, context)
                status = 200
            except grpc.aio.AbortError:
                status = _HTTP.get(context.code(), 500)
                raise
            else:
                return answer
            finally:
                # Of other pipelines, callers make up the names.
                if request.pipeline in self._clients:
                    self._counts.requests.labels(request.pipeline, str(status)).inc()

        return grpc.unary_unary_rpc_method_handler(
            counted, request_type.FromString, lambda message: message.SerializeToString()
        )

    async def _ask(self, request: AskRequest, context: Any) -> Message:
        client = await self._client(request.pipeline, context)
        if request.HasField("deadline_ms") and request.deadline_ms > self._deadlines.most_ms:
            message = f"deadline_ms must be a number from 0 to {self._deadlines.most_ms:g}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        named = request.deadline_ms if request.HasField("deadline_ms") else self._deadlines.usual_ms
        left_s = context.time_remaining()
        deadline_ms = named if left_s is None else min(named, max(0.0, 1000 * left_s - _AHEAD_MS))
        try:
            answer = await ask(client, request.event, deadline_ms)
        except Exception:
            _log.exception("%s/Ask failed", SERVICE)
            await context.abort(
                grpc.StatusCode.INTERNAL, "the gateway failed; its log says why. Ask again: the event is not sent twice"
            )
            raise
        if isinstance(answer, Refused):
            said = [("penstock-error", answer.error)]
            said += [] if answer.field is None else [("penstock-field", _ascii(answer.field))]
            await context.abort(_CODES[answer.kind], _short(answer.message), tuple(said))
        assert isinstance(answer, Answer)
        return AnswerMessage(**_present(asdict(answer)))

    async def _lookup(self, request: LookupRequest, context: Any) -> Message:
        known = (await self._client(request.pipeline, context)).lookup(request.event_id)
        if known is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "nothing is known of this event, or not any more")
        assert known is not None
        return Known(**_present(asdict(known)))

    async def _client(self, name: str, context: Any) -> Asks:
        if name not in self._clients:
            known = ", ".join(sorted(self._clients))
            await context.abort(grpc.StatusCode.NOT_FOUND, _short(f"no pipeline {name!r} here, only {known}"))
        return self._clients[name]


def _ascii(text: str) -> str:
    """The text as metadata may have it: what is not printable ASCII, and percent signs, percent-encoded."""
    return quote(_short(text), safe=_PRINTABLE)


def _short(text: str) -> str:
    """The text, or its beginning if it would be too long for metadata."""
    sent = 0
    for at, character in enumerate(text):
        sent += 1 if character in _PRINTABLE else 3 * len(character.encode())
        if sent > _MOST_TEXT:
            return f"{text[:at]}..."
    return text


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that have a value, of a message and of those within it."""
    found = {name: _present(value) if isinstance(value, dict) else value for name, value in fields.items()}
    return {name: value for name, value in found.items() if value is not None}
