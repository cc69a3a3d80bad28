"""Runs the peers, each on the same input, and checks that they have computed the same before their time counts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.errors import PenstockError
from penstock.paths import ROOT, venv_python
from streams.plan.model import PipelinePlan
from streams.plan.project import Project
from tests.bench import training_set

_HERE = "tests.bench.backfill_peers"


def by_polars(plan: PipelinePlan, payments: Path, out: Path) -> dict[str, Any]:
    """Compute the features of all views over a file of payments with Polars; returns what it says of itself."""
    wanted = [
        {
            "name": f"{view.name}.{feature.name}",
            "key": view.key,
            "operation": feature.operation,
            "window_ms": feature.window_ms,
            "hop_ms": feature.hop_ms,
        }
        for view in plan.views
        for feature in view.features
    ]
    features = out.with_suffix(".json")
    features.write_text(json.dumps(wanted), encoding="utf-8")
    return _run("bench-polars", "polars_windows", str(payments), str(features), str(out))


def join_beside_feast(folder: Path, rows: int) -> dict[str, Any]:
    """Build a training set of so many rows, have Feast join the same, and return the seconds of both.

    Both join 36 features of two entities to the same events at their times. The set also reads, joins and matures
    labels; Feast is given them. The probe for leaks, which trains models, is left out.
    """
    project = Project.of(training_set.pipeline(), folder)
    training_set.write_backfill(project, folder / "backfill", rows)
    ours = training_set.measured_apart(folder, rows, "1GB", probe=False)
    built = pa.concat_tables(pq.read_table(path) for path in sorted((folder / "set").glob("part-*.parquet")))
    _write_for_feast(project, folder, built)
    theirs = _run("bench-feast", "feast_join", str(folder / "feast"))
    require_equal_join(built, pq.read_table(folder / "feast" / "joined.parquet"))
    return {"rows": rows, "training_set": ours, "feast": theirs}


def require_equal_join(built: pa.Table, joined: pa.Table) -> None:
    """Stop if Feast has joined other features to an event than the training set has."""
    built, joined = built.sort_by("event_id"), joined.sort_by("event_id")
    assert built["event_id"].to_pylist() == joined["event_id"].to_pylist()
    features = [name for name in built.column_names if name.startswith("by_")]
    assert features
    for name in features:
        kind = built[name].type  # of a model's inputs: numbers of 32 bits
        ours, theirs = (
            np.asarray(column.cast(kind, safe=False).cast("float64").fill_null(np.nan))
            for column in (built[name], joined[name.replace(".", "__")])
        )
        assert np.array_equal(ours, theirs, equal_nan=True), name


def _write_for_feast(project: Project, folder: Path, built: pa.Table) -> None:
    """The events of the set with their labels, and all rows of the backfill as one table for each entity."""
    (folder / "feast").mkdir(parents=True)
    rows = pa.concat_tables(pq.read_table(path) for path in sorted((folder / "backfill").glob("part-*.parquet")))
    when = rows["event_time"].cast(pa.timestamp("us", "UTC"))
    for view in project.plan.views:
        columns = {view.key: rows[f"{view.name}.entity"], "event_timestamp": when}
        columns |= {feature.name: rows[f"{view.name}.{feature.name}"] for feature in view.features}
        pq.write_table(pa.table(columns), folder / "feast" / f"of_{view.key}.parquet")
    keys = {view.key: rows[f"{view.name}.entity"] for view in project.plan.views}
    events = pa.table({"event_id": rows["event_id"], **keys, "event_timestamp": when})
    labels = built.select(["event_id", "label"])
    wanted = pc.is_in(events["event_id"], labels["event_id"])
    pq.write_table(events.filter(wanted).join(labels, "event_id"), folder / "feast" / "events.parquet")


def _run(environment: str, module: str, *arguments: str) -> dict[str, Any]:
    """Run a peer in its environment, and return the JSON of its last line."""
    python = venv_python(environment)
    if not python.exists():
        raise PenstockError(
            f"the environment {environment} is missing",
            where=str(python),
            safe="nothing was measured",
            next=f"python3 -m deploy.bootstrap {environment}",
        )
    done = subprocess.run(
        [str(python), "-m", f"{_HERE}.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, "FEAST_USAGE": "False", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
