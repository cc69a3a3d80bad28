"""Polars computes the windows of a pipeline over a Parquet file of payments; run in the environment ``bench-polars``.

``python -m tests.bench.backfill_peers.polars_windows PAYMENTS FEATURES OUT``: FEATURES is a JSON list of the features,
OUT the Parquet file to write. Prints seconds, CPU seconds and versions as JSON.

A window begins with the tile that its hop rounds it to, which Polars' rolling windows of a fixed length cannot say. So
it is two parts, as an engine of tiles has them: the complete tiles before, which roll, and the running values of the
present tile. Amounts are added in cents: whole numbers are exact, and deviations need that.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl

_BEFORE = ("n", "sum", "squares", "max")


def features(payments: pl.LazyFrame, wanted: list[dict[str, Any]]) -> pl.LazyFrame:
    """The columns ``view.feature`` of all rows, in the order of time."""
    rows = payments.sort("time").with_columns(cents=(pl.col("amount") * 100).round().cast(pl.Int64))
    windows = {(one["key"], one["window_ms"], one["hop_ms"]) for one in wanted}
    found = [rows.select("time")]
    for key, window_ms, hop_ms in sorted(windows):
        of = [one for one in wanted if (one["key"], one["window_ms"], one["hop_ms"]) == (key, window_ms, hop_ms)]
        found.append(_window(rows, key, window_ms, hop_ms, of))
    return pl.concat(found, how="horizontal")


def _window(rows: pl.LazyFrame, key: str, window_ms: int, hop_ms: int, of: list[dict[str, Any]]) -> pl.LazyFrame:
    tiled = rows.select("time", key, "cents", "amount", tile=pl.col("time") // hop_ms)
    tiles = tiled.group_by(key, "tile").agg(
        n=pl.len().cast(pl.Int64),
        sum=pl.col("cents").sum(),
        squares=(pl.col("cents") * pl.col("cents")).sum(),
        max=pl.col("amount").max(),
    )
    length = window_ms // hop_ms - 1
    before = (
        tiles.sort(key, "tile")
        .rolling("tile", period=f"{length}i", offset=f"-{length}i", closed="left", group_by=key)
        .agg(pl.col("n", "sum", "squares").sum().name.prefix("before_"), before_max=pl.col("max").max())
    )
    within, cents = [key, "tile"], pl.col("cents")
    both = tiled.with_columns(
        n=cents.cum_count().over(within).cast(pl.Int64),
        sum=cents.cum_sum().over(within),
        squares=(cents * cents).cum_sum().over(within),
        max=pl.col("amount").cum_max().over(within),
    ).join(before, on=within, how="left", maintain_order="left")
    n, total, squares = (pl.col(name) + pl.col(f"before_{name}").fill_null(0) for name in _BEFORE[:3])
    spread = (n * squares.cast(pl.Float64) - total.cast(pl.Float64).pow(2)).clip(0)
    columns = {
        "count": n,
        "sum": total / 100,
        "mean": total / 100 / n,
        "max": pl.max_horizontal("max", "before_max"),
        "std": pl.when(n > 1).then((spread / n / (n - 1)).sqrt() / 100),
    }
    return both.select(columns[one["operation"]].alias(one["name"]) for one in of)


def main(payments: Path, wanted: Path, out: Path) -> None:
    """Compute, write, and say how long both took."""
    begin, cpu = time.monotonic(), time.process_time()
    plan = features(pl.scan_parquet(payments), json.loads(wanted.read_text(encoding="utf-8")))
    plan.collect().write_parquet(out, compression="zstd")
    used = {"seconds": time.monotonic() - begin, "cpu_s": time.process_time() - cpu}
    print(json.dumps({**used, "versions": {"polars": pl.__version__, "python of polars": platform.python_version()}}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
