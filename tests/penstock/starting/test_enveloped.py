"""Rows that are all in one envelope begin a project whose source declares it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from penstock import CloudEvents, Debezium
from penstock.kafka.reading import Record
from penstock.starting import samples
from penstock.starting.enveloped import Opening
from penstock.starting.samples import sample_of_file
from schemas.contract import contract_fields
from streams.definitions.loading import load_pipeline
from tests.penstock.starting.examples import project

CHANGE: dict[str, Any] = {"op": "c", "before": None, "after": {"id": 1, "at": 1_772_368_200_000}}
CLOUD_EVENT: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"x": 1}}
DELETE = {"op": "d", "before": {"id": 1}, "after": None}


@pytest.mark.parametrize(
    ("rows", "envelope"),
    [
        ([CHANGE, {"schema": {}, "payload": DELETE}], Debezium(operations=("insert", "delete"))),
        ([CHANGE, {"op": "t", "before": None, "after": None}], Debezium(operations=("insert",))),
        ([{"op": "t", "before": None, "after": None}], None),
        ([CLOUD_EVENT, {name: CLOUD_EVENT[name] for name in CLOUD_EVENT if name != "data"}], CloudEvents()),
        ([CHANGE, CLOUD_EVENT], None),
        ([CHANGE, {"id": 1}], None),
        ([{"op": "c"}, {"op": "c", "payload": 1}], None),
        ([CLOUD_EVENT | {"source": {}}], None),
        ([CLOUD_EVENT | {"data": "x"}], None),
        ([CLOUD_EVENT | {"data_base64": "e30="}], None),
        ([], None),
    ],
)
def test_rows_of_one_envelope_are_recognised(rows: list[dict[str, Any]], envelope: Any) -> None:
    opening = Opening()
    for row in rows:
        opening.event(row)
    assert opening.envelope == envelope


def changes() -> list[dict[str, Any]]:
    rows = [{"id": n % 9, "customer_id": f"c{n % 5}", "total": n / 2, "tags": ["a"]} for n in range(30)]
    source = [{"connector": "postgresql", "ts_ms": 1_772_368_200_000 + n * 60_000} for n in range(30)]
    return [
        {"before": None, "after": row, "source": of, "op": "cu"[n % 2]}
        for n, (row, of) in enumerate(zip(rows, source, strict=True))
    ]


def cloud_events() -> list[dict[str, Any]]:
    times = [f"2026-03-01T12:{n:02}:00Z" for n in range(30)]
    return [
        {**CLOUD_EVENT, "id": str(n), "time": time, "data": {"customer_id": f"c{n % 5}", "total": n / 2}}
        for n, time in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("kind", "rows", "envelope", "paths"),
    [
        (
            *("debezium", changes(), Debezium()),
            ["id", "customer_id", "total", "tags", "$envelope.op", "$envelope.source.ts_ms"],
        ),
        (
            *("cloudevents", cloud_events(), CloudEvents()),
            ["customer_id", "total", "$envelope.source_and_id", "$envelope.type", "$envelope.time"],
        ),
    ],
)
def test_the_project_of_rows_in_an_envelope_declares_it_and_its_test_passes(
    kind: str, rows: list[dict[str, Any]], envelope: Any, paths: list[str], tmp_path: Path, monkeypatch: Any
) -> None:
    file, name = tmp_path / "rows.jsonl", f"shop_{kind}"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = project(sample_of_file(file, 100), name, tmp_path)
    assert written.refused == ()
    source = load_pipeline(str(written.folder / "pipeline.py")).source
    assert source.envelope == envelope
    assert [field.path for field in contract_fields(source.contract)] == paths
    assert ("penstock play" in (written.folder / "README.md").read_text()) == (kind == "cloudevents")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module(f"{name}.test_features")
    for test in (test for test in dir(module) if test.startswith("test_")):
        getattr(module, test)()


def test_cloudevents_in_binary_mode_are_read_as_those_in_structured_mode() -> None:
    headers = tuple((f"ce_{name}", CLOUD_EVENT[name].encode()) for name in ("specversion", "id", "source", "type"))
    values = samples._Values(None)
    assert values.row(1, Record(0, 0, 0, None, b'{"x": 1}', headers)).fields == CLOUD_EVENT
    assert values.row(1, Record(0, 0, 0, None, None, headers)).fields == CLOUD_EVENT | {"data": {}}
    assert values.row(1, Record(0, 0, 0, None, b"x", headers)).problem == "neither JSON nor Avro"
