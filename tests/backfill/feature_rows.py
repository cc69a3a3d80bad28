"""A pipeline whose rows have every type, its feature records, and the rows of a part file as Python values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.plans import make_plan, view_of


def feature(name: str, operation: str, kind: str) -> dict[str, Any]:
    window = {"window_ms": 1_000, "hop_ms": 10, "where": None}
    column = {"column": name, "column_type": kind.removesuffix("[]")}
    return window | column | {"name": name, "operation": operation, "type": kind}


KINDS = ("string", "long", "double", "boolean")
FEATURES = [
    *(feature(kind[0], "last", kind) for kind in KINDS),
    *(feature(f"{kind[0]}s", "last_k", f"{kind}[]") for kind in KINDS),
]
PLAN = make_plan(
    fields=[],
    views=[view_of(*FEATURES, name="a"), view_of(FEATURES[2], name="b")],
    passthrough=tuple((kind, kind) for kind in KINDS),
)
VALUES: list[dict[str, Any]] = [
    {"string": "", "long": 2**63 - 1, "double": -0.0, "boolean": True},
    {"string": "é\u0000😀", "long": -(2**63), "double": 5e-324, "boolean": False},
    {"string": None, "long": None, "double": None, "boolean": None},
    {"string": "x" * 10_000, "long": 2**53 + 1, "double": 0.1 + 0.2, "boolean": True},
]


def record(offset: int, values: dict[str, Any] | None = None, partition: int = 0) -> dict[str, Any]:
    values = VALUES[0] if values is None else values
    head = {"entity": "e", "epoch": 1, "seq": offset + 1, "as_of": 2_000, "late": False}
    return {
        "event_id": f"id{offset}",
        "event_time": 1_000 + offset,
        "trigger": "event",
        "attempt": 0,
        "source": {"topic": "events", "partition": partition, "offset": offset, "timestamp": 900},
        "event": values,
        "a": head
        | {kind[0]: value for kind, value in values.items()}
        | {f"{kind[0]}s": value if value is None else [value] * (offset % 3) for kind, value in values.items()},
        "b": None,
    }


def plain(table: pa.Table) -> list[dict[str, Any]]:
    """The rows, with times as epoch ms."""
    columns = [c.cast("int64") if str(c.type).startswith("timestamp") else c for c in table.columns]
    return list(pa.table(columns, names=table.column_names).to_pylist())


def read(path: Path) -> list[dict[str, Any]]:
    return plain(pq.read_table(path))
