"""What a writer's schema says of a value; whole events: tests/schemas/test_codec.py and the kernel's tests."""

from __future__ import annotations

import math

import pytest

from schemas.conversions import column_value


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        (2, "12.34"),
        (2.0, "12.34"),
        (0, "1234.00"),
        ("2", "1234.00"),
        (None, "1234.00"),
        (True, "1234.00"),
        ([2], "1234.00"),
        (math.inf, "1234.00"),
    ],
)
def test_a_scale_that_is_no_number_is_none_as_in_the_kernel(scale: object, value: str) -> None:
    avro = {"penstock.logicalType": "decimal", "scale": scale}
    assert column_value((1234).to_bytes(2, "big"), "decimal", "string", 2, 10, avro) == value
