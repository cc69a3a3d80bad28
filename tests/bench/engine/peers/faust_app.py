"""Faust (faust-streaming): state in a dictionary of the agent, as a Table would write each change to a changelog topic.

With one partition no topic is needed to regroup by the next entity.
"""

from __future__ import annotations

from typing import Any

import faust

from tests.bench.engine.peers.peer_settings import peer_settings
from tests.bench.engine.peers.windows import Windows, result_format

peer = peer_settings()
windows = Windows(peer.spans_ms)
pack = result_format(len(peer.spans_ms), len(peer.keyed_by)).pack
app = faust.App(
    peer.name,
    broker=f"kafka://{peer.bootstrap}",
    datadir=peer.scratch,
    web_enabled=False,
    topic_disable_leader=True,
    topic_allow_declare=False,
    consumer_auto_offset_reset="earliest",
    broker_commit_interval=10.0,
    broker_commit_every=1_000_000,
    stream_wait_empty=False,
    producer_acks=1,
    producer_linger=5,
    producer_max_batch_size=262_144,
    consumer_max_fetch_size=4 * 1024 * 1024,
)
source = app.topic(peer.source, value_serializer="json", key_serializer="raw")
target = app.topic(peer.target, value_serializer="raw", key_serializer="raw")
states: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {}


@app.agent(source)
async def compute(stream: Any) -> None:
    """Each event: its windows, one record out."""
    async for event in stream:
        results: list[float] = []
        for entity in peer.keyed_by:
            key = (entity, event[entity])
            state = states.get(key)
            if state is None:
                state = states[key] = (windows.new(), {})
            results += windows.add(*state, event["event_time"], event["amount"])
        await target.send(key=event["card"].encode(), value=pack(int(event["event_id"]), *results))


if __name__ == "__main__":
    app.main()
