"""Feast's Redis online store with the same features, in an environment of its own; driven by ``online``.

``python -m tests.bench.pipeline.feast_store FOLDER HOST:PORT`` writes the features of ``FOLDER/features.json``. Then
each line of stdin is a JSON list: ``["read", view, entity]`` answers with the features, ``["time", views, entities,
rows]`` with the microseconds of reading the entities, so many at a time. The end of stdin deletes what was written.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64, String

_TYPES = {"long": Int64, "double": Float64}


def main(folder: Path, address: str) -> None:
    """Serve until the end of stdin."""
    config = RepoConfig(
        project="bench_online",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "redis", "connection_string": address},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    features = json.loads((folder / "features.json").read_text(encoding="utf-8"))
    names = {view: [f"{view}:{name}" for name in given["types"]] for view, given in features.items()}
    _write(store, features, folder)
    _say({name: version(name) for name in ("feast", "redis", "hiredis")})
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        if command == "read":
            view, entity = arguments
            answer = store.get_online_features(features=names[view], entity_rows=[{"card": entity}]).to_dict()
            _say({name: column[0] for name, column in answer.items() if name != "card"})
        else:
            views, entities, rows = arguments
            wanted = [name for view in views for name in names[view]]
            times = []
            for start in range(0, len(entities), rows):
                asked = [{"card": entity} for entity in entities[start : start + rows]]
                begin = time.perf_counter_ns()
                store.get_online_features(features=wanted, entity_rows=asked).to_dict()
                times.append((time.perf_counter_ns() - begin) / 1_000)
            _say(times)
    store.teardown()


def _write(store: FeatureStore, features: dict[str, dict[str, dict[str, object]]], folder: Path) -> None:
    card = Entity(name="card", join_keys=["card"], value_type=ValueType.STRING)
    views, frames = [], {}
    for view, given in features.items():
        fields = [Field(name=name, dtype=_TYPES[str(kind)]) for name, kind in given["types"].items()]
        frame = pd.DataFrame(given["columns"]).astype(
            {name: "Int64" if kind == "long" else "float64" for name, kind in given["types"].items()}
        )
        frames[view] = frame.assign(event_timestamp=datetime.now(UTC))
        file = folder / f"{view}.parquet"
        frames[view].to_parquet(file)
        source = FileSource(path=str(file), timestamp_field="event_timestamp")
        schema = [Field(name="card", dtype=String), *fields]
        views.append(FeatureView(name=view, entities=[card], ttl=timedelta(days=60), schema=schema, source=source))
    store.apply([card, *views])
    for view, frame in frames.items():
        store.write_to_online_store(view, frame)


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
