"""Helpers for tests of a real job: a small pipeline, its events, feature records and dead letters."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from schemas.codec import Decoder
from schemas.contract import pii_hash
from schemas.dead_letters import DeadLetter
from streams.definitions.pipeline import Pipeline
from streams.oracle.derived_features import derived_features
from streams.oracle.reference import Timed, accept_events, agrees, tolerance, vector
from streams.plan.feature_records import features_schema
from streams.plan.model import PipelinePlan
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project, open_project

PARTITIONS = 3
START_MS = 1_700_000_000_000
KEY = "the key of the job's tests, at least 32 characters"

_DEFINITION = '''
"""A pipeline of the tests."""

import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from penstock import *  # noqa: F403


class Payment(Contract, name="{name}_payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY, PII_HASH]
    shop: str | None = None
    amount: Annotated[float, Field(gt=0)]


def initial(shop: str | None) -> str | None:
    if Path("{gate}").is_file():
        time.sleep(0.005)
    return shop[:1] or None  # an event without a shop makes it raise: that must not stop the job


card, shop = Entity(name="card", key="card"), Entity(name="shop", key="shop")
by_card = View(
    name="by_card",
    version=1,
    entity=card,
    aggregates=(
        count(over=("10s", "5m")),
        sum_("cents", over=("10s", "5m")),
        std("amount", over="5m"),
        last("shop", over="5m"),
        approx_distinct("shop", over="5m"),
        time_since_last(where="amount > 50", name="since_large", over="5m"),
        last_k("shop", k=3, over="5m"),
        top_k("amount", k=3, over="5m"),
        most_frequent("shop", k=2, over="5m"),
        histogram("amount", buckets=(1, 50, 100), over="5m"),
    ),
    derived={{
        "busy": Derived(sql="count_10s / count_5m", type="double"),
        "last_logarithm": Derived(sql="LN(count_10s - 1)", type="double"),
        "against_shop": Derived(sql="COALESCE(last_logarithm, busy) * event.amount / by_shop.large_1m", type="double"),
        "tenths": Derived(sql="busy * 10 - shop_approx_distinct_5m", type="long"),
        "same_shop": Derived(sql="shop_last_5m = event.shop", type="boolean"),
    }},{refresh}
)
by_shop = View(
    name="by_shop",
    version=1,
    entity=shop,
    aggregates=(count(over="1m"), max_("amount", over="1m"), mean("cents", where="is_large", name="large", over="1m")),
    derived={{"share": Derived(sql="large_1m / (100 * amount_max_1m)", type="double")}},
)
pipeline = Pipeline(
    name="{name}",
    source=Source(
        topic="events.{name}", contract=Payment, key="card", partitions={partitions}, max_bytes=2_000{source}
    ),
    entities=(card, shop),
    derived={{
        "cents": Derived(sql="amount * 100", type="double"),
        "is_large": Derived(sql="cents > 5000", type="boolean"),
        "logarithm": Derived(sql="LN(amount - 5)", type="double"),
        "or_one": Derived(sql="COALESCE(logarithm, 1e0)", type="double"),
        {python}
    }},
    views=(by_card, by_shop),
    model=Model(name="{name}", inputs=by_card.inputs()[:2], threshold=0.5, positive="p", negative="n"),
    passthrough=("shop", "amount", "or_one"{carry}),
)
'''


@dataclass(frozen=True)
class JobBench:
    """One pipeline on one stack, with its topics."""

    project: Project
    settings: Settings

    @property
    def pipeline(self) -> Pipeline:
        """The definition."""
        return self.project.pipeline

    @property
    def plan(self) -> PipelinePlan:
        """The plan of the pipeline."""
        return self.project.plan

    def send(self, events: Iterable[dict[str, Any]]) -> None:
        """Produce events, each to the partition of its card."""
        self.send_raw((event["card"].encode(), json.dumps(event).encode()) for event in events)

    def send_raw(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Produce records, each to the partition of its key."""
        producer = Producer({**self.settings.kafka.access.client(), "message.max.bytes": 20_000_000})
        for key, value in records:
            partition = sum(key) % PARTITIONS
            producer.produce(self.pipeline.source.topic, value, key, partition, headers=[("trace", b"1")])
            producer.poll(0)
        assert producer.flush(30) == 0

    def features(self, count: int, timeout_s: float = 60) -> list[dict[str, Any]]:
        """All feature records, once there are at least ``count``; each with its partition and key."""
        decoder = Decoder(features_schema(self.plan))
        records = self._read(self.pipeline.features_topic, count, timeout_s)
        return [{**decoder.decode(r.value()), "partition": r.partition(), "key": r.key()} for r in records]

    def dead_letters(self, count: int, timeout_s: float = 60) -> list[DeadLetter]:
        """All dead letters, once there are at least ``count``."""
        records = self._read(self.pipeline.source.dead_letter_topic, count, timeout_s)
        return [DeadLetter.read(r.key(), r.value(), r.headers()) for r in records]

    def await_committed(self, count: int, timeout_s: float = 30) -> None:
        """Wait until the job's consumer group has committed that many events, as it does with each checkpoint."""
        group = f"penstock-{self.pipeline.name}-features"
        consumer = Consumer({**self.settings.kafka.access.client(), "group.id": group})
        partitions = [TopicPartition(self.pipeline.source.topic, p) for p in range(PARTITIONS)]
        deadline = time.monotonic() + timeout_s
        while sum(max(0, p.offset) for p in consumer.committed(partitions, timeout=10)) < count:
            assert time.monotonic() < deadline, "the offsets were not committed"
            time.sleep(0.1)
        consumer.close()

    def _read(self, topic: str, count: int, timeout_s: float) -> list[Any]:
        consumer = Consumer(
            {
                **self.settings.kafka.access.client(),
                "group.id": "not-used",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.message.max.bytes": 20_000_000,
            }
        )
        consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
        found: list[Any] = []
        deadline = time.monotonic() + timeout_s
        quiet_since = None
        try:
            while time.monotonic() < deadline:
                batch = consumer.consume(1000, timeout=0.2)
                found += [message for message in batch if message.error() is None]
                if batch or len(found) < count:
                    quiet_since = None
                elif quiet_since is None:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > 1:
                    # More than was asked for would be a fault too: give it time to come.
                    return found
        finally:
            consumer.close()
        raise AssertionError(f"{len(found)} of {count} records on {topic} after {timeout_s} s")


def define(folder: Path, suffix: str, *, python: bool = False, source: str = "", refresh: str = "") -> Project:
    """Write the definition of a pipeline of its own and load it.

    A Python column is slow, 5 ms a row, while ``folder`` has a file called ``gate``; ``source`` are arguments for the
    source, ``refresh`` is that of the cards.
    """
    name = f"job_{suffix}"
    text = _DEFINITION.format(
        name=name,
        partitions=PARTITIONS,
        gate=folder / "gate",
        python='"initial": PythonColumn(function=initial, columns=("shop",), type="string"),' if python else "",
        carry=', "initial"' if python else "",
        source=f", {source}" if source else "",
        refresh=f'\n    refresh="{refresh}",' if refresh else "",
    )
    file = folder / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    return open_project(str(file))


def prepared(project: Project, settings: Settings) -> JobBench:
    """The bench of a pipeline, after creating its topics."""
    create_topics(pipeline_topics(project.pipeline), settings.kafka.access)
    return JobBench(project, settings)


def payments(count: int, seed: int, start_ms: int = START_MS) -> list[dict[str, Any]]:
    """Valid payments of a few cards: unordered in time, some late beyond every window, some without a shop."""
    chance = random.Random(seed)
    events = []
    for number in range(count):
        delay = chance.choice([0, 0, 0, 500, 3_000, 20_000, 400_000])
        events.append(
            {
                "id": f"{seed}-{number}",
                "time": start_ms + number * 700 - delay,
                "card": f"card{chance.randrange(7)}",
                "shop": chance.choice([None, "ann", "bob", "bo", "çelik", ""]),
                "amount": chance.choice([0.1, 5, 49.99, 50.01, 70, 1e9]),
            }
        )
    return events


def row(event: dict[str, Any]) -> dict[str, Any]:
    """The row of a valid payment as the stages see it."""
    cents = event["amount"] * 100.0
    return {
        **event,
        "card": pii_hash(KEY.encode(), event["card"]),
        "amount": float(event["amount"]),
        "cents": cents,
        "is_large": cents > 5000,
        "where__0": event["amount"] > 50,
        "where__1": cents > 5000,
    }


def check_derived(bench: JobBench, records: list[dict[str, Any]]) -> Counter[str]:
    """Assert that the derived features of every record equal DuckDB's; returns how often each had a value."""
    filled: Counter[str] = Counter()
    views = [view.name for view in bench.plan.views]
    for record, found in zip(records, derived_features(bench.plan, records, views), strict=True):
        for name, wanted in found.items():
            view, _, feature = name.partition(".")
            if record[view] is not None:
                got = record[view][feature]
                allowed = 1e-12 * abs(wanted) if isinstance(wanted, float) else 0.0
                assert agrees(got, wanted, allowed), (record["event_id"], name, got, wanted)
                filled[name] += got is not None
    return filled


def check_cards(bench: JobBench, sent: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    """Assert that the records' by_card view equals the oracle's; a card's events arrive in the order of sending.

    Of a record that was emitted several times each emission must hold, and there must be one for each event that is
    no duplicate.
    """
    rows = [row(event) for event in sent]
    verdicts = accept_events([(r["card"], r["id"], r["time"]) for r in rows], bench.plan.source.dedup_horizon_ms)
    emitted: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        emitted.setdefault(record["event_id"], []).append(record)
    view = bench.plan.view("by_card")
    histories: dict[str, list[Timed]] = {}
    for event_row, is_new in zip(rows, verdicts, strict=True):
        if not is_new:
            continue
        history = histories.setdefault(event_row["card"], [])
        history.append(Timed(event_row["time"], event_row))
        expected = vector(view, history)
        assert event_row["id"] in emitted, f"no record of {event_row['id']}"
        for record in emitted.pop(event_row["id"]):
            got = record["by_card"]
            assert got["entity"] == event_row["card"]
            assert (got["seq"], got["as_of"], got["late"]) == (len(history), expected.as_of, expected.late)
            for feature in view.features:
                allowed = tolerance(feature, history, expected.as_of)
                wanted = expected.features[feature.name]
                assert agrees(got[feature.name], wanted, allowed), (record["event_id"], feature.name, got, wanted)
    assert not emitted, f"records of no event: {list(emitted)[:3]}"
