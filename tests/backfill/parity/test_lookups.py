"""What events were given from reference data: a row of another time is found, and explains what follows from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backfill.parity.check import Parity, check_parity
from backfill.parity.rows import BackfillRows
from backfill.parity.sample import Sample
from backfill.parity.sources import Range, Sources
from backfill.parity.values import Cause
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.testing import Event, Reference, features_of
from schemas.codec import Encoder
from streams.inprocess.features_of import PII_KEY, shared_kernel
from streams.plan.feature_records import features_schema
from streams.plan.project import Project
from tests.lookups import SHOP, pipeline

NOON = 1_772_366_400_000
DEFINITION = pipeline(lookups=(SHOP,))
PAYMENTS = [{"id": f"e{n}", "time": NOON + n * 1_000, "card": "c", "shop": "s", "amount": 1.0} for n in range(4)]
FRENCH, GERMAN = ({"shop": "s", "country": land, "risk": risk} for land, risk in (("FR", 0.25), ("DE", 0.75)))


def parity_of(folder: Path, taken: list[Any], rows: list[Record], changes: dict[int, dict[str, Any]]) -> Parity:
    """A job took these payments and references in this order; the topic has ``rows``; ``changes`` of its records."""
    project = Project.of(DEFINITION, folder)
    outcomes = features_of(DEFINITION, [Event(one) if isinstance(one, dict) else one for one in taken])
    encoder, features = Encoder(features_schema(project.plan)), []
    for offset, outcome in enumerate(one for one in outcomes if one.emitted):
        part = outcome.views["spend"]
        assert part is not None
        source = {"topic": "events.lookups", "partition": 0, "offset": offset, "timestamp": NOON + offset * 1_000}
        record = {
            "event_id": f"e{offset}",
            "event_time": NOON + offset * 1_000,
            "trigger": "event",
            "attempt": 1,
            "source": source,
            "event": {name: outcome.columns[name] for name, _ in project.plan.passthrough},
            "spend": {"entity": "c", "epoch": 1, "seq": part.seq, "as_of": part.as_of, "late": False, **part.values},
        }
        record["event"] |= changes.get(offset, {})
        features.append(Record(0, offset, NOON, b"c", encoder.encode(record), ()))
    payments = [Record(0, n, one["time"], b"c", json.dumps(one).encode(), ()) for n, one in enumerate(PAYMENTS)]
    topics = {"events.lookups": payments, "reference.shops": rows, "features.lookups": features}

    def read(topic: str) -> Iterator[Record]:
        return iter(topics.get(topic, ()))

    sources = Sources(
        read, lambda _: project.features_decoder(), pii_key=PII_KEY, taken={"events.lookups": {0: 99, 1: 99}}
    )
    return check_parity(project, sources, Range(0, 2**62, Sample()), shared_kernel())


def row(offset: int, at_ms: int, value: dict[str, Any] | None) -> Record:
    return Record(0, offset, NOON + at_ms, b"s", None if value is None else json.dumps(value).encode(), ())


def causes(parity: Parity) -> dict[Cause, int]:
    return {cause: count for cause, count in parity.findings.by_cause().items() if count}


TAKEN = [PAYMENTS[0], Reference("shop", FRENCH), PAYMENTS[1], Reference("shop", GERMAN), PAYMENTS[2], PAYMENTS[3]]


def test_rows_that_arrived_as_they_were_served_differ_in_nothing(tmp_path: Path) -> None:
    parity = parity_of(tmp_path, TAKEN, [row(0, 500, FRENCH), row(1, 1_500, GERMAN)], {})
    assert causes(parity) == {}
    assert parity.findings.compared["features", "event"] == 4 * 3
    assert parity.findings.compared["features", "spend@1"] == 4 * 6


@pytest.mark.parametrize(
    ("rows", "values"),
    [
        ([row(0, 500, FRENCH), row(1, 2_500, GERMAN)], 2),
        ([row(0, 500, FRENCH), row(1, 1_500, GERMAN), row(2, 2_500, None)], 2),
        ([row(1, 1_500, GERMAN)], 2),
        ([row(0, -9, FRENCH), row(1, 1_500, GERMAN)], 2),
    ],
    ids=["late", "deleted before it was used", "compacted", "not seen at once"],
)
def test_a_row_of_another_time_is_the_cause_at_its_event_alone(tmp_path: Path, rows: list[Record], values: int) -> None:
    parity = parity_of(tmp_path, TAKEN, rows, {})
    assert causes(parity) == {Cause.REFERENCE: values}
    assert {tally.name for tally in parity.findings.differing} == {"shop_country", "shop_risk"}


def test_a_value_that_no_row_ever_had_is_unexplained_unless_compaction_may_have_removed_it(tmp_path: Path) -> None:
    whole = [row(0, 500, FRENCH), row(1, 1_500, GERMAN)]
    parity = parity_of(tmp_path, TAKEN, whole, {2: {"shop_risk": 0.5}})
    assert causes(parity)[Cause.UNEXPLAINED] >= 1
    (example, *_) = parity.findings.examples["features", "event", Cause.UNEXPLAINED]
    assert (example.name, example.served, example.recomputed) == ("shop_risk", 0.5, 0.75)


def test_a_feature_that_does_not_follow_from_what_was_given_is_unexplained(tmp_path: Path) -> None:
    rows = [row(0, 500, FRENCH), row(1, 1_500, GERMAN)]
    parity = parity_of(tmp_path, TAKEN, rows, {1: {"shop_risk": 0.75, "shop_country": "DE"}})
    found = causes(parity)
    assert found[Cause.REFERENCE] == 2, "the record says that it was given the later row"
    assert found[Cause.UNEXPLAINED] >= 1, "and its features are of the earlier one"


def test_rows_of_a_backfill_are_refused(tmp_path: Path) -> None:
    project = Project.of(DEFINITION, tmp_path)
    rows = cast("BackfillRows", SimpleNamespace(backfill=SimpleNamespace(folder=tmp_path)))
    sources = Sources(lambda _: iter(()), lambda _: project.features_decoder())
    with pytest.raises(PenstockError, match="the rows of a backfill follow from reference data by Kafka's timestamps"):
        check_parity(project, sources, Range(0, 1), shared_kernel(), rows)
