"""Patterns of contracts: pydantic's engine and the kernel's agree on every pattern that a contract may have."""

from __future__ import annotations

import base64
import json
import time
from typing import Annotated

from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from schemas.patterns import check_pattern
from streams.inprocess.kernel import Kernel
from tests.schemas.samples import NOW_MS, SAMPLE_EVENT
from tests.streams.kernel.test_decode import PLAN

ALPHABET = "abAZ09-_.^$&~# \n\t\\[]{}()|*+?é😀\u2028\u0085"
CHARACTERS = st.sampled_from(ALPHABET)
ESCAPED = st.sampled_from([f"\\{c}" for c in r"\.+*?()|[]{}^$/&~#nrt-"])
ITEMS = st.one_of(CHARACTERS, ESCAPED, st.tuples(CHARACTERS, CHARACTERS).map(lambda pair: f"{min(pair)}-{max(pair)}"))
SETS = st.tuples(
    st.sampled_from(["[", "[^", "[-", "[^-"]),
    st.lists(ITEMS, max_size=4).map("".join),
    st.sampled_from(["]", "-]"]),
).map("".join)
REPEATS = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{0}", "{1}", "{2}", "{1,}", "{0,2}", "{2,3}?"])
ATOMS = CHARACTERS | ESCAPED | SETS | st.sampled_from([".", "^", "$", "|", "()", "(^)", "($)", "(a|)", "(?:^a)"])
SEQUENCES = st.lists(st.tuples(ATOMS, st.just("") | REPEATS).map("".join), min_size=1, max_size=5).map("".join)
PATTERNS = st.recursive(
    SEQUENCES,
    lambda inner: st.tuples(st.sampled_from(["(", "(?:"]), inner, st.just(")"), st.just("") | REPEATS, inner).map(
        "".join
    ),
    max_leaves=4,
)
TEXTS = st.lists(st.text(ALPHABET, max_size=8), min_size=20, max_size=20)


def by_kernel(kernel: Kernel, pattern: str, texts: list[str]) -> list[bool]:
    plan = PLAN.model_dump(mode="json")
    (field,) = (field for field in plan["source"]["fields"] if field["name"] == "country")
    field |= {"pattern": pattern, "pii": None}
    values = [json.dumps({**SAMPLE_EVENT, "country": text}).encode() for text in texts]
    records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS} for value in values]
    answers = kernel.decode(plan, [], base64.b64encode(b"key").decode(), records)
    return ["reason" not in answer for answer in answers]


def by_pydantic(pattern: str, texts: list[str]) -> list[bool]:
    adapter = TypeAdapter(Annotated[str, Field(pattern=pattern)])

    def matches(text: str) -> bool:
        try:
            adapter.validate_python(text)
        except ValidationError:
            return False
        return True

    return [matches(text) for text in texts]


@settings(max_examples=1500, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(PATTERNS, TEXTS)
def test_both_engines_match_the_same_texts(kernel: Kernel, pattern: str, texts: list[str]) -> None:
    try:
        check_pattern(pattern)
        expected = by_pydantic(pattern, texts)
    except (ValueError, SchemaError):
        reject()  # a contract with it cannot be defined
    assert by_kernel(kernel, pattern, texts) == expected


def test_a_long_text_is_matched_in_linear_time_and_without_deep_recursion(kernel: Kernel) -> None:
    pattern, text = "^([A-Z0-9]|-)+$", "A-" * 3_000
    plan = PLAN.model_copy(update={"source": PLAN.source.model_copy(update={"max_bytes": 1 << 20})})
    fields = plan.model_dump(mode="json")
    (field,) = (field for field in fields["source"]["fields"] if field["name"] == "country")
    field |= {"pattern": pattern, "pii": None}
    texts = [text, text + "!", "A" * 500_000 + "!"]
    values = [json.dumps({**SAMPLE_EVENT, "country": each}).encode() for each in texts]
    records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS} for value in values]
    began = time.monotonic()
    answers = kernel.decode(fields, [], base64.b64encode(b"key").decode(), records)
    assert ["reason" not in answer for answer in answers] == [True, False, False]
    assert by_pydantic(pattern, texts) == [True, False, False]
    assert time.monotonic() - began < 30
