"""The scorer as a service: checks what must hold, assembles a :class:`~scoring.scorer.Scorer`, and runs it.

This is the one place that knows all components. ``penstock scorer run`` parses options and calls :func:`run_scorer`.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from confluent_kafka import Consumer
from prometheus_client import REGISTRY

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import dead_letters_of, group_of
from penstock.kafka.retention import GapPolicy, OffsetResets
from penstock.kafka.topics import message_limits, require_room, require_topics, topic_settings
from penstock.kafka.transactions import TransactionalProducer, producer_factory
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker
from scoring.feature_consumer import consumer_config
from scoring.history import PredictionHistory
from scoring.other_views import OtherViews, VectorReader
from scoring.policy_follower import PolicyFollower
from scoring.scorer import Scorer
from scoring.scorer_components import BatchLimits, ScorerComponents
from scoring.scorer_metrics import ScorerMetrics
from scoring.seating import Seating
from scoring.served import Deadlines, Versions, open_versions
from scoring.startup import check_topic_settings, retention_warnings
from streams.plan.pipeline_topics import room_of_scorer
from streams.plan.project import Project

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScorerOptions:
    """The options of one scorer.

    Args:
        instance: Its name among the scorers of the pipeline, the same after every restart.
        limits: The limits of a batch.
        deadlines: How long the primary model server may take for a batch.
        skip_deleted: Whether to go on where Kafka deleted feature records before they were read.
    """

    instance: str
    limits: BatchLimits
    deadlines: Deadlines
    skip_deleted: bool = False


def run_scorer(
    project: Project,
    settings: Settings,
    options: ScorerOptions,
    progress: ProgressTracker,
    stop: threading.Event,
    vectors: VectorReader,
) -> None:
    """Check, connect, score until ``stop`` is set, and close all connections; ``vectors`` reads other pipelines' views.

    Raises:
        PenstockError: if a check fails at the start, or if the scorer cannot continue.
    """
    kafka = settings.kafka.access
    largest = check_topics(project, kafka)
    with (
        open_versions(project, settings, options.limits.max_batch) as versions,
        _components(project, kafka, options, versions, vectors, largest, progress, stop) as components,
    ):
        _log.info(
            "scorer %s: %s -> %s with %s",
            options.instance,
            project.pipeline.features_topic,
            project.pipeline.predictions_topic,
            components.line_ups.latest(),
        )
        _collect_garbage_seldom()
        Scorer(
            project.pipeline.features_topic,
            project.pipeline.source.topic,
            components,
            options.limits,
            now=_now,
            wait=stop.wait,
            stopping=stop.is_set,
        ).run()
    _log.info("scorer %s stopped; every committed batch is complete", options.instance)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _collect_garbage_seldom() -> None:
    """Let batches come and go without a collection: their tuples take part in no cycle, but would be searched for one.

    With Python's defaults that took a quarter of the scorer's time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def check_topics(project: Project, kafka: KafkaAccess) -> Mapping[str, int]:
    """Check the topics; returns the bytes of the longest record that each takes."""
    pipeline = project.pipeline
    written = [pipeline.predictions_topic, dead_letters_of(pipeline.predictions_topic)]
    topics = [pipeline.features_topic, *written, pipeline.shadow_topic]
    require_topics(topics, kafka, partitions=pipeline.source.partitions, pipeline=project.reference)
    policies = [pipeline.rollout_topic, pipeline.rollout_log_topic]
    require_topics(policies, kafka, partitions=1, pipeline=project.reference)
    found = topic_settings(topics, kafka)
    answers = {topic: found[topic] for topic in written}
    check_topic_settings(answers, kafka)
    try:
        raw = topic_settings([source.topic for source in pipeline.sources if source.triggers], kafka)
    except PenstockError as error:
        # Scoring needs no right on the raw topic.
        _log.warning("cannot check that predictions are kept as long as raw events: %s", error.what)
    else:
        for topic, of_topic in raw.items():
            for warning in retention_warnings(topic, of_topic, answers):
                _log.warning("%s", warning)
    largest = message_limits(found)
    require_room(room_of_scorer(pipeline, largest), largest, kafka)
    return largest


@contextmanager
def _components(
    project: Project,
    kafka: KafkaAccess,
    options: ScorerOptions,
    versions: Versions,
    vectors: VectorReader,
    largest: Mapping[str, int],
    progress: ProgressTracker,
    stop: threading.Event,
) -> Iterator[ScorerComponents]:
    """The components of a scorer, for the duration of the block."""
    pipeline, predictions = project.pipeline, project.pipeline.predictions_topic
    group = group_of(pipeline.name, "scorer")
    transactional_id = f"{group}-{options.instance}"
    metrics = ScorerMetrics(REGISTRY, pipeline.name, options.limits.max_batch)
    seating = Seating(project, versions, options.deadlines, largest, lambda _reason: metrics.triton_failures.inc())
    follower = PolicyFollower(
        pipeline, options.instance, kafka, seating.line_up, _now, on_refused=metrics.policy_refusals.inc
    )
    metrics.policy_behind.set_function(follower.is_behind)
    history = PredictionHistory(
        kafka,
        predictions,
        dead_letters_of(predictions),
        pipeline.source.topic,
        clock=time.monotonic,
        stopping=stop.is_set,
        on_unreadable=metrics.history_unreadable.inc,
    )
    producer = TransactionalProducer(
        producer_factory(kafka, transactional_id),
        transactional_id,
        clock=time.monotonic,
        wait=stop.wait,
        stopping=stop.is_set,
        on_replaced=lambda doubt: metrics.producers_replaced[doubt].inc(),
    )
    config = consumer_config(kafka, group, options.instance)
    watch = LagWatch(kafka, pipeline.name, "scorer", progress)
    gaps = GapPolicy(
        pipeline.name,
        "scorer",
        (pipeline.features_topic,),
        "Their events get no prediction.",
        f"penstock scorer run {project.reference} --instance {options.instance}",
        options.skip_deleted,
    )
    with closing(history), follower.following(), watch:
        yield ScorerComponents(
            new_consumer=partial(Consumer, config, logger=logging.getLogger("scoring.kafka")),
            producer=producer,
            history=history,
            line_ups=follower,
            other_views=OtherViews(
                project.other_views,
                pipeline.model.inputs,
                pipeline.categories,
                vectors,
                clock=time.monotonic,
                on_read=metrics.observe_lookups,
                on_request=metrics.lookup_seconds.observe,
            ),
            reader=seating.reader(follower.latest().champion.writer),
            metrics=metrics,
            watch=watch,
            resets=OffsetResets(gaps),
        )
