"""The event id is read from a prediction's bytes without decoding them, in every schema that was ever committed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.client.reading import event_id_of
from schemas.codec import HEADER_LENGTH, MARKER
from schemas.history import committed_schemas


def value(event_id: bytes) -> bytes:
    """The beginning of a prediction: header, length (zigzag varint), id."""
    length, number = bytearray(), 2 * len(event_id)
    while number > 0x7F:
        length.append(number & 0x7F | 0x80)
        number >>= 7
    return MARKER.ljust(HEADER_LENGTH, b"x") + bytes(length) + bytes([number]) + event_id


@given(st.text(max_size=200), st.binary(max_size=20))
def test_the_id_is_found_before_whatever_follows(event_id: str, rest: bytes) -> None:
    assert event_id_of(value(event_id.encode()) + rest) == event_id


@pytest.mark.parametrize("broken", [None, b"", b"hello", value(b"abc")[:-1], MARKER, value(b"")[:-1] + b"\xff" * 20])
def test_what_is_no_prediction_has_no_id(broken: bytes | None) -> None:
    assert event_id_of(broken) is None


@given(st.binary(max_size=40))
def test_no_bytes_raise(value: bytes) -> None:
    event_id_of(MARKER + value)


def test_the_id_is_the_first_field_of_every_committed_schema() -> None:
    schemas = committed_schemas("prediction")
    assert schemas
    assert {schema["fields"][0]["name"] for schema in schemas} == {"event_id"}
