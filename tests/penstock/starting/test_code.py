"""Windows hold some events of an entity; the model takes what it can learn from."""

from __future__ import annotations

import pytest

from penstock.starting.code import pipeline_code, windows
from tests.penstock.starting.test_roles import asked, rows

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("gap_ms", "shortest_ms"), [(100, 60_000), (60_000, 600_000), (HOUR, HOUR), (48 * HOUR, 24 * HOUR)]
)
def test_the_windows_follow_from_the_gap_between_an_entitys_events(gap_ms: int, shortest_ms: int) -> None:
    draft, _ = asked(rows(at=lambda n: 1_772_366_400_000 + n * gap_ms // 10))  # of ten cards
    assert windows(draft, "card_id")[0] == shortest_ms


def test_texts_of_few_values_are_inputs_of_the_model_and_others_are_not() -> None:
    draft, _ = asked(rows(channel=lambda n: "ab"[n % 2], remark=lambda n: f"r{n}", price=1.5))
    code = pipeline_code(draft, "shop", "events.shop", None, "rows")
    inputs = [name for name in ("channel", "remark", "price", "card_id", "order_id") if f'"event.{name}"' in code]
    assert inputs == ["channel", "price"]
