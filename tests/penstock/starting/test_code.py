"""Windows hold some events of an entity; the model takes what it can learn from."""

from __future__ import annotations

import pytest

from penstock.starting.code import pipeline_code, windows
from penstock.starting.texts import decisions
from tests.penstock.starting.test_roles import asked, rows

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("gap_ms", "shortest_ms"), [(100, 60_000), (60_000, 600_000), (HOUR, HOUR), (48 * HOUR, 24 * HOUR)]
)
def test_the_windows_follow_from_the_gap_between_an_entitys_events(gap_ms: int, shortest_ms: int) -> None:
    draft, _ = asked(rows(at=lambda n: 1_772_366_400_000 + n * gap_ms // 10))  # of ten cards
    assert windows(draft, "card_id")[0] == shortest_ms


def test_texts_of_few_values_are_inputs_of_the_model_and_others_are_not() -> None:
    draft, _ = asked(rows(channel=lambda n: "ab"[n % 2], remark=lambda n: f"r{n}", price=lambda n: n / 2))
    code = pipeline_code(draft, "shop", "events.shop", None, "rows")
    inputs = [name for name in ("channel", "remark", "price", "card_id", "order_id") if f'"event.{name}"' in code]
    assert inputs == ["channel", "price"]


def test_what_is_the_same_in_all_rows_is_no_input_of_the_model_and_is_told() -> None:
    findings = rows(type="shop.order", specversion=1, is_web=True, channel=lambda n: "ab"[n % 2], fee=maybe)
    draft, _ = asked(findings)
    code = pipeline_code(draft, "shop", "events.shop", None, "rows")
    inputs = [name for name in ("type", "specversion", "is_web", "channel", "fee") if f'"event.{name}"' in code]
    assert inputs == ["channel", "fee"]
    told = "no inputs of the model, as all rows have one value: type, specversion, is_web"
    assert told in decisions(draft)


def test_a_few_rows_do_not_tell_what_is_always_the_same() -> None:
    draft, _ = asked(rows(3, is_web=True))
    assert '"event.is_web"' in pipeline_code(draft, "shop", "events.shop", None, "rows")


def maybe(number: int) -> float | None:
    return 1.5 if number % 2 else None
