"""The kernel and the oracle against DuckDB's window functions, with frames aligned to tiles.

A window of n tiles at ``as_of`` has the tile of ``as_of`` and the n - 1 before it. As a frame over an entity's rows,
ordered by tile and arrival, that is a ``RANGE`` from the beginning of the oldest of these tiles to the current row.
Both are equal if the hop divides the window and no event is late.
"""

from __future__ import annotations

import math
import random
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from streams.inprocess.kernel import Kernel
from streams.oracle.reference import Timed, agrees, tolerance, vectors
from streams.plan.model import PipelinePlan
from tests.plans import make_plan, view_of

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "roles": ["event_id"]},
    {"name": "time", "type": "long", "roles": ["event_time"]},
    {"name": "k", "type": "string", "nullable": True},
    {"name": "x", "type": "double", "nullable": True},
]
# The SQL of each aggregate; approx_distinct is exact for few values.
SQL = {
    "count": "count(x)",
    "first": "first_value(x IGNORE NULLS)",
    "last": "last_value(x IGNORE NULLS)",
    "sum": "sum(x)",
    "mean": "avg(x)",
    "min": "min(x)",
    "max": "max(x)",
    "variance": "var_samp(x)",
    "std": "stddev_samp(x)",
    "skewness": "skewness(x)",
    "kurtosis": "kurtosis(x)",
    "approx_distinct": "count(DISTINCT x)",
}
LONG = {"count", "approx_distinct"}


@pytest.mark.parametrize("seed", range(20))
def test_kernel_and_oracle_agree_with_the_window_functions_of_a_database(kernel: Kernel, seed: int) -> None:
    chance = random.Random(seed)
    hop = chance.choice([1, 7, 1_000])
    tiles = chance.choice([1, 2, 5, 60])
    where = chance.choice([None, "positive"])
    plan = _plan(hop, tiles, where)
    rows = _rows(chance, hop)
    expected = _by_sql(rows, hop, tiles, where is not None)
    answers = kernel.features(plan.model_dump(mode="json"), rows)
    stream = [Timed(row["time"], row) for row in rows]
    (view,) = plan.views
    histories: dict[str, list[Timed]] = {}
    for timed, oracle, answer, by_sql in zip(stream, vectors(view, stream), answers, expected, strict=True):
        assert oracle is not None
        assert answer is not None
        history = histories.setdefault(str(timed.row["k"]), [])
        history.append(timed)
        for feature in view.features:
            allowed = tolerance(feature, history, oracle.as_of)
            # DuckDB gives NaN for a moment without spread.
            value = by_sql[feature.name]
            value = None if isinstance(value, float) and math.isnan(value) else value
            assert agrees(answer["v"]["features"][feature.name], value, allowed), (feature.name, timed)
            assert agrees(oracle.features[feature.name], value, allowed), (feature.name, timed)


def _plan(hop: int, tiles: int, where: str | None) -> PipelinePlan:
    features = [
        {
            "name": operation,
            "operation": operation,
            "column": "x",
            "column_type": "double",
            "where": where,
            "window_ms": hop * tiles,
            "hop_ms": hop,
            "type": "long" if operation in LONG else "double",
        }
        for operation in SQL
    ]
    filters = [{"name": "positive", "type": "boolean", "sql": "x > 0"}]
    return make_plan(fields=FIELDS, views=[view_of(*features)], filters=filters)


def _rows(chance: random.Random, hop: int) -> list[dict[str, Any]]:
    """Rows in time order, with ties and gaps; fewer than the 1000 for which the frame has room.

    DuckDB computes higher moments as differences of sums of powers. For multiples of a quarter these are exact.
    """
    rows, clock = [], 0
    for number in range(150):
        clock += chance.choice([0, 1, 1, hop, 3 * hop, 70 * hop])
        x = chance.choice([None, 0.0, 5.0, chance.randint(-400, 400) / 4])
        positive = None if x is None else x > 0
        rows.append({"id": f"{number}", "time": clock, "k": chance.choice("ab"), "x": x, "positive": positive})
    return rows


def _by_sql(rows: list[dict[str, Any]], hop: int, tiles: int, only_positive: bool) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist([row | {"number": number} for number, row in enumerate(rows)])
    value = "CASE WHEN x > 0 THEN x END" if only_positive else "x"
    columns = ", ".join(f"{call} OVER of_tiles AS {name}" for name, call in SQL.items())
    with duckdb.connect() as connection:
        connection.register("event", table)
        query = f"""
            SELECT {columns}
            FROM (SELECT k, number, time // {hop} AS tile, {value} AS x FROM event)
            WINDOW of_tiles AS (
                PARTITION BY k ORDER BY tile * 1000 + number
                RANGE BETWEEN {(tiles - 1) * 1000} + number PRECEDING AND CURRENT ROW
            )
            ORDER BY number
        """
        found: list[dict[str, Any]] = connection.execute(query).to_arrow_table().to_pylist()
    return found
