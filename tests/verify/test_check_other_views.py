"""Inputs from views of other pipelines: whatever a prediction says of them is checked against their own topics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from streams.definitions.cascade import Cascade
from streams.plan.other_views import OtherView
from tests.other_pipelines import INPUTS, resolved, taps
from verify.categories import codes
from verify.check_other_views import OtherViewFindings, check_other_views
from verify.published import Published

MODEL, OTHERS = taps().model, resolved(taps())
T0 = 1_760_000_000_000 // 3_600_000 * 3_600_000
MINUTE = 60_000
NULL = float("nan")
(NL,), (UNKNOWN,) = codes(["NL"]), codes(["??"])
BY_CARD = {"view": "cards:by_card@2", "entity": "c1", "epoch": 1, "seq": 1, "as_of": T0}
BY_PAIR = {"view": "cards:by_pair@1", "entity": "c1|7", "epoch": 1, "seq": 1, "as_of": T0}


def use(offset: int, as_of: int = T0, seq: int = 1, published_ms: int = T0, **changes: Any) -> Published:
    """A feature record of the other pipeline."""
    emission = {"entity": "c1", "epoch": 1, "seq": seq, "as_of": as_of, "late": False}
    by_card = {"count_1m": 4, "count_1h": 5, "amount_sum_1h": 2.5, "country_last_1h": "NL", "busy": True}
    value = {
        "event_time": as_of,
        "trigger": "event",
        "source": {"partition": 0, "offset": offset},
        "by_card": emission | by_card | {"country_last_k_1h": ["NL"]} | changes,
        "by_pair": emission | {"entity": "c1|7", "count_10m": 3, "gate_last_10m": 7},
        "by_holder": None,
    }
    return Published(0, offset, b"k", value, timestamp=published_ms)


def tap(offset: int, card: str | None = "c1", gate: int | None = 7) -> Published:
    """A feature record of the pipeline itself."""
    source = {"partition": 0, "offset": offset}
    return Published(0, offset, b"k", {"source": source, "trigger": "event", "event": {"card": card, "gate": gate}})


def prediction(
    offset: int,
    inputs: Sequence[float],
    *,
    at_ms: int = T0,
    served: Sequence[Mapping[str, Any]] = (),
    defaulted: Mapping[str, str] | None = None,
) -> Published:
    """A prediction with these inputs of other pipelines: count and country, and of the pair, and whether it is busy."""
    vector = dict.fromkeys(INPUTS, 1.0) | dict(zip([name for name in INPUTS if ":" in name], inputs, strict=True))
    value = {
        "source": {"partition": 0, "offset": offset},
        "model": "taps",
        "event_time": at_ms,
        "scored_at": at_ms + 5,
        "vector": np.array([vector[name] for name in INPUTS], "<f4").tobytes(),
        "views": [{"view": "by_gate@1", "entity": "7", "epoch": 1, "seq": 1, "as_of": T0}, *served],
        "defaulted": [{"view": f"cards:{view}", "reason": reason} for view, reason in (defaulted or {}).items()],
    }
    return Published(0, offset, b"k", value)


FRESH = (4, NL, 3, 1)
USES = [use(0)]
GOOD = [
    prediction(0, FRESH, served=(BY_CARD, BY_PAIR)),
    # Two minutes later the minute has passed the event, and what is derived from it is null.
    prediction(1, (0, NL, 3, NULL), at_ms=T0 + 2 * MINUTE, served=(BY_CARD, BY_PAIR)),
    prediction(2, (0, NL, NULL, NULL), at_ms=T0 + 11 * MINUTE, served=(BY_CARD,), defaulted={"by_pair": "EXPIRED"}),
    prediction(
        3, (0, UNKNOWN, NULL, 0), at_ms=T0 + 61 * MINUTE, defaulted={"by_card": "EXPIRED", "by_pair": "EXPIRED"}
    ),
    prediction(4, (0, UNKNOWN, NULL, 0), defaulted={"by_card": "MISSING", "by_pair": "UNREACHABLE"}),
    prediction(5, (0, UNKNOWN, NULL, 0), defaulted={"by_card": "NO_ENTITY", "by_pair": "NO_ENTITY"}),
]
TAPS = [tap(0), tap(1), tap(2), tap(3), tap(4), tap(5, card=None)]


def check(
    predictions: Sequence[Published],
    uses: Sequence[Published] | None = USES,
    taps: Sequence[Published] = TAPS,
    others: tuple[OtherView, ...] = OTHERS,
) -> OtherViewFindings:
    return check_other_views(MODEL, others, taps, predictions, {} if uses is None else {"cards": uses})


def with_value(one: Published, **changes: Any) -> Published:
    return dataclasses.replace(one, value={**one.value, **changes})


def test_what_was_served_and_what_was_not_holds() -> None:
    findings = check(GOOD)
    assert (findings.examples, findings.mismatches, findings.served, findings.unchecked) == ([], 0, 5, [])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (prediction(0, (5, *FRESH[1:]), served=(BY_CARD, BY_PAIR)), "the vector has [5.0"),
        (prediction(0, (0, *FRESH[1:]), served=(BY_CARD, BY_PAIR)), "the vector has [0.0"),
        (prediction(0, (4, UNKNOWN, 3, 1), served=(BY_CARD, BY_PAIR)), "cards:by_card: "),
        (prediction(1, FRESH, at_ms=T0 + 2 * MINUTE, served=(BY_CARD, BY_PAIR)), "has [0.0"),
        (prediction(0, (0, UNKNOWN, 3, 0), served=(BY_PAIR,)), "tells of the views ['cards:by_pair']"),
        (prediction(0, FRESH, served=(BY_CARD, BY_PAIR, BY_PAIR)), "tells of the views"),
        (prediction(0, FRESH, served=(BY_CARD, BY_PAIR), defaulted={"by_pair": "MISSING"}), "tells of the views"),
        (prediction(0, FRESH, served=(BY_CARD,), defaulted={"by_pair": "MISSING"}), "the defaults are [nan]"),
        (prediction(0, (4, NL, NULL, 1), served=(BY_CARD,), defaulted={"by_pair": "LATE"}), "'LATE' is none of"),
        (prediction(0, (4, NL, NULL, 1), served=(BY_CARD,), defaulted={"by_pair": "NO_ENTITY"}), "names c1|7"),
        (prediction(0, (4, NL, NULL, 1), served=(BY_CARD,), defaulted={"by_pair": "EXPIRED"}), "had expired"),
        (prediction(5, (0, UNKNOWN, NULL, 0), defaulted={"by_card": "MISSING", "by_pair": "NO_ENTITY"}), "no entity"),
        (prediction(0, FRESH, served=({**BY_CARD, "entity": "c2"}, BY_PAIR)), "is that of c2, the event names c1"),
        (prediction(0, FRESH, served=({**BY_CARD, "seq": 2}, BY_PAIR)), "was published before the prediction"),
        (prediction(0, FRESH, served=({**BY_CARD, "as_of": T0 + 1}, BY_PAIR)), "was published before the prediction"),
        (prediction(5, FRESH, served=(BY_CARD, BY_PAIR)), "the event names no entity"),
        (prediction(0, FRESH, at_ms=T0 - 9_000, served=(BY_CARD, BY_PAIR)), "was published before the prediction"),
        (prediction(3, (0, NULL, 0, NULL), at_ms=T0 + 61 * MINUTE, served=(BY_CARD, BY_PAIR)), "had expired"),
        (with_value(GOOD[0], vector=b""), "the vector has 0 bytes"),
    ],
)
def test_what_is_wrong_is_found(changed: Published, said: str) -> None:
    findings = check([one if one.offset != changed.offset else changed for one in GOOD])
    assert findings.mismatches >= 1
    assert said in findings.examples[0]


def test_one_of_two_emissions_with_the_same_numbers_is_enough() -> None:
    again = use(1, count_1m=5)
    assert check([prediction(0, (5, *FRESH[1:]), served=(BY_CARD, BY_PAIR))], [*USES, again]).mismatches == 0


def test_a_timers_vector_is_as_old_as_the_newest_event() -> None:
    timer = use(1, as_of=T0 + 2 * MINUTE, seq=1, count_1m=0, busy=None)
    timer = with_value(timer, trigger="timer", event_time=T0, by_pair=None)
    of_timer = {**BY_CARD, "as_of": T0 + 2 * MINUTE}
    one = prediction(0, (0, NL, 3, NULL), at_ms=T0 + 2 * MINUTE, served=(of_timer, BY_PAIR))
    assert check([one], [*USES, timer]).mismatches == 0


def test_vectors_whose_topic_was_not_read_are_told_of_but_defaults_are_checked() -> None:
    findings = check(GOOD, None)
    assert (findings.mismatches, findings.served) == (0, 0)
    assert findings.unchecked[0].startswith("5 vectors of views of other pipelines: ")
    wrong = prediction(4, (7, UNKNOWN, NULL, 0), defaulted={"by_card": "MISSING", "by_pair": "UNREACHABLE"})
    assert check([*GOOD[:4], wrong], None).mismatches == 1


def test_a_vector_that_kafka_may_have_deleted_is_told_of() -> None:
    findings = check(GOOD[:1], [use(8, seq=2)])
    assert findings.mismatches == 0
    assert findings.unchecked == [
        "2 vectors of views of other pipelines: the topic of the other pipeline does not have all records"
    ]


def test_values_are_compared_where_kafka_still_has_the_vector() -> None:
    wrong = prediction(0, (5, *FRESH[1:]), served=(BY_CARD, BY_PAIR))
    assert check([wrong], [use(8)]).mismatches == 1


def test_a_vector_of_another_version_is_told_of() -> None:
    one = prediction(0, FRESH, served=({**BY_CARD, "view": "cards:by_card@1"}, BY_PAIR))
    assert check([one]).unchecked == ["1 vector of views of other pipelines: they are of another version"]


def test_predictions_of_another_model_are_not_judged() -> None:
    assert check([with_value(GOOD[0], model="earlier", vector=b"")]).mismatches == 0


def test_predictions_by_the_strong_model_of_a_cascade_are_judged() -> None:
    by_strong = with_value(GOOD[0], model="big", vector=b"")
    cascaded = MODEL.model_copy(update={"cascade": Cascade(strong="big")})
    found = check_other_views(cascaded, OTHERS, TAPS, [by_strong], {"cards": USES})
    assert found.mismatches == 1


def test_a_pipeline_without_such_inputs_has_nothing_to_check() -> None:
    assert check(GOOD, others=()) == OtherViewFindings()
