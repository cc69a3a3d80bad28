"""The second count of raw records: it agrees with data quality on faulty worlds, and finds what mutants change."""

from __future__ import annotations

import dataclasses
import json
import random
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from penstock.kafka.reading import Record
from streams.drift.data_quality.learning import Watched, learn
from streams.drift.data_quality.period import Period
from streams.drift.data_quality.quality_alerts import QualityAlertBuilder
from streams.drift.data_quality.quality_reference import QualityReference
from streams.drift.data_quality.quality_store import DataQualityStore
from streams.drift.data_quality.quality_watch import QualityWatch
from streams.drift.data_quality.raw_events import RawReader, watched_topics
from streams.plan.project import Project, open_project
from tests.verify.sabotage.catalogue import Mutant
from tests.verify.sabotage.data_quality import DATA_QUALITY_MUTANTS
from verify.check_data_quality import DataQualityFindings, check_data_quality
from verify.run_data import RunData

DEFINITION = """
from typing import Annotated

from pydantic import Field

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, DataQuality, Entity, Labels, Model, Monitors, Pipeline
from penstock import Source, View, count


class Parcel(Contract, name="parcel_of_verifier", version=1):
    parcel_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    depot: Annotated[str, ENTITY]
    weight: Annotated[float, Field(ge=0, le=10_000)]
    carrier: str
    note: str | None = None


class Lost(Contract, name="lost_of_verifier", version=1):
    parcel_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    was_lost: bool


depot = Entity(name="depot", key="depot")
pipeline = Pipeline(
    name="parcels_v",
    source=Source(topic="events.parcels_v", contract=Parcel, key="depot", partitions=2),
    entities=(depot,),
    views=(View(name="activity", version=1, entity=depot, aggregates=(count(over="1h"),)),),
    model=Model(name="parcels_v", inputs=("event.weight",), threshold=0.5, positive="slow", negative="fast"),
    labels=Labels(topic="labels.parcels_v", contract=Lost, value="was_lost"),
    monitors=Monitors(window=100, false_alarm_every=10_000, data_quality=DataQuality(producer_header="version")),
)
"""
BEGIN_MS, STEP_MS, LEARNT, EVENTS = 1_767_571_200_000, 30_000, 5_000, 7_000


class World:
    """Parcels and what became of them; from ``LEARNT`` on with faults of the producer 4.2."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.parcels: list[Record] = []
        self.labels: list[Record] = []
        offsets: dict[tuple[str, int], int] = {}

        def add(to: list[Record], topic: str, at_ms: int, value: bytes | None, version: str | None) -> None:
            number = rng.randrange(2)
            offset = offsets[topic, number] = offsets.get((topic, number), -1) + 1
            headers = () if version is None else (("version", version.encode()),)
            to.append(Record(number, offset, at_ms + rng.randrange(2_000), None, value, headers))

        for n in range(EVENTS):
            at = BEGIN_MS + n * STEP_MS + rng.randrange(STEP_MS)
            version = rng.choices(("4.1", "4.2", None), (5, 4, 1))[0]
            event: dict[str, Any] = {"parcel_id": f"p{n}", "event_time": at, "depot": f"d{n % 5}"}
            event |= {"weight": rng.lognormvariate(1, 0.5), "carrier": rng.choice("abcd")}
            value: bytes | None = None
            is_faulty = n >= LEARNT and version == "4.2" and rng.random() < (0.7 if n % 900 < 400 else 0.05)
            kind = rng.randrange(9) if is_faulty else -1
            if kind in (0, 1):
                event["weight"] = None
            elif kind in (2, 3):
                event["weight"] *= 100
            elif kind == 4:
                event["carrier"] = f"new{rng.randrange(6)}"
            elif kind == 5:
                event["weight"] = str(event["weight"])
            elif kind == 6:
                event["parcel_id"] = f"p{n - rng.randrange(1, 50)}"
            elif kind == 7:
                event["event_time"] -= rng.randrange(600_000, 7_200_000)
            elif kind == 8:
                value = b"{" if rng.random() < 0.8 else b""
            if rng.random() < 0.3:
                event["note"] = "x" * rng.randrange(5)
            add(self.parcels, "events", at, json.dumps(event).encode() if value is None else value, version)
            if n % 3 == 0 and n < EVENTS - 400:
                label = {"parcel_id": f"p{n}", "event_time": at, "was_lost": n % 9 == 0}
                add(self.labels, "labels", at + 5_000, json.dumps(label).encode(), None)


class Writer:
    """Takes what is written to Kafka."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def start(self) -> bool:
        return True

    def serve(self) -> None:
        """Does nothing."""

    def write(self, records: Any, *_: Any) -> None:
        self.records += records


def record_run(folder: Path, seed: int) -> tuple[Project, RunData]:
    path = folder / "parcels_v.py"
    path.write_text(DEFINITION, encoding="utf-8")
    project, world = open_project(str(path)), World(seed)
    pipeline = project.pipeline
    topics = watched_topics(pipeline)
    records = {pipeline.source.topic: world.parcels, "labels.parcels_v": world.labels}
    now_ms = BEGIN_MS + (EVENTS + 1_000) * STEP_MS
    readers = {topic.topic: RawReader(topic, project, lambda: now_ms) for topic in topics}
    writer = Writer()
    reference = _learnt(project, records, readers)
    data_quality = [Record(0, 0, 0, b"reference", reference.model_dump_json().encode(), ())]
    watch = QualityWatch(topics, reference, 2)
    builder = QualityAlertBuilder(pipeline)
    store = DataQualityStore(pipeline, lambda *_: iter(()), writer)
    starts = {topic.topic: topic.start for topic in reference.topics}
    positions = {(topic, n): starts[topic][n] for topic in records for n in range(2)}
    merged = sorted(
        ((record.timestamp, topic, record) for topic, of in records.items() for record in of), key=lambda one: one[0]
    )
    rng, alerts = random.Random(seed), list[Any]()
    for _, topic, record in _as_read(merged, rng):
        if record.offset < starts[topic][record.partition]:
            continue
        alerts += watch.observe(topic, readers[topic].read(record))
        positions[topic, record.partition] = record.offset + 1
        if rng.random() < 0.02:
            alerts += watch.advance({}, None)
            store.write(watch, [builder.alert(one, "1", 0) for one in alerts], positions, None, 0)
            alerts.clear()
            watch.saved()
    store.write(watch, [builder.alert(one, "1", 0) for one in alerts], positions, None, 0)
    of_drift = [one for one in writer.records if one.topic == pipeline.drift_topic]
    data_quality += [
        Record(0, 1 + n, 0, one.key, one.value, ())
        for n, one in enumerate(one for one in writer.records if one.topic == pipeline.data_quality_topic)
    ]
    run = RunData(
        (world.parcels,),
        (),
        (),
        (),
        labels=[world.labels],
        data_quality=data_quality,
        alerts=[Record(one.partition, n, 0, one.key, one.value, ()) for n, one in enumerate(of_drift)],
        read_at_ms=now_ms,
    )
    return project, run


def _as_read(merged: list[Any], rng: random.Random) -> list[Any]:
    """As a consumer takes them: in order within each partition, but not over partitions."""
    found: list[Any] = []
    for begin in range(0, len(merged), 200):
        some = merged[begin : begin + 200]
        queues: dict[Any, list[Any]] = {}
        for one in some:
            queues.setdefault((one[1], one[2].partition), []).append(one)
        for queue in queues.values():
            queue.sort(key=lambda one: one[2].offset)
        while queues:
            place = rng.choice(sorted(queues))
            found.append(queues[place].pop(0))
            if not queues[place]:
                del queues[place]
    return found


def _learnt(project: Project, records: dict[str, list[Record]], readers: dict[str, RawReader]) -> QualityReference:
    watched = []
    for topic in watched_topics(project.pipeline):
        ends = {n: 1 + max(r.offset for r in records[topic.topic] if r.partition == n) for n in range(2)}
        to_ms = BEGIN_MS + LEARNT * STEP_MS
        period = Period(partial(list, records[topic.topic]), readers[topic.topic], 0, to_ms, ends)
        watched.append(Watched(topic.topic, topic.columns, topic.has_ids, period.events, period.start))
    return learn(project.pipeline.name, watched, 100, 10_000, 1)


@cache
def recorded(seed: int = 0) -> tuple[Project, RunData]:
    with TemporaryDirectory() as folder:
        return record_run(Path(folder), seed)


@pytest.mark.parametrize("seed", range(2))
def test_what_was_counted_is_what_the_verifier_counts(seed: int) -> None:
    found = check_data_quality(*recorded(seed))
    assert (found.mismatches, found.unchecked) == (0, []), found.examples
    assert found.records > EVENTS - LEARNT
    assert found.alerts > 1


@pytest.mark.parametrize("mutant", DATA_QUALITY_MUTANTS, ids=[mutant.name for mutant in DATA_QUALITY_MUTANTS])
def test_the_verifier_finds(mutant: Mutant) -> None:
    found: DataQualityFindings = check_data_quality(recorded()[0], mutant.change(*recorded()))
    assert found.mismatches
    assert found.examples


def test_raw_records_that_data_quality_has_not_read_yet_are_no_mismatch() -> None:
    project, run = recorded()
    (parcels,) = run.sources
    more = [dataclasses.replace(parcels[-1], offset=10**6 + n) for n in range(3)]
    assert check_data_quality(project, dataclasses.replace(run, sources=([*parcels, *more],))).mismatches == 0


def test_where_nothing_was_profiled_there_is_nothing_to_check() -> None:
    project, run = recorded()
    assert check_data_quality(project, dataclasses.replace(run, data_quality=())) == DataQualityFindings()


@pytest.mark.parametrize("of", ["taken up", "not taken up"])
def test_after_another_profile_it_says_what_it_cannot_check(of: str) -> None:
    project, run = recorded()
    first, *rest = run.data_quality
    again = [first, dataclasses.replace(first, offset=10**6)]
    if of == "not taken up":
        again[1] = dataclasses.replace(again[1], value=(first.value or b"") + b" ")
        found = check_data_quality(project, dataclasses.replace(run, data_quality=[*rest, *again]))
        assert found.unchecked == ["data quality: the last profile was not taken up yet"]
    else:
        found = check_data_quality(project, dataclasses.replace(run, data_quality=[*again, *rest]))
        assert found.unchecked == ["data quality: where its counts begin, as raw events were profiled again"]
    assert found.mismatches == 0


def test_raw_records_that_kafka_has_deleted_are_said_to_be_unchecked() -> None:
    project, run = recorded()
    (parcels,) = run.sources
    kept = [one for one in parcels if one.partition == 1 or one.offset > 3_000]
    found = check_data_quality(project, dataclasses.replace(run, sources=(kept,)))
    assert found.unchecked == ["data-quality events.parcels_v[0]: Kafka has deleted raw records that were counted"]


def test_what_cannot_be_read_is_a_mismatch() -> None:
    project, run = recorded()
    broken = [*run.data_quality, Record(0, 10**6, 0, b"note", b"{", ())]
    assert check_data_quality(project, dataclasses.replace(run, data_quality=broken)).mismatches == 1
