"""``penstock scorer``: runs the scoring consumer of a pipeline."""

from __future__ import annotations

import logging
import signal
import threading
import time

import click
from confluent_kafka import Consumer
from prometheus_client import REGISTRY

from penstock.commands.options import metrics_option
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import dead_letters_of, group_of
from penstock.kafka.topics import require_topics
from penstock.kafka.transactions import TransactionalProducer, producer_factory
from penstock.settings import Settings
from penstock.telemetry import Progress, configure_logging, serve
from scoring.history import PredictionHistory
from scoring.inference import Inference, OnnxSession
from scoring.metrics import Metrics
from scoring.predictions import ModelIdentity, PredictionWriter
from scoring.repository import ModelRepository
from scoring.scorer import Limits, Parts, Scorer, consumer_config
from scoring.startup import check_logs, check_model, fallback_file
from scoring.triton import ServedModel, Triton, TritonUnavailable
from scoring.vectors import Vectorizer
from streams.plan.project import Project, open_project

_log = logging.getLogger(__name__)


@click.group()
def scorer() -> None:
    """Score features through Triton, exactly once."""


@scorer.command()
@click.argument("pipeline")
@click.option(
    "--instance",
    envvar="PENSTOCK_SCORER_INSTANCE",
    default="0",
    show_default=True,
    show_envvar=True,
    help="Name of this scorer among those of the pipeline; keep it over restarts, give each its own.",
)
@click.option(
    "--max-batch", type=click.IntRange(1, 100_000), default=1024, show_default=True, help="Most records per batch."
)
@click.option(
    "--linger-ms",
    type=click.IntRange(0, 1000),
    default=5,
    show_default=True,
    help="How long a batch is collected under load; a record that comes alone is scored at once.",
)
@click.option(
    "--deadline-ms",
    type=click.IntRange(1, 10_000),
    default=200,
    show_default=True,
    help="How long Triton may take for a batch before this process scores it.",
)
@metrics_option
def run(
    pipeline: str, instance: str, max_batch: int, linger_ms: int, deadline_ms: int, metrics_port: int | None
) -> None:
    """Score the features of PIPELINE until stopped (SIGTERM or Ctrl-C).

    Each micro-batch is one call to Triton and one Kafka transaction of predictions, dead letters and offsets. When
    Triton fails or is late, the same model version answers in this process and the prediction says so.
    """
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    project, settings = open_project(pipeline), Settings()
    limits = Limits(max_batch=max_batch, linger_s=linger_ms / 1000)
    progress = Progress(time.monotonic)
    with serve(metrics_port, settings.metrics_host, progress.health):
        run_scorer(project, settings, instance, limits, deadline_ms / 1000, progress, stop)


def run_scorer(
    project: Project,
    settings: Settings,
    instance: str,
    limits: Limits,
    deadline_s: float,
    progress: Progress,
    stop: threading.Event,
) -> None:
    """Check, connect, score until ``stop`` is set, and give everything back.

    Raises:
        PenstockError: if something that must hold does not, at the start or later.
    """
    plan = project.plan
    pipeline = project.pipeline
    predictions = pipeline.predictions_topic
    kafka = settings.kafka.access
    answers = [predictions, dead_letters_of(predictions)]
    require_topics(
        [pipeline.features_topic, *answers], kafka, partitions=pipeline.source.partitions, pipeline=project.reference
    )
    check_logs(kafka, answers)
    triton = Triton(settings.triton.access)
    served = _served(triton, ModelRepository(settings.model_repository), pipeline.model.name)
    check_model(pipeline, plan, served, limits.max_batch)
    fallback = OnnxSession(fallback_file(settings.model_repository, served), len(served.inputs))

    group = group_of(pipeline.name, "scorer")
    transactional_id = f"{group}-{instance}"
    metrics = Metrics(REGISTRY, pipeline.name, limits.max_batch)
    metrics.model(served.name, served.version)
    inference = Inference(
        triton,
        served,
        fallback,
        deadline_s=deadline_s,
        clock=time.monotonic,
        on_fallback=lambda _reason: metrics.triton_failures.inc(),
    )
    history = PredictionHistory(
        kafka, predictions, dead_letters_of(predictions), clock=time.monotonic, stopping=stop.is_set
    )
    producer = TransactionalProducer(
        producer_factory(kafka, transactional_id),
        transactional_id,
        clock=time.monotonic,
        wait=stop.wait,
        stopping=stop.is_set,
    )
    consumer = Consumer(consumer_config(kafka, group, instance), logger=logging.getLogger("scoring.kafka"))
    parts = Parts(
        consumer=consumer,
        producer=producer,
        history=history,
        inference=inference,
        decoder=project.features_decoder(),
        vectorizer=Vectorizer(pipeline.model.inputs),
        writer=PredictionWriter(pipeline, plan, ModelIdentity(served.name, str(served.version))),
        metrics=metrics,
        watch=LagWatch(kafka, pipeline.name, "scorer", progress),
    )
    _log.info(
        "scorer %s: %s -> %s with model %s version %d",
        instance,
        plan.features_topic,
        predictions,
        served.name,
        served.version,
    )
    try:
        with parts.watch:
            Scorer(
                pipeline.features_topic,
                parts,
                limits,
                now=lambda: time.time_ns() // 1_000_000,
                wait=stop.wait,
                stopping=stop.is_set,
            ).run()
    finally:
        consumer.close()
        history.close()
        triton.close()
    _log.info("scorer %s stopped; every committed batch is whole", instance)


def _served(triton: Triton, repository: ModelRepository, model: str) -> ServedModel:
    """What Triton serves; what it will serve, by its repository, if it is down: a scorer must be able to begin then."""
    try:
        return triton.served(model)
    except TritonUnavailable as error:
        served = repository.served(model)
        if served is None:
            raise
        _log.warning("begins without Triton, with version %s of its repository: %s", served.version, error)
        return served
