"""Quix Streams: its own State per key; of it, every event writes only what it changes. No changelog topics.

With one partition the framework regroups in place, without a topic in between.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from quixstreams import Application, State

from tests.bench.engine.peers.given import given
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
    told = given()
    windows = Windows(told.spans_ms)
    pack = result_format(len(told.spans_ms), len(told.keyed_by)).pack

    def compute(event: dict[str, Any], state: State) -> dict[str, Any]:
        hot = state.get("hot") or windows.new()
        results = windows.add(hot, Cold(state), event["event_time"], event["amount"])
        state.set("hot", hot)
        event["results"] = event.get("results", []) + results
        return event

    app = Application(
        broker_address=told.bootstrap,
        consumer_group=told.name,
        auto_offset_reset="earliest",
        auto_create_topics=True,
        use_changelog_topics=False,
        state_dir=told.scratch,
        loglevel="WARNING",
    )
    frame = app.dataframe(app.topic(told.source, value_deserializer="json", key_deserializer="str"))
    for place, entity in enumerate(told.keyed_by):
        if place:
            frame = frame.group_by(entity, key_deserializer="str", key_serializer="str")
        frame = frame.apply(compute, stateful=True)
    frame = frame.apply(lambda event: pack(int(event["event_id"]), *event["results"]))
    frame.to_topic(app.topic(told.target, value_serializer="bytes", key_serializer="str"))
    app.run()


if __name__ == "__main__":
    main()
