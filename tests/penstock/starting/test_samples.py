"""Rows come from records, and columns from the schemas of a registry; what cannot be read is told with what to do."""

from __future__ import annotations

import json
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastavro
import pytest

from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.playing.files import Row
from penstock.starting import samples as module
from penstock.starting.roles import Answers, decide
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


def topic_of(values: list[bytes | None], monkeypatch: pytest.MonkeyPatch) -> module.Sample:
    """The sample of a topic with these values."""
    records = [Record(0, offset, 0, None, value, ()) for offset, value in enumerate(values)]
    monkeypatch.setattr(module, "admin_client", lambda _: None)
    monkeypatch.setattr(module, "partition_counts", lambda *_: {"ads": 1})
    monkeypatch.setattr(module, "_newest", lambda *_: {0: 0})
    monkeypatch.setattr(module, "read_topic", lambda *_, **__: iter(records))
    access: Any = "kafka"
    return module.sample_of_topic("ads", access, None, 100_000)


def shown(number: int, **fields: Any) -> dict[str, Any]:
    return {"ts": 1_772_366_400_000 + number, "user_id": f"u{number % 9}", "ad": {"id": f"a{number % 5}"}} | fields


def in_cloudevents(event: dict[str, Any]) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": event}


@pytest.mark.parametrize("wrap", [dict, in_cloudevents])
def test_a_few_broken_records_are_named_and_decide_nothing(wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    good = [json.dumps(wrap(shown(number))).encode() for number in range(100)]
    without = shown(1)
    del without["ts"]
    broken = [b"\xff\x00", json.dumps(wrap(shown(1, ad="oops"))).encode(), json.dumps(wrap(without)).encode()]
    sample = topic_of([*good, *broken, b'{"ts": 17}', *good], monkeypatch)
    assert sample.unreadable == ("ads[0]@100: neither JSON nor Avro",)
    lacks = "it is not in the envelope of nearly all others" if wrap is not dict else "ts has no time"
    assert [text.split(",")[0] for text in sample.strays] == [
        "ads[0]@101: ad is a text",
        "ads[0]@102: ts has no time",
        f"ads[0]@103: {lacks}",
    ]
    kept = [one for one in sample.findings.columns if one.place[0] != "$envelope"]
    assert [(one.path, one.nullable) for one in kept] == [("ts", False), ("user_id", False), ("ad.id", False)]
    assert sample.findings.rows == 200
    draft = decide(sample.findings, "ads", Answers(), lambda question: question.safe)
    assert (draft.time, draft.unit) == ("ts", "milliseconds")


def test_if_more_than_a_few_rows_have_no_time_the_error_says_how_many_and_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [shown(n) | ({"ts": None} if n % 10 == 3 else {}) for n in range(100)]
    sample = topic_of([json.dumps(row).encode() for row in rows], monkeypatch)
    assert sample.strays == ()
    with pytest.raises(PenstockError) as refused:
        decide(sample.findings, "ads", Answers(), lambda question: question.safe)
    assert "ts is missing or null in 10 of 100 records, first in ads[0]@3" in (refused.value.where or "")


def test_a_field_that_a_few_rows_do_not_have_stays_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [shown(n) | ({} if n == 3 else {"price": 1.5}) for n in range(100)]
    sample = topic_of([json.dumps(row).encode() for row in rows], monkeypatch)
    assert sample.strays == ()
    assert sample.findings.columns[-1].nullable


def test_a_time_that_is_named_is_required_though_another_is_in_each_row(tmp_path: Path) -> None:
    rows = [shown(n, received_at=1_772_366_400_000) | ({"ts": None} if n == 3 else {}) for n in range(100)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert module.sample_of_file(tmp_path / "a.jsonl", 1_000).strays == ()
    assert module.sample_of_file(tmp_path / "a.jsonl", 1_000, "ts").strays == (
        "line 4: ts has no time, as nearly all others have",
    )


def test_cells_of_a_csv_with_a_leading_zero_are_no_strays(tmp_path: Path) -> None:
    rows = "".join(f"177236640000{n % 10},{'007' if n == 3 else n}\n" for n in range(100))
    (tmp_path / "a.csv").write_text(f"ts,code\n{rows}")
    sample = module.sample_of_file(tmp_path / "a.csv", 1_000)
    assert (sample.strays, [one.type for one in sample.findings.columns]) == ((), ["long", "string"])


def test_a_full_disk_is_told_with_what_helps() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(PenstockError, match="No space left") as told:
        module._keep(Row(1, {}), full)
    assert told.value.safe == "nothing was written"


def test_a_time_as_a_text_is_found_though_a_few_rows_have_another_text_or_come_before_it(tmp_path: Path) -> None:
    texts: dict[int, str | None] = {0: None, 3: "soon", 4: "soon"}
    rows = [{"user_id": "u", "at": texts.get(n, f"2026-03-01T12:00:{n % 60:02}Z")} for n in range(100)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sample = module.sample_of_file(tmp_path / "a.jsonl", 1_000)
    assert [text.split(":")[0] for text in sample.strays] == ["line 1", "line 4", "line 5"]
    assert sample.findings.columns[1].time == "iso8601"


def test_rows_that_lack_this_or_that_count_if_together_they_are_more_than_a_few(tmp_path: Path) -> None:
    rows = [shown(n) | ({"ts": None} if n % 25 == 3 else {"ad": "oops"} if n % 25 == 4 else {}) for n in range(100)]
    del rows[0]["user_id"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sample = module.sample_of_file(tmp_path / "a.jsonl", 1_000)
    assert (sample.strays, sample.findings.rows) == ((), 100)
    lacking = {one.path: one.lacking for one in sample.findings.columns}
    assert lacking == {"ts": "4 of 100 lines, first in line 4", "user_id": "1 of 100 lines, first in line 1"}
