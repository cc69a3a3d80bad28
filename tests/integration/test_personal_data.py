"""After a run no raw personal value is left, though raw records are keyed by one and the source by another column."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.local.stack import Stack
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from schemas.history import record_decoder
from streams.flink import lifecycle
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project, open_project
from tests.security import traces
from tests.security.services import OpenAccess, serve
from verify.verifier import verify

pytestmark = pytest.mark.timeout(300)

CARDS = [f"{secrets.randbelow(10**13):013}{number:03}" for number in range(12)]
HOLDER = f"Theodora Quillfeather {secrets.token_hex(4)}"
EVENTS = 120

_DEFINITION = '''
"""Payments with personal data, and disputes without, of which both have cards as record keys."""

from typing import Annotated

from pydantic import Field

from penstock import *  # noqa: F403


class Payment(Contract, name="{name}_payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY, PII_HASH, Field(pattern="^[0-9]{{16}}$")]
    holder: Annotated[str | None, PII_DROP] = None
    shop: Annotated[str, ENTITY]
    amount: Annotated[float, Field(gt=0)]


class Dispute(Contract, name="{name}_dispute", version=1):
    """A dispute with a shop."""

    dispute: Annotated[str, EVENT_ID]
    raised: Annotated[int, EVENT_TIME]
    shop: Annotated[str, ENTITY]
    loss: float


card, shop = Entity(name="card", key="card"), Entity(name="shop", key="shop")
topics = dict(key="shop", partitions=2, disorder="1s")
by_card = View(name="by_card", version=1, entity=card, aggregates=(count(over="1h"), mean("amount", over="1h")))
by_shop = View(
    name="by_shop",
    version=1,
    entity=shop,
    aggregates=(count(over="10s"), last("card", over="1h"), last_k("card", k=3, over="1h"), sum_("loss", over="1h")),
    refresh="2s",
)
pipeline = Pipeline(
    name="{name}",
    source=Source(topic="events.{name}", contract=Payment, **topics),
    additional_sources=(Source(topic="disputes.{name}", contract=Dispute, triggers=False, **topics),),
    entities=(card, shop),
    views=(by_card, by_shop),
    monitors=Monitors(inputs=("by_card.count_1h",), window=100),
    model=Model(
        name="{name}",
        inputs=("event.amount", "by_card.count_1h", "by_card.amount_mean_1h"),
        threshold=0.5,
        positive="block",
        negative="pass",
    ),
    passthrough=("shop", "card"),
)
'''


@dataclass(frozen=True)
class Run:
    """A pipeline that ran, and what is to be searched."""

    project: Project
    logs: Path
    pages: list[str]


@pytest.fixture(scope="module")
def run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of every component on servers that anyone may read; the services still run."""
    home = tmp_path_factory.mktemp("personal")
    name = f"personal_{secrets.token_hex(3)}"
    file = home / f"{name}.py"
    file.write_text(_DEFINITION.format(name=name), encoding="utf-8")
    project = open_project(str(file))
    with ExitStack() as cleanup, pytest.MonkeyPatch.context() as patch:
        variables = {"PENSTOCK_PII_KEY": secrets.token_hex(32), "PENSTOCK_CASSANDRA_KEYSPACE": name}
        for variable, value in {**stack.environment(), **variables}.items():
            patch.setenv(variable, value)
        settings = Settings()
        create_topics(pipeline_topics(project.pipeline), settings.kafka.access)
        _produce(project, settings)
        job = lifecycle.start(project, settings, checkpoint_interval_ms=500).id
        cleanup.callback(lifecycle.cancel, project, settings)
        _await_timer(project, settings)
        pages = serve(project.pipeline, file, OpenAccess(), home / "logs", cleanup)
        ports = (stack.ports["jobmanager_metrics"], stack.ports["taskmanager_metrics"])
        pages += [settings.triton.metrics, *(f"http://127.0.0.1:{port}/metrics" for port in ports)]
        yield Run(project, home / "logs", [*pages, *traces.pages_of_job(settings.flink.rest, job)])


def _produce(project: Project, settings: Settings) -> None:
    """An event of both kinds a second, keyed by a card; some payments are refused. One shop falls silent halfway."""
    payments, disputes = project.pipeline.sources
    producer = Producer(settings.kafka.access.client())
    partitions = {"corner": 0, "market": 1, "station": 0}
    start, chance = time.time_ns() // 1_000_000 - EVENTS * 1_000, random.Random(4)
    for number in range(EVENTS):
        now, card = start + number * 1_000, chance.choice(CARDS)
        shop = chance.choice(list(partitions)[: 3 if number < EVENTS / 2 else 2])
        common = {"shop": shop}
        paid = {"id": f"p{number}", "time": now, "card": card, "holder": HOLDER, "amount": 1.0 + number} | common
        if number % 10 == 9:
            paid |= chance.choice([{"amount": card}, {"card": f"{card}-"}, {"shop": None}])
        raised = {"dispute": f"d{number}", "raised": now, "loss": float(number)} | common
        for topic, event in ((payments.topic, paid), (disputes.topic, raised)):
            producer.produce(topic, json.dumps(event).encode(), card.encode(), partitions[shop])
    assert producer.flush(30) == 0


def _await_timer(project: Project, settings: Settings) -> None:
    """Wait until a shop's vector was emitted again: its record has the key of the shop's last event."""
    decoder, deadline = project.features_decoder(), time.monotonic() + 90
    topic = project.pipeline.features_topic
    while not any(r["trigger"] == "timer" for r in _decoded(read_topic(settings.kafka.access, topic), decoder)):
        assert time.monotonic() < deadline, "no timer fired"
        time.sleep(1)


def _decoded(records: Any, decoder: Any) -> Iterator[dict[str, Any]]:
    return (decoder.decode(record.value) for record in records)


def test_personal_data_is_only_in_raw_events_and_their_dead_letters(run: Run, stack: Stack) -> None:
    words, servers, name = [*CARDS, HOLDER], OpenAccess(), run.project.pipeline.name
    sources = run.project.pipeline.sources
    assert traces.in_topics(servers, words, verbatim=(), named=name), "the search misses what is there"
    predictions = read_topic(Settings().kafka.access, run.project.pipeline.predictions_topic)
    assert len(list(_decoded(predictions, record_decoder("prediction")))) == EVENTS - EVENTS // 10

    verbatim = [topic for source in sources for topic in (source.topic, source.dead_letter_topic)]
    assert traces.in_topics(servers, words, verbatim=verbatim, named=name) == []
    assert traces.in_redis(servers, words) == []
    assert traces.in_cassandra(servers, words) == []
    assert traces.in_files([run.logs, stack.log("jobmanager").parent], words) == []
    assert traces.in_pages(run.pages, words) == []


def test_every_published_key_is_the_column_that_the_source_names(run: Run) -> None:
    kafka, pipeline = Settings().kafka.access, run.project.pipeline
    for topic in (pipeline.features_topic, pipeline.predictions_topic):
        assert {record.key for record in read_topic(kafka, topic)} == {b"corner", b"market", b"station"}


def test_the_verifier_expects_the_same_keys_and_values(run: Run) -> None:
    report = verify(run.project, Settings(), None, seed=1)
    assert report.failures() == [], report.examples
