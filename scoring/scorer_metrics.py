"""The Prometheus metrics of a scorer: their definitions, and methods that record them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from penstock.kafka.end_watch import DOUBTS
from penstock.telemetry import AGE_BUCKETS_S
from schemas.columns import Mask
from scoring.audit import AuditCounts
from scoring.inference import FALLBACK, PRIMARY, Scores
from scoring.other_views import STATES
from scoring.prediction_format import ModelIdentity
from scoring.rollout.policy import SHADOW

STAGES = ("decode", "recall", "infer", "encode", "commit")
# From decoding a small batch to the longest transaction (one of 20 s has failed).
_STAGE_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0)
# Powers of four: the order of magnitude of a batch is enough.
_ROWS = (1, 4, 16, 64, 256, 1024, 4096)
# A batch below 1 was ended by --linger-ms, a batch of 1 by --max-batch.
_FILL = (0.01, 0.1, 0.25, 0.5, 0.75, 0.99, 1.0)


@dataclass(frozen=True)
class CascadeCounts:
    """How many events the strong model decided, how many were audited, and how many it would decide differently."""

    by_strong: int = 0
    audited: int = 0
    differing: int = 0

    @classmethod
    def of(cls, scores: Scores, is_predicted: Mask, threshold: float) -> CascadeCounts:
        """Count the predictions of a batch; a score of at least ``threshold`` is positive."""
        cascade = scores.cascade
        if cascade is None:
            return cls()
        both = is_predicted & cascade.audited & np.isfinite(cascade.strong)
        audit = AuditCounts.of(cascade.fast[both], cascade.strong[both], threshold)
        return cls(int((is_predicted & cascade.in_band).sum()), audit.audited, audit.differing)


@dataclass(frozen=True)
class AnswerCounts:
    """How many records of each kind a batch has, and the Kafka timestamp of its oldest scored event (epoch ms).

    ``primary`` and ``fallback`` are predictions of one arm of a rollout, or of none. ``shadow`` are predictions that
    nobody is served, ``without_shadow`` versions that gave the batch none.
    """

    arm: str | None = None
    primary: int = 0
    fallback: int = 0
    shadow: int = 0
    without_shadow: int = 0
    again: int = 0
    timers: int = 0
    undecodable: int = 0
    unscorable: int = 0
    cascade: CascadeCounts = CascadeCounts()
    oldest_ms: int | None = None


class ScorerMetrics:
    """The metrics of one scorer; every series exists from the start, at 0. Those of an arm begin with its policy.

    Args:
        registry: The registry that exposes them.
        pipeline: The pipeline's name.
        max_batch: The size of a full batch.
    """

    def __init__(self, registry: CollectorRegistry, pipeline: str, max_batch: int) -> None:
        self._pipeline = pipeline
        self._max_batch = max_batch

        def counter(name: str, text: str, label: str, values: tuple[str, ...]) -> dict[str, Counter]:
            made = Counter(f"penstock_scorer_{name}", text, ["pipeline", label], registry=registry)
            return {value: made.labels(pipeline, value) for value in values}

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"penstock_scorer_{name}", text, ["pipeline"], registry=registry, buckets=buckets).labels(
                pipeline
            )

        self.scored = counter("scored", "Committed predictions, by route", "route", (PRIMARY, FALLBACK))
        self.skipped = counter(
            "skipped",
            "Records skipped: re-emitted after a failure, or emitted by a timer",
            "reason",
            ("again", "timer"),
        )
        self.dead_letters = counter(
            "dead_letters", "Records that could not be scored, by the stage that failed", "stage", ("decode", "infer")
        )
        self.transaction_failures = counter(
            "transaction_failures",
            "Transactions that were aborted, or whose outcome was unknown at first",
            "outcome",
            ("aborted", "unknown"),
        )
        self.producers_replaced = counter(
            "producers_replaced",
            "Producers replaced because the end of a transaction may have been sent twice, by what was noticed",
            "reason",
            DOUBTS,
        )
        self.triton_failures = Counter(
            "penstock_scorer_triton_failures",
            "Calls to Triton that failed, exceeded --deadline-ms, or returned no number for a row",
            ["pipeline"],
            registry=registry,
        ).labels(pipeline)
        self.cascade = counter(
            "cascade",
            "Committed predictions of a cascade: decided by the strong model; clear cases that both models scored "
            "(audited), and those of them that it would have decided differently",
            "event",
            ("strong", "audited", "differing"),
        )
        self.waits = Counter(
            "penstock_scorer_waits",
            "Batches that are read again because Triton, which alone has the model, gave no scores",
            ["pipeline"],
            registry=registry,
        ).labels(pipeline)
        self.history_unreadable = Counter(
            "penstock_scorer_history_unreadable",
            "Records on the predictions topic that are not predictions, passed over",
            ["pipeline"],
            registry=registry,
        ).labels(pipeline)
        self._lookups = counter(
            "lookups", "Vectors of other pipelines' views that events need, by state", "state", STATES
        )
        self.lookup_seconds = histogram(
            "lookup_seconds", "Time of a round trip to Redis for the vectors of a batch", _STAGE_S
        )
        self._rows = histogram("batch_records", "Records per batch", _ROWS)
        self._fill = histogram("batch_fill_ratio", "Records per batch, as a share of --max-batch", _FILL)
        self._transaction_records = histogram("transaction_records", "Records written per transaction", _ROWS)
        self.age = histogram(
            "event_age_seconds",
            "Time from the raw event's Kafka timestamp to the committed prediction; the oldest of each transaction",
            AGE_BUCKETS_S,
        )
        stages = Histogram(
            "penstock_scorer_stage_seconds",
            "Time per batch and stage; of commit, per transaction",
            ["pipeline", "stage"],
            registry=registry,
            buckets=_STAGE_S,
        )
        self._stages = {stage: stages.labels(pipeline, stage) for stage in STAGES}
        self._model = Gauge(
            "penstock_scorer_model_info",
            "1 for the model version in use",
            ["pipeline", "model", "version"],
            registry=registry,
        )
        self._policy = Gauge(
            "penstock_scorer_policy_info",
            "1 for the version of the rollout policy in use; none before the first",
            ["pipeline", "policy"],
            registry=registry,
        )
        self.policy_behind = Gauge(
            "penstock_scorer_policy_behind",
            "1 while the latest rollout policy is not in use: it is being prepared, was refused, or is no policy",
            ["pipeline"],
            registry=registry,
        ).labels(pipeline)
        self.policy_refusals = Counter(
            "penstock_scorer_policy_refusals",
            "Rollout policies that could not be followed",
            ["pipeline"],
            registry=registry,
        ).labels(pipeline)
        self._arm_predictions = Counter(
            "penstock_scorer_arm_predictions",
            "Committed predictions under a rollout policy, by arm and route; arm shadow: those that nobody is served",
            ["pipeline", "arm", "route"],
            registry=registry,
        )
        self._shadow_failures = Counter(
            "penstock_scorer_shadow_failures",
            "Committed batches to which a version in shadow gave no scores; each version counts",
            ["pipeline"],
            registry=registry,
        ).labels(pipeline)
        self._arms = self._arms_before = frozenset[str]()

    def set_models(self, models: Iterable[ModelIdentity]) -> None:
        """Set the model versions that score from now on."""
        self._model.clear()
        for name, version in models:
            self._model.labels(self._pipeline, name, version).set(1)

    def set_policy(self, policy: str | None, arms: Iterable[str]) -> None:
        """Set the version of the rollout policy from now on, None before the first, and the names of its arms.

        The series of an arm that is gone last for one policy more: answers under the one before may still be committed.
        """
        self._policy.clear()
        self._policy.labels(self._pipeline, policy or "none").set(1)
        present = frozenset(arms)
        for route in (PRIMARY, FALLBACK):
            for arm in present:
                self._arm_predictions.labels(self._pipeline, arm, route)
            for arm in self._arms_before - self._arms - present:
                self._arm_predictions.remove(self._pipeline, arm, route)
        self._arms_before, self._arms = self._arms, present

    def observe_batch(self, records: int) -> None:
        """Record the size of a batch."""
        self._rows.observe(records)
        self._fill.observe(records / self._max_batch)

    def observe_lookups(self, states: Mapping[str, int]) -> None:
        """Record how many vectors of other pipelines' views a batch needs, by state."""
        for state, number in states.items():
            self._lookups[state].inc(number)

    def observe_committed(self, batches: Sequence[AnswerCounts], records: int, now: int) -> None:
        """Record a transaction of ``records`` answers to these batches, committed at ``now`` (epoch ms)."""
        self._transaction_records.observe(records)
        for counts in batches:
            self.scored[PRIMARY].inc(counts.primary)
            self.scored[FALLBACK].inc(counts.fallback)
            if counts.arm is not None:
                self._count_arm(counts.arm, PRIMARY, counts.primary)
                self._count_arm(counts.arm, FALLBACK, counts.fallback)
            self._count_arm(SHADOW, PRIMARY, counts.shadow)
            self._shadow_failures.inc(counts.without_shadow)
            self.skipped["again"].inc(counts.again)
            self.skipped["timer"].inc(counts.timers)
            self.dead_letters["decode"].inc(counts.undecodable)
            self.dead_letters["infer"].inc(counts.unscorable)
            self.cascade["strong"].inc(counts.cascade.by_strong)
            self.cascade["audited"].inc(counts.cascade.audited)
            self.cascade["differing"].inc(counts.cascade.differing)
        oldest_ms = min((counts.oldest_ms for counts in batches if counts.oldest_ms is not None), default=None)
        if oldest_ms is not None:
            self.age.observe(max(0, now - oldest_ms) / 1000)

    def _count_arm(self, arm: str, route: str, predictions: int) -> None:
        if predictions:
            self._arm_predictions.labels(self._pipeline, arm, route).inc(predictions)

    @contextmanager
    def time_stage(self, name: str) -> Iterator[None]:
        """Record the duration of one of the STAGES of a batch."""
        begin = perf_counter()
        try:
            yield
        finally:
            self._stages[name].observe(perf_counter() - begin)
