"""Batches of feature records for tests: large enough for columns, and with everything that a record can have."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from schemas.columns import FEWEST
from tests.sinks.payments import encoded_features, features, spending, trade

texts = st.text(max_size=9) | st.just("c1")
longs = st.integers(-3, 300) | st.integers(-(2**63), 2**63 - 1)
counts = st.integers(0, 300) | st.just(2**63 - 1)
doubles = st.none() | st.floats(width=64)
# Seldom negative: such a record is a dead letter.
numbers = st.sampled_from([*range(40), 2**54, 2**63 - 1, -1])

spendings = st.fixed_dictionaries(
    {
        "entity": texts,
        "seq": numbers,
        "epoch": numbers,
        "as_of": longs,
        "late": st.booleans(),
        "count_1m": counts,
        "amount_mean_1h": doubles,
        "shop_last_1h": st.none() | texts,
        "shop_last_k_1h": st.none() | st.lists(texts, max_size=3),
        "amount_histogram_1h": st.lists(counts, max_size=3),
        "busy": doubles,
    }
).map(lambda values: spending(**values))
trades = st.fixed_dictionaries({"entity": texts, "seq": numbers, "is_new": st.none() | st.booleans()}).map(
    lambda values: trade(**values)
)
records = st.builds(
    lambda number, attempt, trigger, one, other: features(number, attempt, trigger=trigger, spending=one, trade=other),
    st.integers(0, 1_000),
    numbers,
    st.sampled_from(["event", "timer"]),
    st.none() | spendings,
    st.none() | trades,
)


def batches() -> st.SearchStrategy[list[dict[str, Any]]]:
    """A few drawn records, followed by as many plain ones as make columns worthwhile."""
    plain = [features(n, spending=spending(f"c{n}", n)) for n in range(FEWEST)]
    return st.lists(records, max_size=6).map(lambda drawn: drawn + plain)


def values_of(batch: list[dict[str, Any]]) -> list[bytes]:
    """The records as the job writes them."""
    return [encoded_features("payments", record) for record in batch]
