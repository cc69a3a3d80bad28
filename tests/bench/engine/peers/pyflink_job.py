"""PyFlink: a KeyedProcessFunction per entity; events are decoded and keyed in Python, results leave as bytes.

In process mode a value is written when a bundle ends: an entity's whole state is one value in a cache that is large
enough for all. In thread mode each access is serialized: what an event changes is one value, closed tiles are a map.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator, MutableMapping
from typing import Any

from pyflink.common import Types, WatermarkStrategy
from pyflink.common.serialization import ByteArraySchema, SimpleStringSchema
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

from tests.bench.engine.peers.flink_client import environment
from tests.bench.engine.peers.peer_settings import PeerSettings, peer_settings
from tests.bench.engine.peers.windows import Moments, Windows, result_format

Item = tuple[Any, ...]


class Cold(MutableMapping[str, Moments]):
    """Closed tiles in a map state."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def __getitem__(self, key: str) -> Moments:
        found = self._state.get(key)
        if found is None:
            raise KeyError(key)
        return found  # type: ignore[no-any-return]

    def __setitem__(self, key: str, value: Moments) -> None:
        self._state.put(key, value)

    def __delitem__(self, key: str) -> None:
        self._state.remove(key)

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


class Whole(KeyedProcessFunction):
    """The windows of one entity, with all of its state in one value."""

    def __init__(self, spans_ms: list[tuple[int, int]]) -> None:
        self._spans_ms = spans_ms

    def open(self, runtime_context: RuntimeContext) -> None:
        self._windows = Windows(self._spans_ms)
        self._state = runtime_context.get_state(ValueStateDescriptor("windows", Types.PICKLED_BYTE_ARRAY()))

    def process_element(self, value: Item, _: KeyedProcessFunction.Context) -> Iterator[Item]:
        keys, number, time, amount, results = value
        state = self._state.value() or (self._windows.new(), {})
        results = results + self._windows.add(*state, time, amount)
        self._state.update(state)
        yield keys, number, time, amount, results


class InPieces(KeyedProcessFunction):
    """The windows of one entity; the state that every event changes is separate from the rest."""

    def __init__(self, spans_ms: list[tuple[int, int]]) -> None:
        self._spans_ms = spans_ms

    def open(self, runtime_context: RuntimeContext) -> None:
        self._windows = Windows(self._spans_ms)
        self._hot = runtime_context.get_state(ValueStateDescriptor("hot", Types.PICKLED_BYTE_ARRAY()))
        cold = MapStateDescriptor("cold", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
        self._cold = Cold(runtime_context.get_map_state(cold))

    def process_element(self, value: Item, _: KeyedProcessFunction.Context) -> Iterator[Item]:
        keys, number, time, amount, results = value
        hot = self._hot.value() or self._windows.new()
        results = results + self._windows.add(hot, self._cold, time, amount)
        self._hot.update(hot)
        yield keys, number, time, amount, results


def submit(peer: PeerSettings) -> str:
    """Submit the job; returns its id."""
    env = environment(
        peer,
        **{
            "python.execution-mode": peer.mode,
            "python.state.cache-size": "100000",
            "python.map-state.read-cache-size": "100000",
            "python.map-state.write-cache-size": "100000",
            "python.fn-execution.bundle.time": "1000",
        },
    )
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(peer.bootstrap)
        .set_topics(peer.source)
        .set_group_id(peer.name)
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    entities, spans = peer.keyed_by, peer.spans_ms

    def decode(text: str) -> Item:
        event = json.loads(text)
        keys = tuple(event[entity] for entity in entities)
        return keys, int(event["event_id"]), event["event_time"], event["amount"], []

    stream = env.from_source(source, WatermarkStrategy.no_watermarks(), "payments").map(decode)
    stage = Whole if peer.mode == "process" else InPieces
    for place in range(len(entities)):
        stream = stream.key_by(lambda item, place=place: item[0][place], Types.STRING()).process(stage(spans))
    layout = result_format(len(spans), len(entities)).format
    results = stream.map(lambda item: struct.pack(layout, item[1], *item[4]), Types.PRIMITIVE_ARRAY(Types.BYTE()))
    schema = KafkaRecordSerializationSchema.builder().set_topic(peer.target)
    schema = schema.set_value_serialization_schema(ByteArraySchema())
    sink = KafkaSink.builder().set_bootstrap_servers(peer.bootstrap).set_record_serializer(schema.build())
    results.sink_to(sink.build())
    return str(env.execute_async(peer.name).get_job_id())


if __name__ == "__main__":
    sys.stdout.write(submit(peer_settings()) + "\n")
