"""Rows come from records, and columns from the schemas of a registry; what cannot be read is told with what to do."""

from __future__ import annotations

import json
from decimal import Decimal
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import fastavro
import pytest

from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.starting import samples as module
from tests.penstock.starting.examples import BEGIN, SCHEMA, WRITERS

ROW = {
    "order_id": "1",
    "ordered_at": BEGIN,
    "customer": {"id": "c", "email": None},
    "amount": Decimal(1),
    "kind": "web",
}
ROW |= {"token": None, "day": BEGIN.date(), "seen": BEGIN, "tags": [], "lines": [], "either": "x"}


class Registry:
    """A client of a registry with one schema."""

    def __init__(self, kind: str = "AVRO", references: tuple[str, ...] = ()) -> None:
        self._schema = SimpleNamespace(schema_str=json.dumps(SCHEMA), schema_type=kind, references=references)

    def get_schema(self, number: int) -> Any:
        assert number == 7
        return self._schema

    def get_latest_version(self, subject: str) -> Any:
        assert subject == "orders-value"
        return SimpleNamespace(schema=self._schema)


def read(value: bytes | None, url: str | None = None) -> Any:
    return module._Values(url).row(1, Record(0, 0, 0, None, value, ()))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b'{"a": 1}', None),
        (b"[1]", "not a JSON object"),
        (b"\xff", "neither JSON nor Avro"),
        (None, "a tombstone"),
        (b"\xc3\x01abc", "Avro with the fingerprint of its schema: begin with the schema (--schema)"),
        (b"\0\0\0\0\x07x", "Avro of a registry: set PENSTOCK_SCHEMA_REGISTRY_URL"),
    ],
)
def test_a_record_is_a_row_or_has_a_problem(value: bytes | None, problem: str | None) -> None:
    assert read(value).problem == problem


def test_records_of_a_registry_are_read_with_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "registry_client", lambda _: Registry())
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), ROW)
    found = read(b"\0\0\0\0\x07" + out.getvalue(), "http://registry")
    assert (found.problem, found.fields["ordered_at"]) == (None, BEGIN)
    assert read(b"\0\0\0\0\x07" + out.getvalue()[:3], "http://registry").problem.startswith("Avro that cannot be read")


def test_a_subject_gives_the_columns_of_its_newest_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "registry_client", lambda _: Registry())
    found = module.sample_of_subject("orders-value", "http://registry")
    assert found.findings.columns[0].name == "order_id"


@pytest.mark.parametrize(
    ("client", "url", "what"),
    [
        (Registry(), None, "no schema registry is configured"),
        (Registry("THRIFT"), "http://registry", "is THRIFT, which is not read"),
        (Registry(references=("other",)), "http://registry", "refers to other schemas"),
        (SimpleNamespace(), "http://registry", "gives no schema of subject orders-value"),
    ],
)
def test_a_subject_without_a_schema_that_can_be_read_is_refused(
    client: Any, url: str | None, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "registry_client", lambda _: client)
    with pytest.raises(PenstockError, match=what) as refused:
        module.sample_of_subject("orders-value", url)
    assert refused.value.safe == "nothing was written"


def test_the_newest_records_of_a_topic_are_shared_between_its_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {0: (5, 1_000), 1: (0, 3), 2: (0, 0)}

    class Kafka:
        def __init__(self, _: dict[str, Any]) -> None: ...

        def get_watermark_offsets(self, at: Any, **_: float) -> tuple[int, int]:
            return ends[at.partition]

        def close(self) -> None: ...

    monkeypatch.setattr(module, "Consumer", Kafka)
    access: Any = SimpleNamespace(client=dict)
    assert module._newest("orders", access, 3, 300) == {0: 900, 1: 0, 2: 0}


def test_a_file_that_is_no_schema_is_refused(tmp_path: Any) -> None:
    WRITERS["avsc"](tmp_path / "a.avsc")
    (tmp_path / "a.avsc").write_text("{")
    with pytest.raises(PenstockError, match="the schema cannot be read"):
        module.sample_of_schema(tmp_path / "a.avsc")
