"""Runs every check of one pipeline on its topics, its stores and its model files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cassandra.query import tuple_factory

from backfill.parquet import read_backfill
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from schemas.dead_letters import DeadLetter
from schemas.history import record_decoder
from scoring.repository import ModelRepository
from scoring.training import auc, score_baseline, score_onnx
from sinks.stores import cassandra as cassandra_store
from sinks.stores import redis as redis_store
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project
from verify.check_backfill import BackfillFindings, check_backfill
from verify.check_drift import DriftFindings, check_drift
from verify.check_events import check_dead_letters
from verify.check_features import check_features
from verify.check_predictions import Scorer, check_predictions, model_vectors
from verify.check_stores import check_cassandra, check_redis
from verify.check_timers import check_timers
from verify.findings import MAX_EXAMPLES, Findings
from verify.judged_sources import judged_source
from verify.labels import known_labels
from verify.measured import Measured
from verify.published import Position, Published, published
from verify.report import ModelReport, PipelineReport, percentiles

_CASSANDRA_SAMPLE = 1_000


def verify(
    project: Project,
    settings: Settings,
    measured: Measured | None,
    *,
    seed: int,
    epochs: int = 1,
    backfill: Path | None = None,
) -> PipelineReport:
    """Check everything that a pipeline published and stored against its raw events.

    ``measured`` are the client-side measurements of the run: they give latency, throughput, and the model's quality on
    events later than its training data. ``epochs`` is how often the job has started without state. ``backfill`` is the
    folder of a complete backfill, which is compared with the published features. ``seed`` draws the sample of
    Cassandra's rows.

    Raises:
        PenstockError: if Kafka, a store or a model file cannot be read.
    """
    pipeline, plan = project.pipeline, project.plan
    kafka = settings.kafka.access
    judged, *others = (judged_source(project, number, settings) for number in range(len(plan.sources)))
    dead_letters, letters_wrong = 0, 0
    letter_examples: list[str] = []
    for source, of_source in zip(plan.sources, (judged, *others), strict=True):
        letters = [DeadLetter.read(r.key, r.value, r.headers) for r in read_topic(kafka, source.dead_letter_topic)]
        found, wrong, in_words = check_dead_letters(of_source, source.topic, letters)
        dead_letters += found
        letters_wrong += wrong
        letter_examples += in_words
    records = published(read_topic(kafka, pipeline.features_topic), project.features_decoder())
    features = check_features(
        plan,
        judged.events,
        records,
        arrivals=judged.arrivals(),
        others=[other.events for other in others],
    )
    timers = check_timers(plan, judged.events, records, others=[other.events for other in others])
    of_events = [record for record in records if not record.is_timer]
    predictions = published(read_topic(kafka, pipeline.predictions_topic), record_decoder("prediction"))
    scored = check_predictions(
        plan,
        pipeline.model,
        judged.events,
        of_events,
        predictions,
        lambda version: _scorer(pipeline, settings, version),
    )
    redis = check_redis(plan, records, redis_store.connect(settings.redis))
    with cassandra_store.connect(settings.cassandra, tuple_factory) as cluster, cluster.connect() as session:
        keyspace = settings.cassandra.keyspace
        cassandra = check_cassandra(plan, records, predictions, session, keyspace, sample=_CASSANDRA_SAMPLE, seed=seed)
    replayed = BackfillFindings()
    if backfill is not None:
        replayed = check_backfill(
            plan,
            read_backfill(backfill),
            judged.events,
            of_events,
            judged.timestamps,
            arrivals=judged.arrivals(),
            others=others,
        )
    drift = _drift(pipeline, settings, records, predictions, measured)
    checks: list[Findings] = [features, timers, scored, redis, cassandra, replayed, drift]
    examples = [*letter_examples, *(example for check in checks for example in check.examples)]
    return PipelineReport(
        events_valid=len(judged.events),
        events_updating=sum(len(other.events) for other in others),
        events_invalid=sum(len(each.rejections) for each in (judged, *others)),
        events_duplicate=sum(len(each.duplicates) for each in (judged, *others)),
        events_ignored=sum(len(each.ignored) for each in (judged, *others)),
        dead_letters=dead_letters,
        dead_letter_mismatches=letters_wrong,
        epochs=features.epochs,
        epochs_announced=epochs,
        features_emitted=features.emitted + timers.emitted,
        features_total=features.total + timers.total,
        features_checked=features.checked + timers.checked,
        features_unverifiable=features.unverifiable + timers.unverifiable,
        feature_mismatches=features.mismatches + timers.mismatches,
        feature_gaps=features.missing,
        predictions=scored.predictions,
        prediction_duplicates=scored.duplicates,
        prediction_gaps=scored.gaps,
        prediction_mismatches=scored.mismatches,
        fallback_predictions=scored.fallbacks,
        redis_checked=redis.checked,
        redis_mismatches=redis.mismatches,
        cassandra_rows=cassandra.checked,
        cassandra_mismatches=cassandra.mismatches,
        backfill_rows=replayed.rows,
        backfill_checked=replayed.checked,
        backfill_order_differences=replayed.order_differences,
        backfill_mismatches=replayed.mismatches,
        drift_from_ms=measured.drift_from_ms if measured else None,
        drift_alerts=drift.alerts,
        false_alarms_before_drift=drift.false_alarms if measured and measured.drift_from_ms is not None else 0,
        drift_alerts_missing=drift.missing,
        drift_alerts_extra=drift.extra,
        drift_alert_duplicates=drift.twice,
        drift_unfollowed=drift.unfollowed,
        drift_mismatches=drift.mismatches,
        latency_ms=percentiles(measured.latencies_ms) if measured else None,
        events_per_s=measured.events_per_s if measured else None,
        model=_quality(project, settings, records, predictions, measured) if measured else None,
        not_run=[] if drift.ran or pipeline.monitors is None else ["the drift app"],
        examples=examples[:MAX_EXAMPLES],
    )


def _drift(
    pipeline: Pipeline,
    settings: Settings,
    features: Sequence[Published],
    predictions: Sequence[Published],
    measured: Measured | None,
) -> DriftFindings:
    """Check drift by a replay of the detectors; no findings if the drift app never ran for this pipeline."""
    if pipeline.monitors is None:
        return DriftFindings()
    alerts = list(read_topic(settings.kafka.access, pipeline.drift_topic))
    states = list(read_topic(settings.kafka.access, pipeline.drift_state_topic))
    if not alerts and not states:
        return DriftFindings(ran=False)
    injected_ms = measured.drift_from_ms if measured else None
    repository = ModelRepository(settings.model_repository)
    return check_drift(pipeline, repository, features, predictions, alerts, states, injected_ms)


def _scorer(pipeline: Pipeline, settings: Settings, version: str) -> Scorer:
    path = settings.model_repository / pipeline.model.name / version / "model.onnx"
    return lambda vectors: score_onnx(path, vectors)


def _quality(
    project: Project,
    settings: Settings,
    records: Sequence[Published],
    predictions: Sequence[Published],
    measured: Measured,
) -> ModelReport | None:
    """AUC of the published scores and of the model without windows, on labelled events later than the training data."""
    pipeline = project.pipeline
    if pipeline.labels is None:
        return None
    topic = read_topic(settings.kafka.access, pipeline.labels.topic)
    labels = known_labels(pipeline.labels, topic, project.schemas)
    by_offset = {Position(r.partition, r.offset): r.value for r in records}
    judged = [
        (p, by_offset.get(Position(p.value["features_partition"], p.value["features_offset"])))
        for p in predictions
        if p.value["event_time"] > measured.trained_until_ms and p.value["event_id"] in labels
    ]
    # A prediction without its feature record is already counted as a mismatch; it must not stop the verifier.
    later, served = [p for p, value in judged if value is not None], [value for _, value in judged if value is not None]
    truth = np.array([labels[p.value["event_id"]] for p in later])
    version = max((p.value["model_version"] for p in later), key=int, default="")
    vectors = model_vectors(pipeline.model, served, len(served))
    baseline = score_baseline(settings.model_repository / pipeline.model.name / version, vectors)
    return ModelReport(
        name=pipeline.model.name,
        version=version,
        auc=round(auc(np.array([p.value["score"] for p in later]), truth), 4),
        auc_without_windows=round(auc(baseline, truth), 4),
        evaluated=len(later),
    )
