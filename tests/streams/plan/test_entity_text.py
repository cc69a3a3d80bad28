"""Entities as text, with one key column or several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contract import pii_hash
from streams.plan.entity_text import composite_text, split_entity, stored_entity_text

PARTS = st.lists(st.text(alphabet="a|\\\n", max_size=4), min_size=2, max_size=4)


@given(PARTS, PARTS)
def test_two_composite_entities_never_have_the_same_text(one: list[str], other: list[str]) -> None:
    assert (composite_text(one) == composite_text(other)) == (one == other)


@given(PARTS)
def test_the_parts_of_a_composite_entity_can_be_read_back(parts: list[str]) -> None:
    text = composite_text(parts)
    assert text is not None
    assert split_entity(text) == parts


def test_a_composite_entity_with_a_null_part_is_null() -> None:
    assert composite_text(["a", None]) is None
    assert composite_text(["a", ""]) == "a|"


def test_only_the_personal_parts_of_an_entity_are_hashed() -> None:
    assert stored_entity_text(r"4111|a\|b", [True, False], b"k") == pii_hash(b"k", "4111") + r"|a\|b"
    assert stored_entity_text("a|b", [True], b"k") == pii_hash(b"k", "a|b")
    with pytest.raises(ValueError, match="zip"):
        stored_entity_text("4111", [True, False], b"k")
