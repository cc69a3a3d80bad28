"""A client for tests of the gateway, which answers as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from examples.fraud.pipeline import pipeline as fraud
from penstock.client.answers import Answer, Known
from schemas.contract import Contract
from streams.definitions.sources import Source

ANSWER = Answer("a", "decline", 0.9, "fraud", "3", "model", None, 12.5)


class Asks:
    """A client that answers as the test says."""

    def __init__(self, does: Callable[[], Any] = lambda: ANSWER) -> None:
        self.does, self.is_alive, self.wait_s = does, True, 0.0
        self.asked: list[tuple[Contract, float]] = []
        self.called = asyncio.Event()

    @property
    def source(self) -> Source:
        return fraud.source

    async def ask_async(self, event: Contract, *, deadline_ms: float) -> Answer:
        self.asked.append((event, deadline_ms))
        self.called.set()
        await asyncio.sleep(self.wait_s)
        result = self.does()
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Answer)
        return result

    def lookup(self, event_id: str) -> Known | None:
        return Known("a/b", ANSWER, None, None) if event_id == "a/b" else None
