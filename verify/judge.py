"""Judges a run: every check, on data that was read before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import cache, partial

from sklearn.metrics import roc_auc_score

from penstock.kafka.names import dead_letters_of
from penstock.kafka.reading import Record
from schemas.codec import Registry
from streams.definitions.pipeline import Model
from streams.oracle.lookups import LookupHistory
from streams.plan.model import PipelinePlan
from streams.plan.project import Project
from verify.check_backfill import BackfillFindings, check_backfill
from verify.check_built_sets import check_built_sets
from verify.check_cascade import CascadeFindings, check_cascade, chosen_bands
from verify.check_data_quality import check_data_quality
from verify.check_drift import check_drift
from verify.check_events import Judged, check_dead_letters, judge_source, with_shared_ids
from verify.check_features import check_features
from verify.check_gates import check_gates
from verify.check_lookups import as_published, check_lookups, history_of
from verify.check_loop import LoopFindings, check_loop
from verify.check_other_views import check_other_views
from verify.check_predictions import check_predictions, model_vectors, policy_version
from verify.check_quality import check_quality
from verify.check_replays import check_replays
from verify.check_rollout import RolloutFindings, champion_of, check_rollout
from verify.check_scores import ScoreCheck, Scored
from verify.check_shadows import TOPIC as SHADOW_TOPIC
from verify.check_shadows import ShadowFindings, check_shadows
from verify.check_stores import check_cassandra, check_redis
from verify.check_timers import check_timers
from verify.check_training import TrainingFindings, check_training
from verify.check_unscored import check_unscored
from verify.dead_letters import read_letter
from verify.findings import MAX_EXAMPLES, Findings
from verify.hosted import HostedScorers, Scorer, nobody
from verify.labels import LabelHistory, known_labels, label_history
from verify.loop_quality import Area, Stage, loop_quality
from verify.measured import Measured
from verify.model_versions import ModelVersions
from verify.published import Position, Published
from verify.report import CascadeReport, ModelReport, PipelineReport, RolloutReport, percentiles
from verify.rollout_log import RolloutLog
from verify.run_data import RunData
from verify.unpublished import check_unpublished


def judge(
    project: Project,
    run: RunData,
    measured: Measured | None = None,
    *,
    pii_key: bytes,
    registry: Registry | None = None,
    epochs: int = 1,
    hosted: HostedScorers = nobody,
) -> PipelineReport:
    """Check everything that a pipeline published and stored against its raw events.

    Args:
        project: The pipeline.
        run: What its run left.
        measured: Client-side measurements of the run: they give latency, throughput, and the model's quality on events
            later than its training data.
        pii_key: The key that hashes personal data.
        registry: Finds schemas of Confluent's framing.
        epochs: How often the job has started without state.
        hosted: Scores with versions whose model only Triton has.
    """
    pipeline, plan = project.pipeline, project.plan
    history = history_of(project, run, pii_key, registry)
    sources = judged_sources(project, run, pii_key, registry, history=history)
    triggering, others = by_role(plan, sources)
    events = {position: event for one in triggering for position, event in one.events.items()}
    letters = [
        check_dead_letters(of_source, plan.pipeline, source.topic, records)
        for of_source, source, records in zip(sources, plan.sources, run.dead_letters, strict=True)
    ]
    withheld = check_unpublished(plan, events, run.unpublished, project.features_decoder())
    emitted = [*run.features, *withheld.records]
    of_events = [record for record in run.features if not record.is_timer]
    # A timer's letter names the entity's last event, which may have a record.
    without_value = withheld.without_value - {record.position for record in (*of_events, *withheld.records)}
    features = check_features(
        plan,
        events,
        emitted,
        arrivals=sources[0].arrivals(),
        others=[one.events for one in others],
        without_value=without_value,
    )
    check_lookups(plan, history, events, of_events, features)
    timers = check_timers(plan, events, emitted, others=[one.events for one in others], without_value=without_value)
    replays = check_replays(plan, dead_letters_of(pipeline.predictions_topic), run)
    too_large = {record.position for record in withheld.records} - {record.position for record in of_events}
    too_large |= without_value
    versions = ModelVersions(run.models, hosted)
    rollout = check_rollout(plan, run)
    unscored = check_unscored(
        plan,
        pipeline.model,
        of_events,
        run.unscored,
        run.unreadable,
        _ways_to_score(project, versions, rollout.log),
        replays.replayed,
    )
    # Those that a replay scored have a prediction all the same.
    predicted = {record.position for record in run.predictions if record.replayed} & withheld.excerpts.keys()
    unpredicted = too_large - predicted | unscored.positions
    scored = check_predictions(
        plan,
        pipeline.model,
        {place: event for place, event in events.items() if place not in unpredicted},
        of_events,
        run.predictions,
        versions.scorer,
        excerpts=withheld.excerpts,
        tolerance_of=versions.tolerance,
        contributions_of=versions.contributions,
        explored=rollout.explored,
    )
    shadows = check_shadows(
        pipeline.model,
        rollout.log.policies,
        run.predictions,
        run.shadows,
        scored.judged,
        lambda name: _scores_in_shadow(pipeline.model, versions, name),
    )
    ways, ways_in_shadow = (
        _check_ways(project, versions, judged_scores, topic)
        for judged_scores, topic in ((scored.judged, "predictions"), (shadows.judged, SHADOW_TOPIC))
    )
    elsewhere = check_other_views(pipeline.model, project.other_views, of_events, run.predictions, run.others)
    redis = check_redis(plan, run.features, run.redis, run.read_at_ms)
    cassandra = check_cassandra(
        plan,
        run.features,
        run.predictions,
        run.cassandra,
        run.unpublished,
        run.unscored,
        backfills=run.backfills,
        keyspace=run.keyspace,
    )
    replayable = sources
    if run.backfills and any(of_source.refused_by_clock for of_source in sources):
        replayable = judged_sources(project, run, pii_key, registry, history=history, live=False)
    replayed = _check_backfills(project, run, replayable, of_events, events.keys(), too_large)
    read_labels = _label_reader(project, registry)
    trained = _check_training(project, run, read_labels)
    built = check_built_sets(project, run, read_labels)
    gates = check_gates(plan, pipeline, run.models, run.backfills, run.labels, read_labels, versions.scorer)
    counted = check_quality(project, run, read_labels)
    drift = check_drift(
        pipeline,
        run.models,
        run.features,
        run.predictions,
        run.alerts,
        run.states,
        measured.drift_from_ms if measured else None,
    )
    raw_counts = check_data_quality(project, run, registry)
    loop = check_loop(pipeline.incidents_topic, run.incidents, run.alerts, rollout.log.changes)
    for place in run.unreadable:
        of_topic = {"features": features, "predictions": scored}.get(place.partition("[")[0], rollout)
        of_topic.mismatch(f"{place}: is not a record that Penstock publishes")
    quality = _quality(project, run, measured, versions, registry) if measured else None
    has_classes = pipeline.labels is not None and pipeline.labels.task != "regression"
    misses_quality = measured is not None and has_classes and quality is None
    checks: list[Findings] = [
        withheld,
        replays,
        features,
        timers,
        unscored,
        scored,
        rollout,
        shadows,
        ways,
        ways_in_shadow,
        elsewhere,
        redis,
        cassandra,
        *replayed,
        trained,
        built,
        gates,
        counted,
        drift,
        raw_counts,
        loop,
    ]
    examples = [example for _, _, of_letters in letters for example in of_letters]
    examples += [example for check in checks for example in check.examples]
    return PipelineReport(
        events_valid=len(events),
        events_updating=sum(len(other.events) for other in others),
        events_invalid=sum(len(each.rejections) for each in sources),
        events_duplicate=sum(len(each.duplicates) for each in sources),
        events_ignored=sum(len(each.ignored) for each in sources),
        dead_letters=sum(found for found, _, _ in letters),
        dead_letter_mismatches=sum(wrong for _, wrong, _ in letters) + withheld.mismatches + replays.mismatches,
        letters_replayed=len(replays.replayed),
        features_too_large=len(too_large - predicted),
        events_unscored=len(unscored.positions),
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
        prediction_mismatches=scored.mismatches + ways.mismatches + elsewhere.mismatches + unscored.mismatches,
        fallback_predictions=scored.fallbacks,
        cascade=None
        if pipeline.model.cascade is None
        else CascadeReport(by_strong=ways.by_strong, audited=ways.audited, differing=ways.differing),
        rollout=_rollout(rollout, shadows, run),
        rollout_mismatches=rollout.mismatches + shadows.mismatches + ways_in_shadow.mismatches,
        redis_checked=redis.checked,
        redis_mismatches=redis.mismatches,
        cassandra_rows=cassandra.checked,
        cassandra_rows_compared=cassandra.compared,
        cassandra_refused=cassandra.refused,
        cassandra_mismatches=cassandra.mismatches,
        backfill_rows=sum(one.rows for one in replayed),
        backfill_checked=sum(one.checked for one in replayed),
        backfill_order_differences=sum(one.order_differences for one in replayed),
        backfill_mismatches=sum(one.mismatches for one in replayed),
        training_sets=trained.versions,
        training_sets_checked=trained.checked,
        training_mismatches=trained.mismatches,
        built_sets=built.sets,
        built_sets_checked=built.checked,
        built_set_mismatches=built.mismatches,
        gate_reports=gates.reports,
        gate_reports_checked=gates.checked,
        gate_mismatches=gates.mismatches,
        quality_histograms=counted.histograms,
        quality_mismatches=counted.mismatches,
        raw_records_counted=raw_counts.records,
        data_quality_mismatches=raw_counts.mismatches,
        incidents=loop.incidents,
        incident_causes=dict(loop.causes),
        incident_mismatches=loop.mismatches,
        retrained_version=None if loop.retrained is None else str(loop.retrained),
        loop_seconds=loop.seconds,
        quality=_loop_quality(project, run, measured, loop, read_labels),
        drift_from_ms=measured.drift_from_ms if measured else None,
        drift_alerts=drift.alerts,
        drift_incidents=drift.incidents,
        false_incidents_before_drift=drift.false_incidents if measured and measured.drift_from_ms is not None else 0,
        drift_alerts_missing=drift.missing,
        drift_alerts_extra=drift.extra,
        drift_alert_duplicates=drift.twice,
        drift_unfollowed=drift.unfollowed,
        drift_mismatches=drift.mismatches,
        latency_ms=percentiles(measured.latencies_ms) if measured else None,
        events_per_s=measured.events_per_s if measured else None,
        model=quality,
        not_checked=[
            *([] if events else ["there are no events"]),
            *(f"not checked: {text}" for text in run.unread),
            *features.unchecked,
            *timers.unchecked,
            *unscored.unchecked,
            *scored.unchecked,
            *shadows.unchecked,
            *ways.unchecked,
            *ways_in_shadow.unchecked,
            *elsewhere.unchecked,
            *cassandra.unchecked,
            *(text for one in replayed for text in one.unchecked),
            *built.unchecked,
            *counted.unchecked,
            *raw_counts.unchecked,
            *([] if drift.ran else ["the drift app never ran"]),
            *(["the model's quality: labels of both classes or its baseline are missing"] if misses_quality else []),
        ],
        examples=examples[:MAX_EXAMPLES],
    )


def _check_backfills(
    project: Project,
    run: RunData,
    replayable: Sequence[Judged],
    of_events: Sequence[Published],
    live: AbstractSet[Position],
    too_large: AbstractSet[Position],
) -> list[BackfillFindings]:
    """Check the backfills of the events that a replay takes; ``live`` are those that the job took."""
    plan = project.plan
    triggering, others = by_role(plan, with_shared_ids(plan, replayable, ()))
    events = {place: event for one in triggering for place, event in one.events.items()}
    return [
        check_backfill(
            plan,
            backfill,
            events,
            of_events,
            {place: timestamp for one in triggering for place, timestamp in one.timestamps.items()},
            arrivals=triggering[0].arrivals(),
            others=others,
            too_large=too_large,
            never_served=events.keys() - live,
        )
        for backfill in run.backfills
    ]


def _scores_in_shadow(model: Model, versions: ModelVersions, name: str) -> ScoreCheck:
    """How the scores in shadow of a model with this name are judged."""
    return ScoreCheck(
        model,
        policy_version(model),
        partial(versions.scorer, name),
        partial(versions.tolerance, name),
        partial(versions.contributions, name),
        topic=SHADOW_TOPIC,
    )


def _check_ways(project: Project, versions: ModelVersions, scored: Sequence[Scored], topic: str) -> CascadeFindings:
    """The check of a cascade, on predictions under the policy of the definition; nothing without a cascade."""
    pipeline, model = project.pipeline, project.pipeline.model
    if model.cascade is None:
        return CascadeFindings()
    policy, bands = policy_version(model), chosen_bands(versions.repository / model.name, model)
    under_it = [(p, vector) for p, vector in scored if p.value["policy_version"] == policy]
    return check_cascade(pipeline.name, model, under_it, versions.scorer, bands, versions.tolerance, topic=topic)


def _ways_to_score(
    project: Project, versions: ModelVersions, log: RolloutLog
) -> Callable[[Published | None], Sequence[Scorer]]:
    """Gives each way that the score of a feature record may have come about; of None, each under any policy."""
    ways = cache(lambda version: versions.ways(project.pipeline.model, version))
    return lambda record: ways(None if record is None else champion_of(log, record))


def _rollout(rollout: RolloutFindings, shadows: ShadowFindings, run: RunData) -> RolloutReport | None:
    """What there was of rollouts; None if there was nothing."""
    if not (run.rollout_log or run.rollout or rollout.predictions or run.shadows or run.corrections):
        return None
    return RolloutReport(
        changes=len(rollout.log.changes),
        markers=len(rollout.log.markers),
        refusals=len(rollout.log.refusals),
        predictions=rollout.predictions,
        by_champion=rollout.by_champion,
        explored=len(rollout.explored),
        shadows=shadows.shadows,
        shadows_missing=shadows.missing,
        corrections=len(run.corrections),
    )


def judged_sources(
    project: Project,
    run: RunData,
    pii_key: bytes,
    registry: Registry | None = None,
    *,
    history: LookupHistory | None = None,
    live: bool = True,
) -> list[Judged]:
    """The events of each source, judged by the contract, as a live job takes them or as a replay does.

    ``history`` is that of the reference data, and a pipeline with lookups needs it.
    """
    published: set[Position] = set()
    topics = [source.topic for source in project.plan.sources]
    for letter in run.unpublished:
        with suppress(ValueError):  # `check_unpublished` reports it
            found = read_letter(letter)
            if found.topic in topics:
                published.add(found.position._replace(source=topics.index(found.topic)))
    for record in run.features:
        published.add(record.position)
        published |= {place for places in record.updates.values() for place in places or ()}
    look_up = as_published(project.plan, history, run.features) if history else None
    letters = run.dead_letters if live else ((),) * len(run.sources)
    judged = [
        judge_source(project, number, records, pii_key, registry, published, of_source, look_up=look_up)
        for number, (records, of_source) in enumerate(zip(run.sources, letters, strict=True))
    ]
    return with_shared_ids(project.plan, judged, published)


def by_role(plan: PipelinePlan, judged: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Of the judged sources those whose events trigger records, and those that only update."""
    sources = list(zip(judged, plan.sources, strict=True))
    return [one for one, of in sources if of.triggers], [one for one, of in sources if not of.triggers]


def _check_training(
    project: Project, run: RunData, read_labels: Callable[[Sequence[Sequence[Record]]], LabelHistory]
) -> TrainingFindings:
    """Check what versions were trained on, if the run has a backfill and labels to make it again from."""
    if not run.backfills or project.pipeline.labels is None:
        return TrainingFindings()
    folders = [run.models / name for name in project.pipeline.model.names]
    return check_training(project.plan, folders, run.backfills, run.labels, read_labels)


def _label_reader(project: Project, registry: Registry | None) -> Callable[[Sequence[Sequence[Record]]], LabelHistory]:
    """Reads the records of the label topics; of a pipeline without labels there are none."""
    labels = project.pipeline.labels
    if labels is None:
        return lambda _: LabelHistory({})
    return lambda records: label_history(labels, records, project.schemas, registry)


def _quality(
    project: Project, run: RunData, measured: Measured, versions: ModelVersions, registry: Registry | None
) -> ModelReport | None:
    """AUC of the published scores and of the model without windows, on labelled events later than the training data.

    None if the pipeline has no labels or is a regression, these events are of one class only, or the model's baseline
    cannot be read.
    """
    pipeline, features_topic = project.pipeline, project.plan.features_topic
    if pipeline.labels is None or pipeline.labels.task == "regression":
        return None
    positive = 1 if pipeline.labels.positive is None else str(pipeline.labels.positive)
    labels = known_labels(pipeline.labels, run.labels, project.schemas, registry)
    by_offset = {Position(record.partition, record.offset): record.value for record in run.features}
    judged = [
        (p, by_offset.get(Position(p.value["features_partition"], p.value["features_offset"])))
        for p in run.predictions
        if measured.is_judged(p.value["event_time"])
        and p.value["event_id"] in labels
        and p.value["model_version"].isdigit()
        and p.value["features_topic"] == features_topic
        and math.isfinite(p.value["score"])
    ]
    # What is wrong with a prediction is already counted as a mismatch; it must not stop the verifier.
    later, served = [p for p, value in judged if value is not None], [value for _, value in judged if value is not None]
    truth = [int(labels[p.value["event_id"]] == positive) for p in later]
    if len(set(truth)) < 2:
        return None
    latest = max(later, key=lambda p: p.value["event_time"]).value
    version = str(latest["cascade"]["fast_version"] if latest["cascade"] else latest["model_version"])
    vectors = model_vectors(pipeline.model, served, len(served))
    try:
        baseline = versions.baseline_scores(pipeline.model.name, version, vectors)
    except (OSError, ValueError):
        return None
    return ModelReport(
        name=pipeline.model.name,
        version=version,
        auc=_auc(truth, later),
        auc_without_windows=None if baseline is None else round(float(roc_auc_score(truth, baseline)), 4),
        evaluated=len(later),
    )


def _loop_quality(
    project: Project,
    run: RunData,
    measured: Measured | None,
    loop: LoopFindings,
    read_labels: Callable[[Sequence[Sequence[Record]]], LabelHistory],
) -> dict[Stage, Area] | None:
    """The areas before drift, in it, and after retraining; None if no drift was injected, or nothing was retrained."""
    labels = project.pipeline.labels
    if labels is None or labels.task == "regression" or measured is None or measured.drift_from_ms is None:
        return None
    if loop.retrained is None or loop.replaced is None:
        return None
    return loop_quality(
        run.predictions,
        labels,
        read_labels(run.labels),
        trained_until_ms=measured.trained_until_ms,
        drift_from_ms=measured.drift_from_ms,
        replaced=loop.replaced,
        retrained=loop.retrained,
    )


def _auc(truth: Sequence[int], predictions: Sequence[Published]) -> float:
    return round(float(roc_auc_score(truth, [prediction.value["score"] for prediction in predictions])), 4)
