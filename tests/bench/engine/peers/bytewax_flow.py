"""Bytewax: state as a plain Python object per key, batches wherever the framework offers them, no recovery store.

A keyed step takes a batch apart by key, and what follows it gets events in another order: with stages one after the
other the second would compute something else. One worker can keep the windows of all entities under one key instead.

Run as ``python -m bytewax.run tests.bench.engine.peers.bytewax_flow:flow``.
"""

from __future__ import annotations

from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic

from tests.bench.engine.peers.peer_settings import peer_settings
from tests.bench.engine.peers.windows import Windows, result_format

peer = peer_settings()
windows = Windows(peer.spans_ms)
pack = result_format(len(peer.spans_ms), len(peer.keyed_by)).pack
chained = len(peer.keyed_by) > 1
Item = tuple[dict[str, Any], list[float]]


class PerKey(StatefulBatchLogic[Item, Item, Any]):
    """The windows of one key."""

    def __init__(self) -> None:
        self.state = windows.new(), {}

    def on_batch(self, values: list[Item]) -> tuple[list[Item], bool]:
        hot, cold = self.state
        add = windows.add
        return [(event, add(hot, cold, event["event_time"], event["amount"])) for event, _ in values], False

    def snapshot(self) -> Any:
        return self.state


class AllKeys(StatefulBatchLogic[Item, Item, Any]):
    """The windows of all entities."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], Any] = {}

    def on_batch(self, values: list[Item]) -> tuple[list[Item], bool]:
        return [(event, self._results(event)) for event, _ in values], False

    def _results(self, event: dict[str, Any]) -> list[float]:
        results: list[float] = []
        for entity in peer.keyed_by:
            key = (entity, event[entity])
            state = self.states.get(key)
            if state is None:
                state = self.states[key] = (windows.new(), {})
            results += windows.add(*state, event["event_time"], event["amount"])
        return results

    def snapshot(self) -> Any:
        return self.states


def decode(messages: list[Any]) -> list[tuple[str, Item]]:
    loads = orjson.loads
    events = [loads(message.value) for message in messages]
    return [("all" if chained else event[peer.keyed_by[0]], (event, [])) for event in events]


def encode(items: list[tuple[str, Item]]) -> list[KafkaSinkMessage[bytes, bytes]]:
    return [
        KafkaSinkMessage(event["card"].encode(), pack(int(event["event_id"]), *results))
        for _, (event, results) in items
    ]


flow = Dataflow("bench")
messages = op.input("source", flow, KafkaSource([peer.bootstrap], [peer.source], batch_size=5_000))
items = op.flat_map_batch("decode", messages, decode)
items = op.stateful_batch("windows", items, lambda _: AllKeys() if chained else PerKey())
op.output("target", op.flat_map_batch("encode", items, encode), KafkaSink([peer.bootstrap], peer.target))
