"""The Prometheus metrics of a rollout controller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from penstock.kafka.end_watch import DOUBTS
from scoring.rollout.evidence import WORST_FIRST, Verdict
from scoring.rollout.guardrails import GuardrailReport
from scoring.rollout.measures import Measured
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.transitions import Decision

STATUSES = ("none", "running", "paused", "ended")
DECISIONS = get_args(Decision)
OUTCOMES = ("written", "aborted", "unknown")
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0)

ArmCounts: TypeAlias = Mapping[tuple[str, str], int]
"""How many events an arm has answered on a route."""


class ControllerMetrics:
    """The metrics of one controller.

    Args:
        registry: The registry that exposes them.
        pipeline: The pipeline's name.
        topics: The topics that it reads.
    """

    def __init__(self, registry: CollectorRegistry, pipeline: str, topics: Sequence[str]) -> None:
        self._pipeline = pipeline

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"penstock_rollout_{name}", text, ["pipeline", *labels], registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"penstock_rollout_{name}", text, ["pipeline", *labels], registry=registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(
                f"penstock_rollout_{name}", text, ["pipeline"], registry=registry, buckets=_SECONDS
            ).labels(pipeline)

        self._status = gauge("status", "1 for the rollout's status; none before the first policy", "status")
        self._step = gauge("step", "Which of its steps a canary is at, from 0").labels(pipeline)
        self._weight = gauge("weight", "The share of entities of each arm", "arm")
        self._events = counter("arm_events", "Events that an arm has answered, by route", "arm", "route")
        self._guardrail = {
            name: gauge(
                f"guardrail_{name}",
                f"{text}; of a guardrail that judges several versions or groups, of the one that is worst off",
                "guardrail",
            )
            for name, text in (
                ("low", "What the measured quantity is at least"),
                ("high", "What the measured quantity is at most"),
                ("bound_low", "What it must be at least"),
                ("bound_high", "What it may be at most"),
            )
        }
        self._verdict = gauge("guardrail_verdict", "1 for the guardrail's verdict", "guardrail", "verdict")
        self._decisions = counter("decisions", "Changes of the policy that the controller has published", "decision")
        self.pending = gauge(
            "pending", "Answers that scorers had written before the last look, and that were not read then"
        ).labels(pipeline)
        self._unreadable = counter("unreadable", "Records that could not be read, and were passed over", "topic")
        self._anew = counter("begun_anew", "How often evidence was lost, and the step began anew").labels(pipeline)
        self._transactions = counter("transactions", "Transactions with the state, by outcome", "outcome")
        self._replaced = counter(
            "producers_replaced",
            "Producers replaced because the end of a transaction may have been sent twice, by what was noticed",
            "reason",
        )
        self.observe_seconds = histogram("observe_seconds", "Time to read a batch and take it into the state")
        self.decide_seconds = histogram("decide_seconds", "Time to compute the verdicts")
        self.save_seconds = histogram("save_seconds", "Time to save the state")
        # Initialise at 0: rate() misses the first event of a series that only starts with it.
        for family, values in (
            (self._decisions, DECISIONS),
            (self._unreadable, topics),
            (self._transactions, OUTCOMES),
            (self._replaced, DOUBTS),
        ):
            for value in values:
                family.labels(pipeline, value)
        self.set_change(None)

    def set_change(self, change: PolicyChange | None) -> None:
        """The policy that is effective from now on; what the guardrails said of the one before is shown no more."""
        self.set_reports(())
        present = "none" if change is None else change.status
        for status in STATUSES:
            self._status.labels(self._pipeline, status).set(status == present)
        self._step.set(0 if change is None else change.step)
        self._weight.clear()
        for arm, weight in {} if change is None else change.policy.weights.items():
            self._weight.labels(self._pipeline, arm).set(weight)

    def set_reports(self, reports: Iterable[GuardrailReport]) -> None:
        """What the guardrails say now."""
        worst: dict[str, GuardrailReport] = {}
        for report in reports:
            held = worst.setdefault(report.guardrail, report)
            if _rank(report.verdict) < _rank(held.verdict):
                worst[report.guardrail] = report
        for family in (*self._guardrail.values(), self._verdict):
            family.clear()
        for name, report in worst.items():
            for verdict in Verdict:
                self._verdict.labels(self._pipeline, name, verdict).set(verdict == report.verdict)
            if report.measured:
                self._set_measured(name, min(report.measured, key=lambda each: _rank(each.verdict)))

    def _set_measured(self, guardrail: str, measured: Measured) -> None:
        (low, high), (bound_low, bound_high) = measured.interval, measured.allowed
        values = {"low": low, "high": high, "bound_low": bound_low, "bound_high": bound_high}
        for name, value in values.items():
            self._guardrail[name].labels(self._pipeline, guardrail).set(value)

    def add_events(self, counts: ArmCounts) -> None:
        """Count events that are in the saved state."""
        for (arm, route), number in counts.items():
            self._events.labels(self._pipeline, arm, route).inc(number)

    def decided(self, decision: str) -> None:
        """Count one of the DECISIONS, when it is published."""
        self._decisions.labels(self._pipeline, decision).inc()

    def unreadable(self, topic: str) -> None:
        """Count a record that was passed over."""
        self._unreadable.labels(self._pipeline, topic).inc()

    def begun_anew(self) -> None:
        """Count a loss of evidence."""
        self._anew.inc()

    def transaction(self, outcome: str) -> None:
        """Count a transaction by one of the OUTCOMES."""
        self._transactions.labels(self._pipeline, outcome).inc()

    def replaced(self, doubt: str) -> None:
        """Count a producer that was replaced."""
        self._replaced.labels(self._pipeline, doubt).inc()


def _rank(verdict: Verdict) -> int:
    return WORST_FIRST.index(verdict)
