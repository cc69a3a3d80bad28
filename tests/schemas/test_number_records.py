"""Records of numbers, decoded by their pattern, against the general decoder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.avro import parse_avro
from schemas.codec import HEADER_LENGTH, Encoder, Undecodable, read_avro
from schemas.number_records import NumberRecords

KINDS: dict[str, Any] = {
    "count": "long",
    "flag": "boolean",
    "mean": ["null", "double"],
    "last": ["null", "long"],
    "is_new": ["null", "boolean"],
    "max": ["null", "double"],
}
SKIPPED = [{"name": "seq", "type": "long"}, {"name": "late", "type": "boolean"}]
FIELDS = [{"name": name, "type": kind} for name, kind in KINDS.items()]
SCHEMA = {"type": "record", "name": "Numbers", "fields": [*SKIPPED, *FIELDS]}
_numbers = NumberRecords.of(FIELDS, SKIPPED)
assert _numbers is not None
NUMBERS: NumberRecords = _numbers
ENCODER = Encoder(SCHEMA)
# Eight bytes of seven bits, one of them for the sign.
LONGS = st.integers(-(2**55), 2**55 - 1) | st.integers(-70, 70)
RECORDS = st.fixed_dictionaries(
    {
        "seq": LONGS,
        "late": st.booleans(),
        "count": LONGS,
        "flag": st.booleans(),
        "mean": st.none() | st.floats(),
        "last": st.none() | LONGS,
        "is_new": st.none() | st.booleans(),
        "max": st.none() | st.floats(),
    }
)
ONE = {"seq": 1, "late": False, "count": 2, "flag": True, "mean": 0.5, "last": -3, "is_new": None, "max": None}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


@settings(derandomize=True, deadline=None)
@given(RECORDS)
def test_the_values_are_those_that_were_written(record: dict[str, Any]) -> None:
    encoded = NUMBERS.locate(ENCODER.encode(record), HEADER_LENGTH)
    assert encoded is not None
    values = NUMBERS.values(encoded)
    assert list(values) == list(KINDS)
    assert all(same(value, record[name]) for name, value in values.items())


@settings(derandomize=True, deadline=None)
@given(st.lists(RECORDS, max_size=5))
def test_a_row_of_the_matrix_has_the_values_with_null_as_nan(records: list[dict[str, Any]]) -> None:
    encoded = [NUMBERS.locate(ENCODER.encode(record), HEADER_LENGTH) for record in records]
    matrix = NUMBERS.matrix([one for one in encoded if one is not None])
    expected = [[math.nan if record[name] is None else float(record[name]) for name in KINDS] for record in records]
    np.testing.assert_array_equal(matrix, np.array(expected).reshape(-1, len(KINDS)))


@settings(derandomize=True, deadline=None, max_examples=400)
@given(RECORDS, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3), st.integers(-9, 9))
def test_what_it_reads_of_damaged_bytes_is_what_the_decoder_reads(
    record: dict[str, Any], changes: list[tuple[int, int]], more: int
) -> None:
    data = bytearray(ENCODER.encode(record))
    for place, byte in changes:
        if HEADER_LENGTH + place < len(data):
            data[HEADER_LENGTH + place] = byte
    damaged = bytes(data[: max(HEADER_LENGTH, len(data) + more)]) + bytes(max(0, more))
    encoded = NUMBERS.locate(damaged, HEADER_LENGTH)
    if encoded is not None:
        expected = read_avro(damaged, HEADER_LENGTH, parse_avro(SCHEMA), None)
        assert all(same(value, expected[name]) for name, value in NUMBERS.values(encoded).items())


@pytest.mark.parametrize("place", range(1, 20))
def test_a_record_that_was_cut_short_does_not_fit(place: int) -> None:
    data = ENCODER.encode(ONE)
    with pytest.raises(Undecodable):
        read_avro(data[:-place], HEADER_LENGTH, parse_avro(SCHEMA), None)
    assert NUMBERS.locate(data[:-place], HEADER_LENGTH) is None


def test_an_integer_of_more_than_eight_bytes_is_left_to_the_decoder() -> None:
    assert NUMBERS.locate(ENCODER.encode(ONE | {"count": 2**55}), HEADER_LENGTH) is None


@pytest.mark.parametrize("kind", ["string", ["null", "string"], {"type": "array", "items": "long"}, "double"])
def test_records_with_other_fields_are_left_to_the_decoder(kind: Any) -> None:
    assert NumberRecords.of([*FIELDS, {"name": "other", "type": kind}], SKIPPED) is None
    assert NumberRecords.of(FIELDS, [{"name": "other", "type": kind}]) is None


def test_a_record_without_fields_is_left_to_the_decoder() -> None:
    assert NumberRecords.of([], SKIPPED) is None
