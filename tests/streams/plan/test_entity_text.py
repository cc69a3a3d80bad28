"""An entity as text, also where several columns name it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contract import pii_hash
from streams.plan.entity_text import composite_text, hashed_text, parts_of

PARTS = st.lists(st.text(alphabet="a|\\\n", max_size=4), min_size=2, max_size=4)


@given(PARTS, PARTS)
def test_two_composite_entities_never_have_one_text(one: list[str], other: list[str]) -> None:
    assert (composite_text(one) == composite_text(other)) == (one == other)


@given(PARTS)
def test_the_parts_of_a_composite_entity_can_be_read_back(parts: list[str]) -> None:
    text = composite_text(parts)
    assert text is not None
    assert parts_of(text) == parts


def test_without_one_of_its_parts_there_is_no_entity() -> None:
    assert composite_text(["a", None]) is None
    assert composite_text(["a", ""]) == "a|"


def test_only_the_personal_parts_of_an_entity_are_hashed() -> None:
    assert hashed_text(r"4111|a\|b", [True, False], b"k") == pii_hash(b"k", "4111") + r"|a\|b"
    assert hashed_text("a|b", [True], b"k") == pii_hash(b"k", "a|b")
    with pytest.raises(ValueError, match="zip"):
        hashed_text("4111", [True, False], b"k")
