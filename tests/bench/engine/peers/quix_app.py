"""Quix Streams: its own State per key; of it, every event writes only what it changes. No changelog topics.

A chain goes through a topic for each further entity: the framework allows one regrouping per stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping
from typing import Any

from quixstreams import Application, State

from tests.bench.engine.peers.peer_settings import peer_settings
from tests.bench.engine.peers.windows import Moments, Windows, result_format


class Cold(MutableMapping[str, Moments]):
    """Closed tiles in a State, one entry each."""

    def __init__(self, state: State) -> None:
        self._state = state

    def __getitem__(self, key: str) -> Moments:
        found = self._state.get(key)
        if found is None:
            raise KeyError(key)
        return tuple(found)

    def __setitem__(self, key: str, value: Moments) -> None:
        self._state.set(key, value)

    def __delitem__(self, key: str) -> None:
        if not self._state.exists(key):
            raise KeyError(key)
        self._state.delete(key)

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


def main() -> None:
    """Read, compute, write until the process is ended."""
    peer = peer_settings()
    windows = Windows(peer.spans_ms)
    pack = result_format(len(peer.spans_ms), len(peer.keyed_by)).pack

    def compute(event: dict[str, Any], state: State) -> dict[str, Any]:
        hot = state.get("hot") or windows.new()
        results = windows.add(hot, Cold(state), event["event_time"], event["amount"])
        state.set("hot", hot)
        event["results"] = event.get("results", []) + results
        return event

    def encode(event: dict[str, Any]) -> bytes:
        # Between stages JSON makes null of NaN.
        results = [math.nan if x is None else x for x in event["results"]]
        return pack(int(event["event_id"]), *results)

    app = Application(
        broker_address=peer.bootstrap,
        consumer_group=peer.name,
        auto_offset_reset="earliest",
        auto_create_topics=True,
        use_changelog_topics=False,
        state_dir=peer.scratch,
        loglevel="WARNING",
    )
    entities = peer.keyed_by
    stages = [peer.source, *(f"{peer.target}.{entity}" for entity in entities[1:])]
    for place, topic in enumerate(stages):
        frame = app.dataframe(app.topic(topic, value_deserializer="json", key_deserializer="str"))
        frame = frame.apply(compute, stateful=True)
        if place + 1 < len(stages):
            following = app.topic(stages[place + 1], value_serializer="json", key_serializer="str")
            frame.to_topic(following, key=lambda event, by=entities[place + 1]: event[by])
        else:
            frame = frame.apply(encode)
            frame.to_topic(app.topic(peer.target, value_serializer="bytes", key_serializer="str"))
    app.run()


if __name__ == "__main__":
    main()
