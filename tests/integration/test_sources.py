"""Pipelines with several topics: clicks update the features of impressions, or are scored as well."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from backfill.parity.check import check_parity
from backfill.parity.kafka import kafka_sources
from backfill.parity.report import as_json
from backfill.parity.rows import BackfillRows
from backfill.parity.sources import Range
from backfill.parquet import read_backfill
from backfill.run import BackfillRequest
from penstock.kafka.lag import Lag
from penstock.kafka.names import dead_letters_of
from penstock.kafka.reading import Record, read_topic
from penstock.settings import Settings
from schemas.codec import Decoder
from schemas.contract import pii_hash
from schemas.dead_letters import DeadLetter
from schemas.history import record_decoder
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from streams.flink import lifecycle
from streams.inprocess.features_of import shared_kernel
from streams.plan.entity_text import composite_text
from streams.plan.feature_records import features_schema
from streams.plan.project import open_project
from tests.backfills import run_quietly
from tests.published import published
from tests.scoring.scorer_bench import ScorerBench, load_model, manifest_of, onnx_bytes, unload_model, wait_for
from tests.streams.job_bench import KEY, PARTITIONS, START_MS, JobBench, prepared
from verify.check_backfill import check_backfill
from verify.check_events import Judged, check_dead_letters
from verify.check_features import check_features
from verify.judge import judge
from verify.judged_sources import judged_source
from verify.published import readable
from verify.reading import read_backfill_data
from verify.run_data import RunData

_DEFINITION = '''
"""A pipeline of the tests."""

from typing import Annotated

from penstock import *  # noqa: F403


class Impression(Contract, name="{name}_impression", version=1):
    """An ad was shown."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    ad: Annotated[str, ENTITY]
    user: Annotated[str | None, PII_HASH] = None
    price: float


class Click(Contract, name="{name}_click", version=1):
    """An ad was clicked, or something else happened to it."""

    id: Annotated[str, EVENT_ID]
    clicked_at: Annotated[int, EVENT_TIME]
    ad: Annotated[str, ENTITY]
    user: Annotated[str | None, PII_HASH] = None
    kind: str


ad, user = Entity(name="ad", key="ad"), Entity(name="user", key="user")
pair = Entity(name="pair", key=("ad", "user"))
is_click = "event__type = '{name}_click'"
by_ad = View(
    name="by_ad",
    version=1,
    entity=ad,
    aggregates=(
        count(over=("10s", "5m"), where="NOT (" + is_click + ")", name="shown"),
        count(over=("10s", "5m"), where=is_click, name="clicks"),
        mean("clicked", over="5m", name="share"),
        last("kind", over="5m"),
        sum_("price", over="5m"),
        time_since_last(where=is_click, over="5m", name="since_click"),
    ),
)
by_pair = View(name="by_pair", version=1, entity=pair, aggregates=(count(over="5m", where=is_click, name="clicks"),))
by_user = View(name="by_user", version=1, entity=user, aggregates=(count(over="5m"),))
pipeline = Pipeline(
    name="{name}",
    source=Source(topic="events.{name}.shown", contract=Impression, key="ad", partitions={partitions}),
    additional_sources=(
        Source(
            topic="events.{name}.clicks",
            contract=Click,
            key="ad",
            partitions={partitions},
            triggers=False,
            filter="kind = 'click'",
        ),
    ),
    entities=(ad, pair, user),
    derived={{"clicked": Derived(sql="CASE WHEN " + is_click + " THEN 1 ELSE 0 END", type="long")}},
    views=(by_ad, by_pair, by_user),
    model=Model(name="{name}", inputs=("by_ad.clicks_5m", "event.price"), threshold=0.5, positive="p", negative="n"),
)
'''


@contextmanager
def _bench(definition: str, suffix: str, folder: Path) -> Iterator[JobBench]:
    """A pipeline with its topics; its job is cancelled afterwards if it still runs."""
    file = folder / f"ads_{suffix}.py"
    file.write_text(definition.format(name=f"ads_{suffix}", partitions=PARTITIONS), encoding="utf-8")
    bench = prepared(open_project(str(file)), Settings())
    yield bench
    lifecycle.cancel(bench.project, bench.settings)


@pytest.fixture
def bench(
    stack_environment: dict[str, str], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[JobBench]:
    """The pipeline as it is above."""
    monkeypatch.setenv("PENSTOCK_PII_KEY", KEY)
    with _bench(_DEFINITION, suffix, tmp_path) as bench:
        yield bench


@pytest.fixture
def scoring_all(
    stack_environment: dict[str, str], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[JobBench]:
    """One that also scores the clicks, and impressions from another topic."""
    monkeypatch.setenv("PENSTOCK_PII_KEY", KEY)
    app = 'Source(topic="events.{name}.app", contract=Impression, key="ad", partitions={partitions}),'
    definition = _DEFINITION.replace("            triggers=False,\n", "").replace(
        "additional_sources=(", f"additional_sources=({app}"
    )
    inputs = '"event.price", "by_ad.clicks_5m", "event.event__type"'
    definition = definition.replace('"by_ad.clicks_5m", "event.price"', inputs)
    with _bench(definition, suffix, tmp_path) as bench:
        yield bench


def events(
    count: int, seed: int, start_ms: int, sources: Sequence[int] = (0, 0, 1), clicks: int = 1
) -> list[tuple[int, dict[str, Any]]]:
    """Events of all topics, each with its source's number; some late, some duplicates, some clicks are scrolls."""
    chance = random.Random(seed)
    found: list[tuple[int, dict[str, Any]]] = []
    for number in range(count):
        source = chance.choice(sources)
        event: dict[str, Any] = {
            # The same ids on all topics, because an id is unique only within its contract.
            "id": f"{seed}-{number // 2}",
            "ad": f"ad{chance.randrange(5)}",
            "user": chance.choice([None, "ann", "bob", "c|d"]),
        }
        at = start_ms + number * 700 - chance.choice([0, 0, 0, 500, 20_000, 400_000])
        if source != clicks:
            event |= {"time": at, "price": chance.choice([0.25, 1.5])}
        else:
            event |= {"clicked_at": at, "kind": chance.choice(["click", "click", "click", "scroll"])}
        found += [(source, event)] * (2 if number % 20 == 0 else 1)
    return found


def send(bench: JobBench, found: list[tuple[int, dict[str, Any]]]) -> None:
    producer = Producer(bench.settings.kafka.access.client())
    for source, event in found:
        key = event["ad"].encode()
        value = json.dumps(event).encode()
        producer.produce(bench.pipeline.sources[source].topic, value, key, sum(key) % PARTITIONS)
    assert producer.flush(30) == 0


def judged(bench: JobBench) -> list[Judged]:
    """The records of each topic, classified by the contracts."""
    return [judged_source(bench.project, n, bench.settings) for n in range(len(bench.plan.sources))]


def await_read(bench: JobBench) -> None:
    """Wait until the job has committed the ends of both topics."""
    deadline = time.monotonic() + 30
    with Lag(bench.settings.kafka.access) as lag:
        group = f"penstock-{bench.pipeline.name}-features"
        while any(behind > 0 for s in bench.pipeline.sources for behind in lag.of_group(group, s.topic).values()):
            assert time.monotonic() < deadline, "the job does not read both topics"
            time.sleep(0.1)


def test_clicks_update_the_features_of_impressions_and_trigger_no_record(bench: JobBench, tmp_path: Path) -> None:
    kafka, clicks = bench.settings.kafka.access, bench.pipeline.additional_sources[0].topic
    lifecycle.start(bench.project, bench.settings, checkpoint_interval_ms=500)
    send(bench, events(250, seed=1, start_ms=START_MS))
    garbage = Producer(kafka.client())
    for value in (b"\xff", b'{"id": "x", "clicked_at": 1, "ad": "ad1"}', None):
        garbage.produce(clicks, value, b"ad1", 0)
    assert garbage.flush(30) == 0
    await_read(bench)
    lifecycle.stop(bench.project, bench.settings)
    send(bench, events(250, seed=2, start_ms=START_MS + 200_000))
    lifecycle.start(
        bench.project, bench.settings, savepoint=lifecycle.LATEST, parallelism=2, checkpoint_interval_ms=500
    )
    await_read(bench)
    newest = START_MS + 400_000
    final = [(0, {"id": f"final-{n}", "time": newest, "ad": f"ad{n}", "user": "c|d", "price": 1.0}) for n in range(5)]
    send(bench, final)

    shown, clicked = judged(bench)
    assert len(bench.features(len(shown.events))) == len(shown.events), "an event that only updates gave a record"
    records = published(read_topic(kafka, bench.pipeline.features_topic), Decoder(features_schema(bench.plan)))
    findings = check_features(bench.plan, shown.events, records, others=[clicked.events])
    assert (findings.mismatches, findings.missing, findings.unexpected) == (0, 0, 0), findings.examples
    assert findings.unverifiable == 0
    assert findings.checked == findings.total >= 8 * len(records)
    assert any(place.source for record in records for places in record.updates.values() for place in places or ())

    assert clicked.duplicates, "no click came twice"
    assert clicked.ignored, "no scroll was ignored"
    last = {record.value["event_id"]: record.value for record in records}
    for _, event in final:
        everything = [e for events in (shown, clicked) for e in events.events.values() if e.row["ad"] == event["ad"]]
        of_ad = last[event["id"]]["by_ad"]
        assert of_ad["seq"] == len(everything), "not all events of both topics were counted"
        recent = Counter(e.row["event__type"].endswith("click") for e in everything if e.time > newest - 300_000)
        assert of_ad["clicks_5m"] == recent[True] > 0
        pair = composite_text([event["ad"], pii_hash(KEY.encode(), "c|d")])
        assert last[event["id"]]["by_pair"]["entity"] == pair

    start, end = min(e.time for e in shown.events.values()), max(e.time for e in shown.events.values()) + 1
    manifest = run_quietly(
        bench.project, bench.settings, BackfillRequest(start, end, (), parallelism=2), tmp_path / "backfill"
    )
    assert manifest.rows == len(shown.events)
    replayed = check_backfill(
        bench.plan,
        read_backfill_data(tmp_path / "backfill"),
        shown.events,
        records,
        shown.timestamps,
        others=[clicked],
    )
    assert replayed.mismatches == 0, replayed.examples
    for rows in (None, BackfillRows(read_backfill(tmp_path / "backfill"), bench.plan)):
        sources = kafka_sources(bench.project, bench.settings, start)
        parity = check_parity(bench.project, sources, Range(start, end), shared_kernel(), rows)
        assert parity.unexplained == 0, as_json(parity, [source.topic for source in bench.plan.sources])
        assert (parity.events, parity.findings.not_compared) == (len(shown.events), {})
        for view in bench.plan.views:
            parts = sum(record.value[view.name] is not None for record in records)
            assert parity.findings.compared["features", view.id] == parts * (3 + len(view.outputs))

    for source, topic in zip((shown, clicked), bench.pipeline.sources, strict=True):
        letters = list(read_topic(kafka, topic.dead_letter_topic))
        found, wrong, examples = check_dead_letters(source, bench.plan.pipeline, topic.topic, letters)
        assert wrong == 0, examples
        assert found == (3 if topic.topic == clicks else 0)
        read = [DeadLetter.read(letter.key, letter.value, letter.headers) for letter in letters]
        assert {letter.topic for letter in read} <= {topic.topic}


def test_events_of_all_topics_are_each_scored_once_though_the_scorer_is_killed(
    scoring_all: JobBench, tmp_path: Path
) -> None:
    bench, project, settings = scoring_all, scoring_all.project, scoring_all.settings
    kafka, pipeline = settings.kafka.access, scoring_all.pipeline
    manifest = manifest_of(pipeline).model_copy(update={"categories": pipeline.categories})
    ModelRepository(settings.model_repository).add(pipeline.model.name, TrainedModel(onnx_bytes(), None, manifest))
    load_model(pipeline, settings)
    scorers = ScorerBench(project.reference, pipeline, settings, tmp_path)
    lifecycle.start(project, settings, checkpoint_interval_ms=500)
    for seed in range(3):
        send(bench, events(200, seed, START_MS + seed * 140_000, sources=(0, 0, 1, 2, 2), clicks=2))
        doomed = scorers.start("0", "--max-batch", "16", "--linger-ms", "0")
        doomed.wait_for_log("assigned")
        time.sleep(0.4)
        doomed.kill()
    await_read(bench)
    with scorers.scoring("0") as last:
        last.wait_for_log("assigned")
        times = [record["event_time"] for record in bench.features(1)]
        wait_for(lambda: len(list(read_topic(kafka, pipeline.predictions_topic))) >= len(times), 60, "the predictions")
    unload_model(pipeline, settings)
    request = BackfillRequest(min(times), max(times) + 1, ())
    rows = run_quietly(project, settings, request, tmp_path / "backfill")

    def read(topic: str) -> list[Record]:
        return list(read_topic(kafka, topic))

    raw = [source.topic for source in pipeline.sources]
    run = RunData(
        sources=tuple(read(source.topic) for source in pipeline.sources),
        dead_letters=tuple(read(source.dead_letter_topic) for source in pipeline.sources),
        features=readable(read(pipeline.features_topic), project.features_decoder(), "features", raw)[0],
        predictions=readable(read(pipeline.predictions_topic), record_decoder("prediction"), "predictions", raw)[0],
        unpublished=read(dead_letters_of(pipeline.features_topic)),
        unscored=read(dead_letters_of(pipeline.predictions_topic)),
        backfills=[read_backfill_data(tmp_path / "backfill")],
        models=settings.model_repository,
    )
    report = judge(project, run, pii_key=KEY.encode())
    assert (report.feature_mismatches, report.feature_gaps, report.features_unverifiable) == (0, 0, 0), report.examples
    assert (report.prediction_duplicates, report.prediction_gaps, report.prediction_mismatches) == (0, 0, 0)
    assert report.predictions == report.events_valid > 400
    assert report.events_duplicate > 10, "no impression came by both topics"
    assert report.events_updating == 0
    assert (report.backfill_rows, report.backfill_mismatches) == (report.events_valid, 0), report.examples
    assert rows.rows == report.events_valid
    kinds = Counter(one.value["event_id"].partition(":")[0] for one in run.predictions)
    assert kinds[f"{project.name}_click"] == sum(one.value["source"]["topic"] == raw[2] for one in run.predictions) > 50
    assert {one.value["source"]["topic"] for one in run.predictions} == {*raw}
