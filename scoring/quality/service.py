"""The counting of quality as a service: checks what must hold, assembles a :class:`QualityRunner`, and runs it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from prometheus_client import REGISTRY

from penstock.errors import PenstockError
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import group_of
from penstock.kafka.reading import read_topic
from penstock.kafka.retention import GapPolicy
from penstock.kafka.sole_member import SoleConsumer, run_as_member
from penstock.kafka.topics import require_topics
from penstock.kafka.transactions import TransactionalProducer, producer_factory
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker
from schemas.registry import registry_schemas
from scoring.feature_consumer import consumer_config
from scoring.quality.facts import QualityFacts
from scoring.quality.quality_input import QualityInput
from scoring.quality.quality_metrics import QualityMetrics
from scoring.quality.runner import QualityComponents, QualityRunner
from scoring.quality.store import QualityStore
from scoring.repository import ModelRepository
from scoring.rollout.controller_positions import Positions
from scoring.trained_model import ModelManifest
from streams.plan.project import Project

_log = logging.getLogger(__name__)

PART = "quality"


def run_quality(
    project: Project, settings: Settings, progress: ProgressTracker, stop: threading.Event, *, skip_deleted: bool
) -> None:
    """Check, connect, count until ``stop`` is set, and close all connections.

    With ``skip_deleted`` it goes on where Kafka deleted records before they were read.

    Raises:
        InstanceFencedError: if another process for the pipeline was started.
        PenstockError: if a check fails at the start, or if the process cannot continue.
    """
    kafka, pipeline = settings.kafka.access, project.pipeline
    facts = QualityFacts.of(pipeline)
    reader = QualityInput(project, facts, registry_schemas(settings.schema_registry_url))
    number = pipeline.source.partitions
    require_topics([*reader.topics], kafka, partitions=number, pipeline=project.reference)
    kept = [pipeline.quality_topic, pipeline.quality_state_topic]
    require_topics(kept, kafka, partitions=1, pipeline=project.reference)
    if pipeline.monitors is not None:  # its alarms on labels are drift alerts
        require_topics([pipeline.drift_topic], kafka, partitions=number, pipeline=project.reference)
    partitions = dict.fromkeys(reader.topics, number)
    group = group_of(pipeline.name, PART)
    repository = ModelRepository(settings.model_repository)
    metrics = QualityMetrics(REGISTRY, pipeline.name, reader.topics, _reference(repository, pipeline.model.name))
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

        def count() -> None:
            with closing(SoleConsumer(settings_of_consumer, logging.getLogger("scoring.kafka"))) as consumer:
                components = QualityComponents(
                    consumer=consumer,
                    store=QualityStore(pipeline, facts, partial(read_topic, kafka), producer),
                    positions=Positions(kafka, consumer, pipeline, partitions),
                    reader=reader,
                    metrics=metrics,
                    watch=watch,
                    gaps=GapPolicy(
                        pipeline.name,
                        PART,
                        reader.topics,
                        "The histograms will not have them.",
                        f"penstock quality run {project.reference}",
                        skip_deleted,
                    ),
                )
                QualityRunner(
                    partitions,
                    facts.horizon_ms,
                    components,
                    now=lambda: time.time_ns() // 1_000_000,
                    clock=time.monotonic,
                    wait=stop.wait,
                    stopping=stop.is_set,
                ).run()

        run_as_member(count, stop)
    _log.info("quality stopped; all that it has counted is saved")


def _reference(repository: ModelRepository, model: str) -> Callable[[str], float | None]:
    """Gives the AUC of a version on the latest events of its training; None if no manifest says it."""
    known: dict[str, float] = {}

    def reference(version: str) -> float | None:
        if version not in known and version.isdecimal():
            try:
                manifest = repository.manifest(model, int(version))
            except (PenstockError, OSError, ValueError):
                return None  # perhaps it is registered later
            if isinstance(manifest, ModelManifest) and manifest.validation and manifest.validation.auc is not None:
                known[version] = manifest.validation.auc
        return known.get(version)

    return reference
