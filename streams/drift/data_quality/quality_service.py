"""Data quality as a service: checks what must hold, assembles a :class:`DataQualityRunner`, and runs it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial

from prometheus_client import REGISTRY

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag, Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import group_of
from penstock.kafka.reading import read_topic
from penstock.kafka.retention import GapPolicy
from penstock.kafka.sole_member import SoleConsumer, run_as_member
from penstock.kafka.topics import largest_messages, require_room, require_topics
from penstock.kafka.transactions import TransactionalProducer, producer_factory
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker
from schemas.registry import registry_schemas
from scoring.feature_consumer import consumer_config
from scoring.repository import ModelRepository
from streams.drift.data_quality.quality_alerts import NO_VERSION, QualityAlertBuilder
from streams.drift.data_quality.quality_metrics import DataQualityMetrics
from streams.drift.data_quality.quality_runner import DataQualityRunner, Offsets, RunnerComponents
from streams.drift.data_quality.quality_store import (
    PART,
    DataQualityStore,
    read_kept,
    require_declared,
    require_reference,
)
from streams.drift.data_quality.raw_events import RawReader, watched_topics
from streams.plan.pipeline_topics import room_of_data_quality
from streams.plan.project import Project

_log = logging.getLogger(__name__)


def run_data_quality(
    project: Project, settings: Settings, progress: ProgressTracker, stop: threading.Event, *, skip_deleted: bool
) -> None:
    """Check, connect, watch until ``stop`` is set, and close all connections.

    With ``skip_deleted`` it goes on where Kafka deleted records before they were read.

    Raises:
        InstanceFencedError: if another process for the pipeline was started.
        PenstockError: if a check fails at the start, or if the process cannot continue.
    """
    kafka, pipeline = settings.kafka.access, project.pipeline
    require_declared(pipeline)
    topics, number, read = watched_topics(pipeline), pipeline.source.partitions, partial(read_topic, kafka)
    names = [topic.topic for topic in topics]
    require_topics([*names, pipeline.drift_topic], kafka, partitions=number, pipeline=project.reference)
    require_topics([pipeline.data_quality_topic], kafka, partitions=1, pipeline=project.reference)
    require_room(room_of_data_quality(pipeline), largest_messages([pipeline.data_quality_topic], kafka), kafka)
    require_reference(read_kept(read, pipeline), pipeline, project.reference)
    group = group_of(pipeline.name, PART)
    metrics = DataQualityMetrics(REGISTRY, pipeline.name, names)
    registry = registry_schemas(settings.schema_registry_url)
    producer = TransactionalProducer(
        producer_factory(kafka, group),
        group,
        clock=time.monotonic,
        wait=stop.wait,
        stopping=stop.is_set,
        on_replaced=metrics.replaced,
    )
    settings_of_consumer = {**consumer_config(kafka, group, PART), "enable.partition.eof": True}
    with LagWatch(kafka, pipeline.name, PART, progress) as watch:

        def run() -> None:
            with closing(SoleConsumer(settings_of_consumer, logging.getLogger("streams.kafka"))) as consumer:
                components = RunnerComponents(
                    consumer=consumer,
                    store=DataQualityStore(pipeline, read, producer),
                    offsets=_offsets(kafka, dict.fromkeys(names, number)),
                    readers={topic.topic: RawReader(topic, project, _now, registry) for topic in topics},
                    alerts=QualityAlertBuilder(pipeline),
                    metrics=metrics,
                    watch=watch,
                    gaps=GapPolicy(
                        pipeline.name,
                        PART,
                        tuple(names),
                        "Their faults are not found.",
                        f"penstock data-quality run {project.reference}",
                        skip_deleted,
                    ),
                )
                DataQualityRunner(
                    pipeline,
                    project.reference,
                    topics,
                    components,
                    model_version=partial(_version, ModelRepository(settings.model_repository), pipeline.model.name),
                    now=_now,
                    clock=time.monotonic,
                    wait=stop.wait,
                    stopping=stop.is_set,
                ).run()

        run_as_member(run, stop)
    _log.info("data quality stopped; all that it has counted is saved")


def _now() -> int:
    return time.time_ns() // 1_000_000


def _version(repository: ModelRepository, model: str) -> str:
    try:
        return str(repository.current(model))
    except PenstockError:
        return NO_VERSION


def _offsets(kafka: KafkaAccess, partitions: Mapping[str, int]) -> Offsets:
    def find() -> tuple[dict[Partition, int], dict[Partition, int]]:
        with Lag(kafka, partitions) as lag:
            earliest = {(topic, n): at for topic in partitions for n, at in lag.earliest_offsets(topic).items()}
            ends = {(topic, n): at for topic in partitions for n, at in lag.end_offsets(topic).items()}
        return earliest, ends

    return find
