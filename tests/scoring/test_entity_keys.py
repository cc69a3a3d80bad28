"""The entities that an event names, by records one by one and as columns."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Encoder
from schemas.columns import ColumnReader
from scoring.entity_keys import EntityKeys, Keys
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from tests.other_pipelines import resolved, taps

PLAN = compile_plan(taps())
KEYS = EntityKeys(resolved(taps()), PLAN.passthrough)


def record(card: str | None = "c1", gate: int | None = 7, event_time: int = 0) -> dict[str, Any]:
    return {
        "event_id": "e",
        "event_time": event_time,
        "trigger": "event",
        "attempt": 0,
        "source": {"topic": "events.taps", "partition": 0, "offset": 0, "timestamp": 0},
        "event": {"card": card, "gate": gate},
        "by_gate": None,
    }


def test_an_event_names_an_entity_for_each_view() -> None:
    assert KEYS.of_record(record("a|b", 7, 12)) == Keys(12, ("a|b", r"a\|b|7"))


def test_an_entity_with_a_null_among_its_columns_is_none() -> None:
    assert KEYS.of_record(record(gate=None)).entities == ("c1", None)
    assert KEYS.of_record(record(card=None)).entities == (None, None)


cards, gates = st.none() | st.text(max_size=9), st.none() | st.integers(-(2**54), 2**54)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.builds(record, cards, gates, st.integers(-(2**54), 2**54)), min_size=1, max_size=5))
def test_columns_give_what_the_records_give_one_by_one(records: list[dict[str, Any]]) -> None:
    schema = features_schema(PLAN)
    located = ColumnReader(schema).locate([Encoder(schema).encode(one) for one in records])
    assert located.plain.all()
    assert KEYS.of_columns(located) == [KEYS.of_record(one) for one in records]
