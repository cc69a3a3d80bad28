"""The rollout controller as a service: checks what must hold, assembles a :class:`Controller`, and runs it."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from prometheus_client import REGISTRY

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import group_of
from penstock.kafka.retention import GapPolicy
from penstock.kafka.sole_member import SoleConsumer, run_as_member
from penstock.kafka.topics import require_topics
from penstock.kafka.transactions import TransactionalProducer, producer_factory
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker
from schemas.registry import registry_schemas
from scoring.repository import ModelRepository
from scoring.rollout.completeness import CutWatch
from scoring.rollout.controller import Controller, ControllerComponents
from scoring.rollout.controller_consumer import controller_config
from scoring.rollout.controller_input import InputReader
from scoring.rollout.controller_metrics import ControllerMetrics
from scoring.rollout.controller_positions import Positions
from scoring.rollout.controller_store import ControllerStore
from scoring.rollout.facts import Facts
from scoring.rollout.judge import Judge
from scoring.rollout.promotion import Promotions
from scoring.rollout.publication import Publication
from scoring.servers.registry import PRIMARY_SERVER, open_server
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project

_log = logging.getLogger(__name__)

PART = "rollout"


def run_controller(project: Project, settings: Settings, progress: ProgressTracker, stop: threading.Event) -> None:
    """Check, connect, judge until ``stop`` is set, and close all connections.

    Raises:
        InstanceFencedError: if another controller of the pipeline was started.
        PenstockError: if a check fails at the start, or if the controller cannot continue.
    """
    kafka, pipeline = settings.kafka.access, project.pipeline
    facts = Facts.of(pipeline)
    reader = InputReader(project, facts, registry_schemas(settings.schema_registry_url))
    partitions = _check_topics(project, kafka, reader.topics)
    group = group_of(pipeline.name, PART)
    metrics = ControllerMetrics(REGISTRY, pipeline.name, [*partitions])
    producer = TransactionalProducer(
        producer_factory(kafka, group),
        group,
        clock=time.monotonic,
        wait=stop.wait,
        stopping=stop.is_set,
        on_replaced=metrics.replaced,
        shared=True,
    )
    # The tuples of records come and go, and take part in no cycle: searching them for one took a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    with (
        LagWatch(kafka, pipeline.name, PART, progress) as watch,
        CutWatch(kafka, pipeline, {**partitions, pipeline.features_topic: pipeline.source.partitions}) as cuts,
    ):

        def judge() -> None:
            with closing(SoleConsumer(controller_config(kafka, group), logging.getLogger("scoring.kafka"))) as consumer:
                components = ControllerComponents(
                    consumer=consumer,
                    store=ControllerStore(kafka, pipeline, producer),
                    positions=Positions(kafka, consumer, pipeline, partitions),
                    judge=Judge(facts),
                    reader=reader,
                    cuts=cuts,
                    promotions=Promotions(
                        partial(ModelRepository(settings.model_repository).verified, pipeline.model.name),
                        _make_current(settings, pipeline),
                        project.reference,
                        time.monotonic,
                    ),
                    metrics=metrics,
                    watch=watch,
                    # The judge then begins anew, so that it is safe to go on.
                    gaps=GapPolicy(pipeline.name, PART, tuple(partitions), "", "", skip=True),
                )
                Controller(
                    pipeline.rollout_log_topic,
                    () if pipeline.labels is None else pipeline.labels.topics,
                    partitions,
                    components,
                    now=lambda: time.time_ns() // 1_000_000,
                    clock=time.monotonic,
                    wait=stop.wait,
                    stopping=stop.is_set,
                ).run()

        run_as_member(judge, stop)
    _log.info("rollout controller stopped; all that it has seen is saved")


def _check_topics(project: Project, kafka: KafkaAccess, answers: tuple[str, ...]) -> dict[str, int]:
    """Check the topics; returns the number of partitions of each that is read."""
    pipeline, single = project.pipeline, [project.pipeline.rollout_log_topic]
    written = [pipeline.rollout_topic, pipeline.rollout_state_topic]
    number = pipeline.source.partitions
    require_topics([*answers, pipeline.features_topic], kafka, partitions=number, pipeline=project.reference)
    require_topics([*single, *written], kafka, partitions=1, pipeline=project.reference)
    return {**dict.fromkeys(answers, number), **dict.fromkeys(single, 1)}


def _make_current(settings: Settings, pipeline: Pipeline) -> Callable[[int], None]:
    def make_current(version: int) -> None:
        repository = ModelRepository(settings.model_repository)
        with closing(open_server(PRIMARY_SERVER, settings)) as server:
            Publication(settings.kafka.access, pipeline, repository, server).make_current(version)

    return make_current
