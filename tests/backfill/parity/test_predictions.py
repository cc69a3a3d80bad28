"""Vectors with inputs of another pipeline: what was served in their place, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from backfill.parity.findings import Findings
from backfill.parity.predictions import (
    OTHER_GONE,
    OTHER_UNREADABLE,
    OtherEmission,
    OtherTopic,
    Predictions,
    compare_predictions,
    read_others,
)
from backfill.parity.served import Served, ServedRecord
from backfill.parity.sources import Sources
from backfill.parity.values import Place
from penstock.kafka.reading import Record
from schemas.codec import Undecodable, UnknownSchema
from scoring.vectors import Vectorizer
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import FeaturesDecoder
from streams.plan.project import Project
from tests.other_pipelines import resolved, taps

MINUTE = 60_000
AT = 100 * MINUTE
PLACE = Place(0, 0, 7)
PIPELINE = taps()
PART = {
    "entity": "4111",
    "epoch": 1,
    "seq": 3,
    "as_of": AT - MINUTE // 2,
    "count_1m": 2,
    "count_1h": 4,
    "amount_sum_1h": 9.5,
    "country_last_1h": "FR",
    "country_last_k_1h": ["FR"],
    "busy": False,
}
PAIR = PART | {"entity": "4111|5", "count_10m": 1, "gate_last_10m": 5}
NOT_SERVED = {"cards:by_card": "MISSING", "cards:by_pair": "NO_ENTITY"}


def compared(
    *,
    vector: Mapping[str, float] | None = None,
    defaulted: Mapping[str, str] | None = None,
    part: Mapping[str, Any] = PART,
    event: Mapping[str, Any] | None = None,
    is_whole: bool = True,
    version: int = 2,
    published: int = AT,
) -> tuple[dict[str, int], Mapping[str, int]]:
    """Causes and what was not compared, of one prediction; the pair of card and gate has its vector."""
    project = Project("taps", PIPELINE, compile_plan(PIPELINE), Path(), resolved(PIPELINE))
    value = {
        "event": {"card": "4111", "gate": 5} | (event or {}),
        "by_gate": {"entity": "5", "epoch": 1, "seq": 1, "as_of": AT, "late": False, "count_1h": 6},
    }
    served = Served(first={PLACE: ServedRecord("features.taps", 0, 7, AT, value)})
    own = Vectorizer(PIPELINE.model.inputs, PIPELINE.categories).vectors([value])[0]
    codes = {"FR": Vectorizer(("event.c",), ("event.c",)).vectors([{"event": {"c": "FR"}}])[0][0]}
    others = {
        "cards:by_card.count_1m": 2.0,
        "cards:by_card.country_last_1h": codes["FR"],
        "cards:by_pair.count_10m": 1.0,
        "cards:by_card.busy": 0.0,
    }
    for name, number in (others | dict(vector or {})).items():
        own[PIPELINE.model.inputs.index(name)] = number
    defaulted = defaulted or {}
    refs: list[tuple[str, str, Mapping[str, Any]]] = [("by_gate", "by_gate@1", value["by_gate"])]
    refs += [("cards:by_card", f"cards:by_card@{version}", PART), ("cards:by_pair", "cards:by_pair@1", PAIR)]
    prediction = {
        "model": "taps",
        "vector": own.astype("<f4").tobytes(),
        "event_time": AT,
        "scored_at": AT,
        "defaulted": [{"view": view, "reason": reason} for view, reason in defaulted.items()],
        "views": [
            {"view": id_, **{name: of[name] for name in ("entity", "epoch", "seq", "as_of")}}
            for view, id_, of in refs
            if view not in defaulted
        ],
    }
    topics = {
        "cards:by_card": OtherTopic({"4111": [OtherEmission(part, part["as_of"], published)]}, is_whole),
        "cards:by_pair": OtherTopic({"4111|5": [OtherEmission(PAIR, PAIR["as_of"], AT)]}, is_whole),
    }
    findings = Findings()
    compare_predictions(
        project, served, Predictions({PLACE: ("predictions.taps[0]@1", prediction)}), topics, SOURCES, findings
    )
    causes = {cause.value: count for cause, count in findings.by_cause().items() if count}
    return causes, findings.not_compared


SOURCES = Sources(read=lambda _: iter(()), decoder_of=lambda _: pytest.fail("nothing is read"))
DEFAULT = {
    "cards:by_card.count_1m": 0.0,
    "cards:by_card.country_last_1h": float(
        Vectorizer(("event.c",), ("event.c",)).vectors([{"event": {"c": "??"}}])[0][0]
    ),
    "cards:by_card.busy": 0.0,
}
EXPIRED = PART | {"as_of": AT - 61 * MINUTE}


def test_a_vector_that_was_served_as_it_was_published_does_not_differ() -> None:
    assert compared() == ({}, {})


@pytest.mark.parametrize(
    ("changes", "causes"),
    [
        ({"defaulted": {"cards:by_card": "EXPIRED"}, "vector": DEFAULT, "part": EXPIRED}, {"expired": 3}),
        ({"defaulted": {"cards:by_card": "MISSING"}, "vector": DEFAULT}, {"missing vector": 3}),
        ({"defaulted": {"cards:by_card": "UNREACHABLE"}, "vector": DEFAULT}, {"missing vector": 3}),
        ({"version": 1}, {"version": 3}),
        # Claims that do not hold.
        ({"defaulted": {"cards:by_card": "EXPIRED"}, "vector": DEFAULT}, {"unexplained": 3}),
        ({"defaulted": {"cards:by_card": "MISSING"}}, {"unexplained": 3}),
        ({"defaulted": {"cards:by_card": "NO_ENTITY"}, "vector": DEFAULT}, {"unexplained": 3}),
        ({"defaulted": {"cards:by_card": "LOST"}, "vector": DEFAULT}, {"unexplained": 3}),
        ({"vector": {"cards:by_card.count_1m": 3.0}}, {"unexplained": 1}),
        ({"vector": {"cards:by_pair.count_10m": np.nan}}, {"unexplained": 1}),
        ({"part": PART | {"seq": 4}}, {"unexplained": 3}),
        ({"published": AT + MINUTE}, {"unexplained": 3}),
        (
            {
                "defaulted": {"cards:by_pair": "MISSING"},
                "vector": {"cards:by_pair.count_10m": np.nan},
                "event": {"gate": None},
            },
            {"unexplained": 1},
        ),
        ({"part": PART | {"count_1m": 5}}, {"unexplained": 1}),
    ],
)
def test_why_a_default_or_another_value_was_served(changes: dict[str, Any], causes: dict[str, int]) -> None:
    assert compared(**changes) == (causes, {})


def test_an_event_without_the_entity_has_the_defaults_in_a_recomputation_too() -> None:
    pair = {"cards:by_pair.count_10m": np.nan}
    event = {"gate": None}
    causes, _ = compared(defaulted={"cards:by_pair": "NO_ENTITY"}, vector=pair, event=event)
    assert causes == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"part": PART | {"seq": 4}},
        {"defaulted": {"cards:by_card": "EXPIRED"}, "vector": DEFAULT},
    ],
)
def test_what_the_other_pipeline_no_longer_keeps_is_not_compared(changes: dict[str, Any]) -> None:
    assert compared(**changes, is_whole=False) == ({}, {OTHER_GONE: 3})


@pytest.mark.parametrize(("error", "is_whole"), [(Undecodable("junk"), True), (UnknownSchema("newer"), False)])
def test_a_record_of_the_other_pipeline_that_cannot_be_read_is_counted_and_the_others_are_compared(
    error: Exception, is_whole: bool
) -> None:
    project = Project("taps", PIPELINE, compile_plan(PIPELINE), Path(), resolved(PIPELINE))
    value = {"event": {"card": "4111", "gate": 5}}
    served = Served(first={PLACE: ServedRecord("features.taps", 0, 7, AT, value)})
    good = {"event_time": AT, "trigger": "event", "by_card": PART, "by_pair": None}

    class Decoder:
        def decode(self, value: bytes, _where: str) -> Any:
            if value == b"good":
                return good
            raise error

    def read(_topic: str) -> Iterator[Record]:
        return iter([Record(0, n, AT, None, one, ()) for n, one in enumerate([b"bad", b"good"])])

    findings, decoder = Findings(), cast("FeaturesDecoder", Decoder())
    found = read_others(project, read, served, lambda _: decoder, findings)
    assert found["cards:by_card"] == OtherTopic({"4111": [OtherEmission(PART, PART["as_of"], AT)]}, is_whole)
    assert findings.not_compared == {OTHER_UNREADABLE: 1}
