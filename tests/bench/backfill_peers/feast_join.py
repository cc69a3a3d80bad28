"""Feast joins features to events at their times; run in the environment ``bench-feast``.

``python -m tests.bench.backfill_peers.feast_join FOLDER``: in FOLDER are ``events.parquet`` (event_id, the entities,
event_timestamp, label), and for each entity ``of_ENTITY.parquet`` with its features. Writes ``joined.parquet``, and
prints seconds, CPU seconds and versions as JSON. Feast's store is its default of files, as its quick start has it.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Bool, Float64, Int64, String

_TYPES = {"int64": Int64, "double": Float64, "string": String, "bool": Bool}


def main(folder: Path) -> None:
    """Join, write, and say how long both took; to declare the views is not counted."""
    store = FeatureStore(
        config=RepoConfig(
            project="bench_join",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    wanted = []
    for file in sorted(folder.glob("of_*.parquet")):
        name = file.stem.removeprefix("of_")
        entity = Entity(name=name, join_keys=[name], value_type=ValueType.STRING)
        own = [field for field in pq.read_schema(file) if field.name not in (name, "event_timestamp")]
        schema = [Field(name=name, dtype=String), *(Field(name=f.name, dtype=_TYPES[str(f.type)]) for f in own)]
        source = FileSource(path=str(file.absolute()), timestamp_field="event_timestamp")
        view = FeatureView(name=f"by_{name}", entities=[entity], ttl=timedelta(0), schema=schema, source=source)
        store.apply([entity, view])
        wanted += [f"by_{name}:{field.name}" for field in own]
    begin, cpu = time.monotonic(), time.process_time()
    events = pd.read_parquet(folder / "events.parquet")
    joined = store.get_historical_features(entity_df=events, features=wanted, full_feature_names=True).to_df()
    joined.to_parquet(folder / "joined.parquet", compression="zstd")
    used = {"seconds": time.monotonic() - begin, "cpu_s": time.process_time() - cpu}
    print(json.dumps({**used, "rows": len(joined), "versions": {"feast": version("feast"), "pandas": pd.__version__}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
