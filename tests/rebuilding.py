"""A version that `penstock model train` made without servers, and all that it takes to make it again, in one folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from threadpoolctl import threadpool_limits

from backfill import topic_reading
from penstock.cli import cli
from penstock.kafka.reading import Record
from penstock.paths import ROOT
from scoring.version_files import write_hashes
from sinks.archive.reading import Archive
from streams.definitions.loading import load_pipeline
from streams.plan.project import open_project
from tests.archives import archive_records
from tests.backfills import write_backfill

LABELS = "labels.rebuilt"
HOUR_MS = 3_600_000
_DEFINITION = """
from typing import Annotated

from penstock import (
    ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Labels, Model, Monitors, Pipeline, Source, View, count, sum_
)


class Tap(Contract, name="rebuilt_tap", version=1):
    tap_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    amount: float
    country: str


class TapLabel(Contract, name="rebuilt_label", version=1):
    tap_id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    truth: TYPE


card = Entity(name="card", key="card")
pipeline = Pipeline(
    name="rebuilt",
    source=Source(topic="events.rebuilt", contract=Tap, key="card", partitions=1),
    entities=(card,),
    views=(View(name="activity", version=1, entity=card, aggregates=(count(over="1h"), sum_("amount", over="1h"))),),
    model=Model(
        name="rebuilt",
        inputs=(INPUTS),
        threshold=0.5,
        positive="block",
        negative="pass",
        CASCADE
    ),
    labels=Labels(topic="labels.rebuilt", contract=TapLabel, value="truth", TASK),
    monitors=Monitors(inputs=("event.amount",), window=100, false_alarm_every=10_000),
)
"""
_KINDS = {
    "binary": ("bool", 'task="binary"'),
    "regression": ("float", 'task="regression"'),
    "multiclass": ("str", 'task="multiclass", positive="bad"'),
}
_LABEL = {
    "binary": lambda risk: risk > 1,
    "regression": float,
    "multiclass": lambda risk: "bad" if risk > 1 else "odd" if risk > 0 else "good",
}


@dataclass
class Site:
    """A folder with a pipeline, a backfill, an archive of labels, and a model repository."""

    folder: Path
    name: str = "rebuilt"

    @property
    def pipeline(self) -> Path:
        return self.folder / "rebuilt.py"

    @property
    def backfill(self) -> Path:
        return self.folder / "features"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def version(self) -> Path:
        return self.folder / "models" / self.name / "1"

    @property
    def reference(self) -> str:
        return f"{self.pipeline}:strong" if self.name == "big" else str(self.pipeline)

    @classmethod
    def make(
        cls, folder: Path, task: str = "binary", rows: int = 600, *, category: bool = True, is_cascade: bool = False
    ) -> Site:
        """Write everything but the version."""
        site = cls(folder, "big" if is_cascade else "rebuilt")
        kind, said = _KINDS[task]
        cascade = 'cascade=Cascade(strong="big"),' if is_cascade else ""
        inputs = [
            "event.amount",
            *(["event.country"] if category else []),
            "activity.amount_sum_1h",
            "activity.count_1h",
        ]
        text = (
            _DEFINITION.replace("INPUTS", json.dumps(inputs)[1:-1])
            .replace("TYPE", kind)
            .replace("TASK", said)
            .replace("CASCADE", cascade)
        )
        folder.mkdir(exist_ok=True)
        site.pipeline.write_text(text.replace("ENTITY, EVENT_ID", "Cascade, ENTITY, EVENT_ID", 1))
        rng = np.random.default_rng(5)
        amounts = rng.gamma(2.0, 10.0, rows).round(2)
        countries = rng.choice(["DE", "FR", "IT"], rows)
        risks = amounts / 25 + (countries == "IT") + rng.normal(0, 0.5, rows) - 0.5
        write_backfill(
            load_pipeline(str(site.pipeline)),
            site.backfill,
            [_record(n, float(amounts[n]), str(countries[n])) for n in range(rows)],
        )
        site.write_labels([(f"t{n}", _LABEL[task](float(risks[n]))) for n in range(rows)])
        return site

    def write_labels(self, labels: Sequence[tuple[str, Any]]) -> None:
        """Write the archive of the labels topic, in two partitions."""
        places = [(n % 2, n // 2) for n in range(len(labels))]
        values = [
            json.dumps({"tap_id": tap, "known_at": 1_800_000_000_000 + n, "truth": truth}).encode()
            for n, (tap, truth) in enumerate(labels)
        ]
        shutil.rmtree(self.archive, ignore_errors=True)
        self.archive_labels([Record(*place, 7, None, value, ()) for place, value in zip(places, values, strict=True)])

    def add_label(self, offset: int, tap: str, truth: Any) -> None:
        """Archive a further label of the first partition, in a batch of its own."""
        label = {"tap_id": tap, "known_at": 1_900_000_000_000, "truth": truth}
        self.archive_labels([Record(0, offset, 7, None, json.dumps(label).encode(), ())])

    def archive_labels(self, records: Sequence[Record]) -> None:
        """Archive labels after those that are there."""
        archive_records(self.archive, open_project(str(self.pipeline)), {LABELS: records})

    def labels(self) -> list[Record]:
        """The records of the archive."""
        return list(Archive(str(self.archive)).records(LABELS))

    def model(self, monkeypatch: pytest.MonkeyPatch, command: str, *options: str) -> Result:
        """Run a command of `penstock model` in this process; a training finds the labels of the archive in Kafka."""
        monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(self.folder / "models"))
        if command == "train":
            monkeypatch.setattr(topic_reading, "read_topic", lambda *_, **__: iter(self.labels()))
        return CliRunner().invoke(cli, ["model", command, self.reference, *options])

    def train(self, monkeypatch: pytest.MonkeyPatch, *options: str) -> Site:
        with threadpool_limits(4):  # what is made again has another number of cores
            done = self.model(monkeypatch, "train", "--backfill", str(self.backfill), "--author", "ada", *options)
        assert done.exit_code == 0, (done.output, done.exception)
        return self

    def rebuild(self, monkeypatch: pytest.MonkeyPatch, *options: str, data: bool = True) -> tuple[int, Any]:
        """Rebuild version 1 in this process; gives the exit code and the JSON object."""
        given = ("--backfill", str(self.backfill), "--source", str(self.archive)) if data else ()
        done = self.model(monkeypatch, "rebuild", "1", *given, "--json", *options)
        assert done.exit_code in (0, 3), (done.output, done.exception)
        return done.exit_code, json.loads(done.output)

    def copy(self, folder: Path) -> Site:
        shutil.copytree(self.folder, folder)
        return Site(folder, self.name)

    def edit_manifest(self, **changes: Any) -> None:
        """Forge the manifest of version 1, with hashes that fit."""
        path = self.version / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        write_hashes(self.version)

    def edit_features(self, column: str, row: int, change: Callable[[Any], Any]) -> None:
        """Change a value of the backfill."""
        (file,) = self.backfill.glob("*.parquet")
        table = pq.ParquetFile(file).read()
        values = table[column].to_pylist()
        values[row] = change(values[row])
        place = table.column_names.index(column)
        pq.write_table(table.set_column(place, table.field(place), pa.array(values, table.field(place).type)), file)

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.version / "manifest.json").read_text())
        return found


def in_clean_process(site: Site, cwd: Path, environment: Mapping[str, str], *options: str) -> tuple[int, Any]:
    """Rebuild version 1 in a process that knows nothing of this one, as on another machine."""
    cwd.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "penstock", "model", "rebuild", site.reference, "1", "--json"),
            *("--backfill", str(site.backfill), "--source", str(site.archive), *options),
        ],
        cwd=cwd,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(ROOT),
            "HOME": str(cwd),
            "PENSTOCK_MODEL_REPOSITORY": str(site.folder / "models"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads(done.stdout)


def _record(number: int, amount: float, country: str) -> dict[str, Any]:
    view = {"entity": "c", "epoch": 1, "seq": number, "as_of": number * HOUR_MS, "late": False}
    return {
        "event_id": f"t{number}",
        "event_time": number * HOUR_MS,
        "trigger": "event",
        "attempt": 0,
        "source": {"topic": "events.rebuilt", "partition": 0, "offset": number, "timestamp": 90},
        "event": {"amount": amount, "country": country},
        "activity": view | {"count_1h": 1 + number % 3, "amount_sum_1h": amount * (1 + number % 3)},
    }
