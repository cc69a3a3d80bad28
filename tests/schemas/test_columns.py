"""The column reader against the decoder that reads one record after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import HEADER_LENGTH, Decoder, Encoder, Undecodable, UnknownSchema
from schemas.columns import ColumnReader, Columns

FOUND_BY_HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=100)

REF = {
    "type": "record",
    "name": "Ref",
    "fields": [{"name": "view", "type": "string"}, {"name": "seq", "type": "long"}, {"name": "raw", "type": "bytes"}],
}
INNER = {
    "type": "record",
    "name": "Inner",
    "fields": [
        {"name": "entity", "type": "string"},
        {"name": "seq", "type": "long"},
        {"name": "late", "type": "boolean"},
        {"name": "mean", "type": ["null", "double"]},
        {"name": "count", "type": "long"},
        {"name": "largest", "type": ["null", "long"]},
        {"name": "top", "type": {"type": "array", "items": "string"}},
        {"name": "lasts", "type": ["null", {"type": "array", "items": "double"}]},
        {"name": "last", "type": ["null", "string"]},
        {"name": "packed", "type": "bytes"},
        {"name": "refs", "type": {"type": "array", "items": REF}},
        {"name": "raw", "type": ["null", "bytes"]},
    ],
}
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Outer",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "time", "type": "long"},
        {"name": "part", "type": "int"},
        {"name": "price", "type": "double"},
        {"name": "first", "type": ["null", INNER]},
        {"name": "flag", "type": ["null", "boolean"]},
        {"name": "second", "type": ["null", "Inner"]},
    ],
}
# The reader takes no names of types defined earlier: the schemas of feature records have none.
SCHEMA["fields"][-1]["type"][1] = INNER | {
    "name": "Inner2",
    "fields": [
        field
        if field["name"] != "refs"
        else {"name": "refs", "type": {"type": "array", "items": REF | {"name": "Ref2"}}}
        for field in INNER["fields"]
    ],
}

# The last three fields.
TAIL = {"type": "record", "name": "Tail", "fields": INNER["fields"][-3:]}

NUMBERS = (
    "time",
    "part",
    "price",
    "flag",
    *(f"{v}.{n}" for v in ("first", "second") for n in ("seq", "mean", "count")),
)
NUMBERS += tuple(f"{view}.{name}" for view in ("first", "second") for name in ("late", "largest"))
TEXTS = ("id", *(f"{view}.{name}" for view in ("first", "second") for name in ("entity", "last")))

short_longs = st.integers(-(2**54), 2**54) | st.integers(-200, 200)
texts = st.text(max_size=9) | st.text(min_size=60, max_size=80)
doubles = st.floats(width=64)
blobs = st.binary(max_size=9) | st.just(b"\xff" * 70)
inners = st.fixed_dictionaries(
    {
        "entity": texts,
        "seq": short_longs,
        "late": st.booleans(),
        "mean": st.none() | doubles,
        "count": short_longs,
        "largest": st.none() | short_longs,
        "top": st.lists(texts, max_size=3),
        "lasts": st.none() | st.lists(doubles, max_size=3),
        "last": st.none() | texts,
        "packed": blobs,
        "refs": st.lists(st.fixed_dictionaries({"view": texts, "seq": short_longs, "raw": blobs}), max_size=3),
        "raw": st.none() | blobs,
    }
)
records = st.fixed_dictionaries(
    {
        "id": texts,
        "time": short_longs,
        "part": st.integers(-(2**31), 2**31 - 1),
        "price": doubles,
        "first": st.none() | inners,
        "flag": st.none() | st.booleans(),
        "second": st.none() | inners,
    }
)

REST = {"packed": b"\1", "refs": [], "raw": None}

encoder, decoder, reader = Encoder(SCHEMA), Decoder(SCHEMA), ColumnReader(SCHEMA)


def value_at(record: dict[str, Any], name: str) -> Any:
    outer, _, inner = name.partition(".")
    if not inner:
        return record[outer]
    return None if record[outer] is None else record[outer][inner]


def assert_columns_hold(columns: Columns, expected: dict[int, dict[str, Any]]) -> None:
    """Each of these rows has the values of its record."""
    for name in NUMBERS:
        numbers, present = columns.numbers(name), columns.present(name)
        for row, record in expected.items():
            value = value_at(record, name)
            assert present[row] == (value is not None), name
            assert columns.sizes(name)[row] == len(columns.encoded(name)[row]), name
            np.testing.assert_equal(numbers[row], np.nan if value is None else float(value), name)
    for name in TEXTS:
        found = columns.texts(name)
        assert [found[row] for row in expected] == [value_at(record, name) for record in expected.values()], name
        encoded = columns.text_bytes(name)
        assert all(encoded[row] == (None if found[row] is None else str(found[row]).encode()) for row in expected), name
    for view in ("first", "second"):
        found = columns.encoded(f"{view}.packed", f"{view}.raw")
        for row, record in expected.items():
            inner = record[view]
            tail = b"" if inner is None else Encoder(TAIL).encode(inner)[HEADER_LENGTH:]
            assert found[row] == tail
    for name in ("time", "part", "first.seq", "first.largest", "second.count"):
        integers = columns.integers(name)
        assert [integers[row] for row in expected] == [value_at(record, name) or 0 for record in expected.values()], (
            name
        )


@FOUND_BY_HYPOTHESIS
@given(st.lists(records, max_size=8))
def test_columns_hold_what_the_decoder_reads(batch: list[dict[str, Any]]) -> None:
    columns = reader.locate([encoder.encode(record) for record in batch])
    assert columns.plain.all()
    assert_columns_hold(columns, dict(enumerate(batch)))


@FOUND_BY_HYPOTHESIS
@given(st.lists(records, min_size=1, max_size=6), st.data())
def test_a_damaged_record_is_either_not_plain_or_read_as_the_decoder_reads_it(
    batch: list[dict[str, Any]], data: st.DataObject
) -> None:
    values = [bytearray(encoder.encode(record)) for record in batch]
    for _ in range(data.draw(st.integers(1, 4))):
        victim = values[data.draw(st.integers(0, len(values) - 1))]
        match data.draw(st.sampled_from(["change", "cut", "append", "insert"])):
            case "change" if victim:
                victim[data.draw(st.integers(0, len(victim) - 1))] = data.draw(st.integers(0, 255))
            case "cut":
                del victim[data.draw(st.integers(0, len(victim))) :]
            case "append":
                victim += data.draw(st.binary(min_size=1, max_size=12))
            case _:
                victim.insert(data.draw(st.integers(0, len(victim))), data.draw(st.integers(0, 255)))
    columns = reader.locate([bytes(value) for value in values])
    assert_columns_hold(columns, {row: decoder.decode(bytes(values[row])) for row in np.flatnonzero(columns.plain)})


@FOUND_BY_HYPOTHESIS
@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_damage_of_one_record_leaves_the_others_plain(batch: list[dict[str, Any]], data: st.DataObject) -> None:
    values = [encoder.encode(record) for record in batch]
    damaged = data.draw(st.integers(0, len(values) - 1))
    values[damaged] = data.draw(st.binary(max_size=40))
    plain = reader.locate(values).plain
    assert [row for row, is_plain in enumerate(plain) if not is_plain] == [damaged]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda value: value[:-1], "cut off"),
        (lambda value: value + b"\0", "a byte left over"),
        (lambda _: b"", "empty"),
        (lambda value: value[:HEADER_LENGTH], "nothing but a header"),
        (lambda value: value[:5] + b"\0" + value[6:], "another schema"),
        (lambda value: value.replace(b"\x04ab", b"\x04\xc3("), "text that is not UTF-8"),
        (lambda value: value.replace(b"\x04ab", b"\x03"), "text of negative length"),
    ],
)
def test_a_record_that_the_decoder_refuses_is_not_plain(change: Any, reason: str) -> None:
    inner = {"entity": "e", "seq": 1, "late": True, "mean": None, "count": 1, "largest": 2, "top": [], "lasts": None}
    record = {"id": "ab", "time": 1, "part": 1, "price": 1.0, "flag": True, "second": None}
    good = encoder.encode(record | {"first": inner | REST | {"last": "x"}})
    columns = reader.locate([good, change(good), good])
    assert columns.plain.tolist() == [True, False, True], reason
    with pytest.raises((Undecodable, UnknownSchema)):
        decoder.decode(change(good))


def test_what_is_plain_for_the_decoder_alone_is_left_to_it() -> None:
    inner = {
        "entity": "e",
        "seq": 2**60,
        "late": True,
        "mean": None,
        "count": 1,
        "largest": 2,
        "lasts": None,
        "last": "",
    }
    record = {"id": "ab", "time": 1, "part": 1, "price": 1.0, "flag": True, "second": None}
    large = encoder.encode(record | {"first": inner | REST | {"top": []}})
    long = encoder.encode(record | {"first": inner | REST | {"seq": 1, "top": ["x"] * 101}})
    assert reader.locate([large, long]).plain.tolist() == [False, False]
    assert decoder.decode(large)["first"]["seq"] == 2**60
    assert len(decoder.decode(long)["first"]["top"]) == 101


@FOUND_BY_HYPOTHESIS
@given(st.lists(records, max_size=4))
def test_the_bytes_of_fields_are_those_of_the_record(batch: list[dict[str, Any]]) -> None:
    values = [encoder.encode(record) for record in batch]
    columns = reader.locate(values)
    head, rest = columns.encoded("id", "price"), columns.encoded("first")
    inner_encoder = Encoder(INNER)
    for row, record in enumerate(batch):
        assert values[row][HEADER_LENGTH:].startswith(head[row])
        inner = b"" if record["first"] is None else inner_encoder.encode(record["first"])[HEADER_LENGTH:]
        assert rest[row] == inner
        assert columns.encoded("first.entity", "first.raw")[row] == inner


@pytest.mark.parametrize(("text", "expected"), [("ab", True), ("abc", False), ("a", False), ("ac", False), ("", False)])
def test_a_text_is_compared_whole(text: str, expected: bool) -> None:
    record = {"id": "ab", "time": 1, "part": 1, "price": 1.0, "first": None, "flag": True, "second": None}
    assert reader.locate([encoder.encode(record)]).equals("id", text).tolist() == [expected]
