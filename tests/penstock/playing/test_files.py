"""Rows of files, and their values as a contract has them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import Field

from penstock import EVENT_ID, EVENT_TIME, ISO8601, NANOSECONDS, AsDecimal, At, Contract
from penstock.errors import PenstockError
from penstock.playing.files import Row, has_lines, is_text, read_rows
from penstock.playing.values import as_event
from schemas.producer import validated

TIME_MS = 1_760_000_000_123
TIME = datetime.fromtimestamp(TIME_MS / 1000, UTC)


class Payment(Contract, name="play_payment", version=1):
    payment_id: Annotated[str, EVENT_ID, At("payment.id")]
    at: Annotated[int, EVENT_TIME, ISO8601] = Field(alias="@timestamp")
    amount: Annotated[float, At("payment.amount"), AsDecimal(scale=2)]
    fee: Annotated[str, AsDecimal(scale=2)]
    settled: Annotated[int | None, At("payment.settled"), NANOSECONDS] = None


class Sale(Contract, name="play_sale", version=1):
    sale_id: Annotated[str, EVENT_ID]
    at: Annotated[int, EVENT_TIME]
    price: float
    is_new: bool
    note: str | None = None
    place: str = ""


SALE = {"sale_id": "7", "at": TIME_MS, "price": 2.0, "is_new": True}


def written(path: Path, content: str | bytes) -> list[Row]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path))


def test_json_lines_name_the_line_of_what_is_none_and_pass_over_empty_ones(tmp_path: Path) -> None:
    rows = written(
        tmp_path / "x.jsonl",
        b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n[1]\n\xff\n'
        + b"[" * 50_000
        + b"\n"
        + b'{"a": 2}\n{"a": '
        + b"9" * 5_000
        + b"}\n",
    )
    assert [(row.number, row.fields.get("a")) for row in rows if row.problem is None] == [(1, 1), (7, 2)]
    assert {row.number: row.problem for row in rows if row.problem} == {
        3: "not JSON at column 7",
        4: "not a JSON object",
        5: "not JSON",
        6: "not JSON",
        8: "an integer has more digits than any field can hold",
    }


def test_a_csv_names_the_first_line_of_a_row_and_what_has_too_few_cells(tmp_path: Path) -> None:
    rows = written(tmp_path / "x.CSV", '\ufeffa,b\n1,"two\nlines"\n3\n\n4,5\n')
    assert rows[0] == Row(2, {"a": "1", "b": "two\nlines"})
    assert rows[1] == Row(4, {}, "1 cells, and the header has 2")
    assert rows[2] == Row(6, {"a": "4", "b": "5"})
    assert written(tmp_path / "y.csv", "") == []


def test_a_bad_row_of_a_csv_that_takes_several_lines_by_a_stray_quote_names_them(tmp_path: Path) -> None:
    rows = written(tmp_path / "x.csv", 'a,b\n1,"x\n2,y\n3,z"z\n4,w\n5,"x\n6,y",7\n')
    assert [(row.number, row.fields) for row in rows] == [(2, {}), (5, {"a": "4", "b": "w"}), (6, {})]
    assert str(rows[0].problem).endswith("by a quote, lines 2 to 4 are one row")
    assert rows[2].problem == "3 cells, and the header has 2; by a quote, lines 6 to 7 are one row"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.txt", "a", "says no format"),
        ("x.csv", "a,a\n1,2\n", "two columns"),
        ("x.csv", b"a\n\xff\xfe\n", "is not UTF-8"),
        ("x.csv", 'a,b\n1,2\n3,"x\n4,5\n6,7\n', "line 3: a quote begins a cell that does not end"),
        ("x.parquet", "no parquet", "cannot be read"),
        ("x.avro", "no avro", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_and_nothing_was_sent(
    tmp_path: Path, name: str, content: str | bytes, expected: str
) -> None:
    with pytest.raises(PenstockError, match=expected) as refused:
        written(tmp_path / name, content)
    assert refused.value.safe == "nothing was sent"


def test_all_formats_have_the_same_events_of_a_contract_with_nested_and_converted_fields(tmp_path: Path) -> None:
    files = {name: tmp_path / f"x.{name}" for name in ("jsonl", "csv", "parquet", "avro")}
    time = TIME.replace(microsecond=TIME.microsecond + 900)  # rounded down, as by the job
    text = time.isoformat()
    nested = f'{{"id": "7", "amount": "12.50", "settled": {TIME_MS}900000, "more": 1}}'
    files["jsonl"].write_text(f'{{"payment": {nested}, "@timestamp": "{text}", "fee": "0.50"}}\n')
    files["csv"].write_text(
        f"payment.id,@timestamp,payment.amount,fee,payment.settled\n7,{text},12.50,0.5,{TIME_MS}900000\n"
    )
    inner = {"id": "7", "amount": Decimal("12.50"), "settled": time}
    typed = {"payment": inner, "@timestamp": time, "fee": Decimal("0.5")}
    pq.write_table(pa.Table.from_pylist([typed]), files["parquet"])
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    amounts = [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": decimal},
        {"name": "settled", "type": ["null", {"type": "long", "logicalType": "timestamp-nanos"}]},
    ]
    schema = {
        "type": "record",
        "name": "Payment",
        "fields": [
            {"name": "payment", "type": {"type": "record", "name": "Inner", "fields": amounts}},
            {"name": "_timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "fee", "type": decimal},
        ],
    }
    record = {"payment": inner | {"settled": TIME_MS * 1_000_000 + 900_000}, "_timestamp": time, "fee": Decimal("0.5")}
    with files["avro"].open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), [record])
    for name, path in files.items():
        (row,) = read_rows(path)
        event = validated(as_event(row.fields, Payment, is_text=is_text(path)), Payment, "events")
        expected = {"payment_id": "7", "at": TIME_MS, "amount": 12.5, "fee": "0.50", "settled": TIME_MS}
        assert event.model_dump() == expected, name


def test_a_number_that_no_double_holds_is_left_for_the_contract_to_refuse() -> None:
    assert as_event({"price": 10**400}, Sale, is_text=False) == {"price": 10**400}


def test_all_formats_have_the_same_events(tmp_path: Path) -> None:
    files = {name: tmp_path / f"x.{name}" for name in ("jsonl", "csv", "parquet", "avro")}
    files["jsonl"].write_text(f'{{"sale_id": "7", "at": {TIME_MS}, "price": 2.0, "is_new": true, "other": 1}}\n')
    files["csv"].write_text(f"sale_id,at,price,is_new,note,place,other\n7,{TIME_MS},2,TRUE,,,1\n")
    typed = {"sale_id": "7", "at": TIME, "price": Decimal("2.00"), "is_new": True, "note": None, "other": 1}
    pq.write_table(pa.Table.from_pylist([typed]), files["parquet"])
    schema = {
        "type": "record",
        "name": "Sale",
        "fields": [
            {"name": "sale_id", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "price", "type": "int"},
            {"name": "is_new", "type": "boolean"},
        ],
    }
    with files["avro"].open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), [SALE | {"at": TIME, "price": 2}])
    for name, path in files.items():
        (row,) = read_rows(path)
        event = Sale.model_validate(as_event(row.fields, Sale, is_text=is_text(path)))
        assert event.model_dump() == SALE | {"note": None, "place": ""}, name
        assert has_lines(path) == (name in ("jsonl", "csv"))


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("at", "1e3", "1e3"),
        ("at", "", None),
        ("at", " 1", " 1"),
        ("at", "9" * 5_000, "9" * 5_000),
        ("price", "1,5", "1,5"),
        ("price", "nan", "nan"),
        ("price", "-.5e1", -5.0),
        ("is_new", "1", "1"),
        ("is_new", "False", False),
        ("sale_id", "", ""),
        ("sale_id", "0012", "0012"),
        ("note", "", None),
    ],
)
def test_a_text_becomes_what_it_surely_means_and_else_stays_for_the_contract_to_refuse(
    field: str, text: str, value: Any
) -> None:
    found = as_event({field: text}, Sale, is_text=True)
    assert found == ({} if value is None else {field: value})
