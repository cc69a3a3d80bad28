from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.starting.enveloped import envelope_note
from penstock.starting.samples import sample_of_file

CHANGE = {"op": "c", "before": None, "after": {"id": 1, "at": 1_772_368_200_000}}
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"x": 1}}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([CHANGE, {"schema": {}, "payload": CHANGE}], "envelope=Debezium"),
        ([CLOUD_EVENT], "envelope=CloudEvents"),
        ([CHANGE, CLOUD_EVENT], None),
        ([CHANGE, {"id": 1}], None),
        ([{"op": "c"}, {"op": "c", "payload": 1}], None),
        ([CLOUD_EVENT | {"source": {}}], None),
        ([], None),
    ],
)
def test_rows_of_one_envelope_are_recognised(rows: list[dict[str, Any]], said: str | None) -> None:
    note = envelope_note(rows)
    assert note is None if said is None else said in str(note)


def test_whoever_begins_with_rows_in_an_envelope_hears_of_it(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(CHANGE) + "\n")
    assert "envelope=Debezium" in sample_of_file(file, 10).findings.notes[-1]
