"""Bytewax: state as a plain Python object per key, batches wherever the framework offers them, no recovery store.

Run as ``python -m bytewax.run tests.bench.engine.peers.bytewax_flow:flow``.
"""

from __future__ import annotations

from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic

from tests.bench.engine.peers.given import given
from tests.bench.engine.peers.windows import Windows, result_format

told = given()
windows = Windows(told.spans_ms)
pack = result_format(len(told.spans_ms), len(told.keyed_by)).pack
Item = tuple[dict[str, Any], list[float]]


class PerKey(StatefulBatchLogic[Item, Item, Any]):
    """The windows of one key."""

    def __init__(self) -> None:
        self.hot, self.cold = windows.new(), {}

    def on_batch(self, values: list[Item]) -> tuple[list[Item], bool]:
        hot, cold, add = self.hot, self.cold, windows.add
        return [(e, [*r, *add(hot, cold, e["event_time"], e["amount"])]) for e, r in values], False

    def snapshot(self) -> Any:
        return self.hot, dict(self.cold)


def decode(messages: list[Any]) -> list[tuple[str, Item]]:
    first, loads = told.keyed_by[0], orjson.loads
    events = [loads(message.value) for message in messages]
    return [(event[first], (event, [])) for event in events]


def encode(items: list[tuple[str, Item]]) -> list[KafkaSinkMessage[bytes, bytes]]:
    return [KafkaSinkMessage(key.encode(), pack(int(event["event_id"]), *results)) for key, (event, results) in items]


flow = Dataflow("bench")
messages = op.input("source", flow, KafkaSource([told.bootstrap], [told.source], batch_size=5_000))
items = op.flat_map_batch("decode", messages, decode)
for place, entity in enumerate(told.keyed_by):
    if place:
        items = op.flat_map_batch(
            f"key_{entity}", items, lambda batch, entity=entity: [(item[0][entity], item) for _, item in batch]
        )
    items = op.stateful_batch(f"windows_{entity}", items, lambda _: PerKey())
op.output("target", op.flat_map_batch("encode", items, encode), KafkaSink([told.bootstrap], told.target))
