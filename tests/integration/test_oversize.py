"""Events whose results are longer than Kafka takes, on a real job: a dead letter each, and later events flow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from penstock.errors import PenstockError
from penstock.kafka.names import dead_letters_of
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from schemas.dead_letters import DeadLetter
from streams.flink import lifecycle
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project, open_project
from tests.published import published
from verify.check_events import check_dead_letters, judge_source
from verify.check_features import check_features
from verify.unpublished import check_unpublished

START_MS = 1_700_000_000_000
PARTITIONS = 2

_DEFINITION = '''
"""A pipeline of the tests: long texts come back, as they are and in lists."""

from typing import Annotated

from penstock import *  # noqa: F403


class Visit(Contract, name="{name}_visit", version=1):
    """A visit."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    shop: str | None = None
    agent: str


card, shop = Entity(name="card", key="card"), Entity(name="shop", key="shop")
by_card = View(
    name="by_card",
    version=1,
    entity=card,
    aggregates=(count(over="1h"), last("agent", over="1h"), last_k("agent", k=100, over="1h")),
    derived={{"twice": Derived(sql="count_1h * 2", type="double")}},
)
by_shop = View(name="by_shop", version=1, entity=shop, aggregates=(count(over="1h"),))
pipeline = Pipeline(
    name="{name}",
    source=Source(topic="events.{name}", contract=Visit, key="card", partitions={partitions}),
    entities=(card, shop),
    views=(by_card, by_shop),
    model=Model(name="{name}", inputs=by_card.inputs()[:1], threshold=0.5, positive="p", negative="n"),
    passthrough=("agent",),
)
'''


@pytest.fixture
def project(stack_environment: dict[str, str], suffix: str, tmp_path: Path) -> Iterator[Project]:
    """A pipeline whose features topic takes as much as a topic that Kafka makes by default."""
    name = f"large_{suffix}"
    file = tmp_path / f"{name}.py"
    file.write_text(_DEFINITION.format(name=name, partitions=PARTITIONS), encoding="utf-8")
    project = open_project(str(file))
    create_topics(pipeline_topics(project.pipeline), Settings().kafka.access)
    set_limit(project.pipeline.features_topic, 1_048_588)
    yield project
    lifecycle.cancel(project, Settings())


def set_limit(topic: str, most: int) -> None:
    """Set the length of the longest message that a topic takes."""
    entry = ConfigEntry("max.message.bytes", str(most), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(Settings().kafka.access.client())
    admin.incremental_alter_configs([resource])[resource].result(15)


def visit(number: int, agent: str, *, shop: str | None = "shop") -> dict[str, Any]:
    return {
        "id": str(number),
        "time": START_MS + number * 1_000,
        "card": f"card{number % 2}",
        "shop": shop,
        "agent": agent,
    }


def send(project: Project, values: list[tuple[bytes, bytes]]) -> None:
    # Compressed, a record may be many times as long as the topic takes.
    config = {"message.max.bytes": 200_000_000, "compression.type": "zstd"}
    producer = Producer({**Settings().kafka.access.client(), **config})
    for key, value in values:
        producer.produce(project.pipeline.source.topic, value, key, sum(key) % PARTITIONS)
        assert producer.flush(30) == 0


def await_records(topic: str, count: int) -> list[Record]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list(read_topic(Settings().kafka.access, topic))
        if len(found) >= count:
            return found
        time.sleep(0.3)
    raise AssertionError(f"{len(found)} of {count} records on {topic}")


def await_answers(features: str, letters: str, count: int) -> tuple[list[Record], list[Record]]:
    """The feature records and the dead letters, as soon as there are ``count`` of both."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        records, unpublished = (list(read_topic(Settings().kafka.access, topic)) for topic in (features, letters))
        if len(records) + len(unpublished) >= count:
            return records, unpublished
        time.sleep(0.3)
    raise AssertionError(f"{len(records)} records and {len(unpublished)} dead letters, of {count} events")


@pytest.mark.timeout(240)
def test_a_result_longer_than_its_topic_takes_is_a_dead_letter_and_later_events_flow(project: Project) -> None:
    settings = Settings()
    doubled = visit(0, "x" * 599_900)
    texts = [visit(number, chr(97 + number) * 180_000) for number in range(1, 16)]
    # Far behind the large ones, which have left the windows by then.
    later = [visit(number, "short") for number in range(8_000, 8_010)]
    events = [doubled, *texts, *later]
    garbage = b'{"pad": "' + b"y" * 60_000_000 + b'"}'

    set_limit(project.pipeline.source.topic, 33_554_432)
    with pytest.raises(PenstockError, match="takes messages of 33,554,432 bytes, and") as refused:
        lifecycle.start(project, settings)
    assert refused.value.next is not None
    assert f"--entity-name {project.pipeline.source.dead_letter_topic} --add-config" in refused.value.next
    set_limit(project.pipeline.source.topic, 33_000_000)

    lifecycle.start(project, settings)
    send(project, [(b"k", garbage)])
    send(project, [(event["card"].encode(), json.dumps(event).encode()) for event in events])

    raw = await_records(project.pipeline.source.topic, len(events) + 1)
    (letter,) = (
        DeadLetter.read(r.key, r.value, r.headers) for r in await_records(project.pipeline.source.dead_letter_topic, 1)
    )
    assert (letter.reason, letter.value_bytes) == ("penstock.TooLarge", len(garbage))
    assert letter.value == garbage[: 16 * 1024]
    letters_topic = dead_letters_of(project.pipeline.features_topic)
    records, unpublished = await_answers(project.pipeline.features_topic, letters_topic, len(events))
    assert len(unpublished) >= 3
    assert len(records) + len(unpublished) == len(events)

    job = lifecycle.status(project, settings)
    assert job is not None
    assert (job.state, job.restarts) == ("RUNNING", 0)

    judged = judge_source(project, 0, raw, b"")
    raw_letters = await_records(project.pipeline.source.dead_letter_topic, 1)
    assert check_dead_letters(judged, project.name, project.plan.source.topic, raw_letters) == (
        1,
        0,
        [],
    )
    withheld = check_unpublished(project.plan, judged.events, unpublished, project.features_decoder())
    assert withheld.examples == []
    assert "0" in {record.value["event_id"] for record in withheld.records}, "the event that doubles"
    emitted = published(records, project.features_decoder())
    found = check_features(project.plan, judged.events, [*emitted, *withheld.records])
    assert (found.examples, found.missing, found.unverifiable) == ([], 0, 0)
    assert found.checked == found.total
    last = {r.value["event_id"]: r.value["by_card"]["agent_last_1h"] for r in emitted}
    assert last["8009"] == "short"

    # Without its letter, the verifier misses the event, and the place that it has in its shop's order.
    without = check_features(project.plan, judged.events, [*emitted, *withheld.records[1:]])
    assert without.missing == 1
