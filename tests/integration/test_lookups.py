"""A pipeline with reference data on a real cluster: live, changed, restarted, replayed and compared."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from backfill.parity.check import check_parity
from backfill.parity.kafka import kafka_sources
from backfill.parity.report import as_json
from backfill.parity.sources import Range
from backfill.run import BackfillRequest
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from schemas.codec import Decoder
from streams.flink import lifecycle
from streams.inprocess.features_of import shared_kernel
from streams.plan.feature_records import features_schema
from streams.plan.project import open_project
from tests.backfills import run_quietly
from tests.published import published
from tests.streams.job_bench import KEY, PARTITIONS, START_MS, JobBench, prepared
from verify.check_backfill import check_backfill
from verify.check_features import check_features
from verify.judged_sources import judged_source
from verify.reading import read_backfill_data

# Longer than a reader takes to see a record.
_SETTLED_S = 2.0
_DEFINITION = '''
"""A pipeline of the tests."""

from penstock import Source
from tests.lookups import COUNTRY, CUSTOMER, SHOP, Payment
from tests.lookups import pipeline as make


def of(lookup, topic):
    return lookup.model_copy(update={{"topic": topic + ".{name}"}})


pipeline = make(
    name="{name}",
    source=Source(topic="events.{name}", contract=Payment, key="card", partitions=3),
    lookups=(of(SHOP, "shops"), of(COUNTRY, "countries"), of(CUSTOMER, "customers")),
)
'''


@pytest.fixture
def bench(
    stack_environment: dict[str, str], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[JobBench]:
    """The pipeline with its topics; its job is cancelled afterwards if it still runs."""
    monkeypatch.setenv("PENSTOCK_PII_KEY", KEY)
    file = tmp_path / f"lookups_{suffix}.py"
    file.write_text(_DEFINITION.format(name=f"lookups_{suffix}"), encoding="utf-8")
    bench = prepared(open_project(str(file)), Settings())
    yield bench
    lifecycle.cancel(bench.project, bench.settings)


def send(bench: JobBench, topic: str, *records: tuple[str, Any]) -> None:
    """Send records in order; None as a value is a tombstone."""
    producer = Producer(bench.settings.kafka.access.client())
    for key, value in records:
        encoded = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        partition = sum(key.encode()) % PARTITIONS if topic == bench.pipeline.source.topic else 0
        producer.produce(topic, encoded, key.encode(), partition)
    assert producer.flush(30) == 0


def payments(first: int) -> list[tuple[str, dict[str, Any]]]:
    """Six payments: by two cards, each in three shops."""
    return [
        (
            card,
            {
                "id": f"{first}-{number}",
                "time": START_MS + first * 1_000 + number * 10,
                "card": card,
                "customer": "ann",
                "shop": "abc"[number // 2],
            },
        )
        for number, card in enumerate(["x", "y"] * 3)
    ]


def given(bench: JobBench, first: int, count: int) -> dict[str, Any]:
    """What the payments that began with ``first`` were given, by shop; ``count`` records are there by then."""
    records = bench.features(count)
    return {one["event_id"][-1]: one["event"] for one in records if one["event_id"].startswith(f"{first}-")}


def test_events_are_given_what_was_known_also_after_a_restart_and_in_a_replay(bench: JobBench, tmp_path: Path) -> None:
    shops, countries, customers = bench.plan.reference_topics
    raw = bench.pipeline.source.topic
    french, german = ({"country": land, "risk": risk} for land, risk in (("FR", 0.25), ("DE", 0.75)))
    send(bench, shops, ("a", {"shop": "a", **french}), ("b", {"shop": "b", **german}), ("c", {"shop": "c", **german}))
    send(bench, shops, ("c", None), ("a", b"no JSON"), ("a", {"shop": "a", "risk": "much"}))
    send(bench, countries, ("FR", {"code": "FR", "area": 551}), ("DE", {"code": "DE", "area": 357}))
    send(bench, customers, ("ann", {"customer": "ann", "phone": "1", "vip": True}))
    time.sleep(_SETTLED_S)
    send(bench, raw, *payments(1))
    lifecycle.start(bench.project, bench.settings, checkpoint_interval_ms=500)
    first = given(bench, 1, 6)
    assert [first[n]["shop_risk"] for n in "024"] == [0.25, 0.75, None], "the first event waits for the rows"
    assert [first[n]["shop_country_of_area"] for n in "024"] == [551, 357, None]
    assert first["0"]["customer_of_vip"] is True

    send(bench, shops, ("a", {"shop": "a", **german}), ("b", None))
    time.sleep(_SETTLED_S)
    send(bench, raw, *payments(2))
    second = given(bench, 2, 12)
    assert [second[n]["shop_country"] for n in "024"] == ["DE", None, None]

    lifecycle.stop(bench.project, bench.settings)
    send(bench, shops, ("c", {"shop": "c", **french}))
    time.sleep(_SETTLED_S)
    send(bench, raw, *payments(3))
    lifecycle.start(
        bench.project, bench.settings, savepoint=lifecycle.LATEST, parallelism=2, checkpoint_interval_ms=500
    )
    third = given(bench, 3, 18)
    assert [third[n]["shop_country"] for n in "024"] == ["DE", None, "FR"]

    judged = judged_source(bench.project, 0, bench.settings)
    kafka = bench.settings.kafka.access
    records = published(read_topic(kafka, bench.pipeline.features_topic), Decoder(features_schema(bench.plan)))
    findings = check_features(bench.plan, judged.events, records)
    assert (findings.mismatches, findings.missing, findings.unexpected) == (0, 0, 0), findings.examples

    start, end = START_MS + 1_000, START_MS + 3_051
    manifest = run_quietly(bench.project, bench.settings, BackfillRequest(start, end, ()), tmp_path / "backfill")
    assert manifest.rows == 18
    replayed = check_backfill(
        bench.plan, read_backfill_data(tmp_path / "backfill"), judged.events, records, judged.timestamps
    )
    assert replayed.mismatches == 0, replayed.examples
    sources = kafka_sources(bench.project, bench.settings, start)
    parity = check_parity(bench.project, sources, Range(start, end), shared_kernel())
    assert sum(parity.findings.by_cause().values()) == 0, as_json(parity, [raw])
    assert parity.events == 18
