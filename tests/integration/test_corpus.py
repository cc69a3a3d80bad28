"""Runs the corpus through the real job: all cases on one topic, each with its own entities and ids."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from penstock.testing import Case, read_cases
from schemas.codec import Decoder
from schemas.dead_letters import DeadLetter
from streams.flink import lifecycle
from streams.inprocess.features_of import Event, Features, Outcome, record_of
from streams.inprocess.report import failure_text
from streams.inprocess.verdicts import judge
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from streams.plan.model import PipelinePlan
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project

CASES = [case for file in sorted((Path(__file__).parents[1] / "corpus").glob("*.json")) for case in read_cases(file)]
PIPELINE = CASES[0].pipeline
PROJECT = Project.of(PIPELINE, Path("nothing is committed"))
# Cases have times that are centuries apart, none of them in the future: the job's clock would refuse it. The broker
# must not delete the records soon.
TOPIC = {"retention.ms": "-1"}


@pytest.fixture
def job(settings: Settings) -> Iterator[Settings]:
    source = PIPELINE.source
    admin = AdminClient(settings.kafka.access.client())
    for created in admin.create_topics([NewTopic(source.topic, source.partitions, 1, config=TOPIC)]).values():
        created.result(15)
    create_topics(pipeline_topics(PIPELINE), settings.kafka.access)
    lifecycle.start(PROJECT, settings)
    yield settings
    lifecycle.cancel(PROJECT, settings)


def test_a_real_job_passes_every_case(job: Settings) -> None:
    plan = compile_plan(PIPELINE)
    events = [(case, event) for number, case in enumerate(CASES) for event in _own(case, f"{number}/")]
    producer = Producer(job.kafka.access.client())
    for number, (_, event) in enumerate(events, 1):
        value, timestamp = record_of(plan, number, event)
        producer.produce(plan.source.topic, value, partition=0, timestamp=max(0, timestamp))
    assert producer.flush(30) == 0

    found = _outcomes(plan, job, len(events))

    failures = []
    for number, case in enumerate(CASES):
        offsets = [offset for offset, (of, _) in enumerate(events) if of is case]
        verdict = judge(case, [_without(found[offset], f"{number}/") for offset in offsets])
        if not verdict.passed:
            failures.append(failure_text(verdict))
    assert not failures, "\n".join(failures)


def _own(case: Case, prefix: str) -> Iterator[Event]:
    """The case's events, with entities and ids that no other case has."""
    for number, event in enumerate(case.events, 1):
        if not isinstance(event.value, Mapping):
            yield event
            continue
        value = {"id": f"event-{number}", **event.value}
        own = {name: prefix + value[name] for name in ("id", "k", "j") if value.get(name)}
        yield dataclasses.replace(event, value=value | own)


def _without(outcome: Outcome, prefix: str) -> Outcome:
    views = {
        name: view and dataclasses.replace(view, entity=view.entity.replace(prefix, ""))
        for name, view in outcome.views.items()
    }
    return dataclasses.replace(outcome, views=views)


def _outcomes(plan: PipelinePlan, settings: Settings, count: int) -> dict[int, Outcome]:
    """The outcome of each record, by offset; a record without any output is a duplicate."""
    expected = sum(not step.duplicate for case in CASES for step in case.steps)
    decoder = Decoder(features_schema(plan))
    deadline = time.monotonic() + 60
    while True:
        found = {offset: Outcome(duplicate=True) for offset in range(count)}
        records = [decoder.decode(r.value or b"") for r in read_topic(settings.kafka.access, plan.features_topic)]
        found |= {record["source"]["offset"]: _emitted(plan, record) for record in records}
        for r in read_topic(settings.kafka.access, plan.source.dead_letter_topic):
            letter = DeadLetter.read(r.key, r.value, list(r.headers))
            found[letter.offset] = Outcome(refused=letter.reason, message=letter.message)
        if sum(not outcome.duplicate for outcome in found.values()) >= expected:
            return found
        assert time.monotonic() < deadline, f"{len(records)} records of {expected} emissions and refusals"
        time.sleep(0.5)


def _emitted(plan: PipelinePlan, record: Mapping[str, Any]) -> Outcome:
    views = {}
    for view in plan.views:
        part = record[view.name]
        envelope = {"entity", "epoch", "seq", "as_of", "late"}
        views[view.name] = part and Features(
            part["entity"],
            part["seq"],
            part["as_of"],
            part["late"],
            {name: value for name, value in part.items() if name not in envelope},
        )
    return Outcome(columns=record["event"], views=views)
