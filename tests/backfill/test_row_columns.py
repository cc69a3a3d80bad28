"""Encoded feature records become rows: every type and null, and the same by columns as one by one."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from backfill.row_columns import RowColumns
from schemas.codec import Encoder, Undecodable
from schemas.columns import FEWEST
from streams.plan.feature_records import features_schema
from tests.backfill.feature_rows import PLAN, VALUES, plain, record

ENCODER = Encoder(features_schema(PLAN))
ROWS = RowColumns(PLAN, ("a", "b"))


def encoded(*records: dict[str, Any]) -> list[bytes]:
    return [ENCODER.encode(one) for one in records]


def exact(column: pa.Array | pa.ChunkedArray) -> list[str]:
    """The values as text, in which NaN equals NaN and zeros have signs."""
    return list(map(str, column.to_pylist()))


@pytest.mark.parametrize("times", [1, FEWEST])
def test_every_type_and_null_is_a_row_s_value(times: int) -> None:
    records = [record(offset, VALUES[offset % 4]) for offset in range(4 * times)]
    rows = plain(pa.Table.from_batches([ROWS.batch(encoded(*records))]))
    for offset, row in enumerate(rows):
        values = VALUES[offset % 4]
        assert {name: row[f"event.{name}"] for name in values} == values
        assert {name: row[f"a.{name[0]}"] for name in values} == values
        lists = {name: value if value is None else [value] * (offset % 3) for name, value in values.items()}
        assert {name: row[f"a.{name[0]}s"] for name in values} == lists
        assert str(row["a.d"]) == str(values["double"]), "the sign of zero is lost"
        assert (row["event_id"], row["event_time"], row["source.offset"]) == (f"id{offset}", 1_000 + offset, offset)
        assert (row["a.entity"], row["a.as_of"], row["a.late"], row["a.seq"]) == ("e", 2_000, False, offset + 1)
        assert (row["b.entity"], row["b.seq"], row["b.d"]) == (None, None, None)


def test_random_records_give_the_same_by_columns_as_one_by_one() -> None:
    chance = random.Random(3)

    def values() -> dict[str, Any]:
        integer = chance.choice([0, -1, 63, 2**20, 2**55, -(2**55), 2**63 - 1, None])
        text = chance.choice(["", "a", "çelik", "x" * 70, None])
        double = chance.choice([0.5, -0.0, float("inf"), float("nan"), None])
        return {"string": text, "long": integer, "double": double, "boolean": chance.choice([True, False, None])}

    records = [record(offset, values()) for offset in range(500)]
    for one in chance.sample(records, 100):
        one["b"], one["a"] = {"entity": "b", "epoch": 1, "seq": 2, "as_of": 3, "late": True, "d": 1.5}, None
    found = encoded(*records)
    by_columns = ROWS.batch(found)
    one_by_one = pa.Table.from_batches([ROWS.batch([value]) for value in found])
    for name in by_columns.schema.names:
        assert exact(by_columns[name]) == exact(one_by_one[name]), name
    by_columns.validate(full=True)


def test_a_subset_of_the_views_gives_the_same_columns() -> None:
    values = encoded(*(record(offset, VALUES[offset % 4]) for offset in range(FEWEST)))
    names = [name for name in ROWS.schema.names if not name.startswith("a.")]
    assert RowColumns(PLAN, ("b",)).batch(values).equals(ROWS.batch(values).select(names))


@pytest.mark.parametrize("garbage", [b"", b"\xc3\x01", b"{}"])
def test_a_value_that_is_no_feature_record_is_an_error(garbage: bytes) -> None:
    with pytest.raises(Undecodable):
        ROWS.batch([*encoded(*map(record, range(FEWEST))), garbage])
