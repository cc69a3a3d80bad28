"""``report.json``: the figures of a run and whether all checks passed, as one typed document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, computed_field

from penstock.counts import counted
from verify.loop_quality import Area, Stage

Verdict: TypeAlias = Literal["passed", "failed", "incomplete"]


class Latency(BaseModel):
    """Milliseconds from the raw event's Kafka timestamp to the prediction being readable (committed)."""

    p50: float
    p95: float
    p99: float


class ModelReport(BaseModel):
    """The model that scored last, and its quality on events later than its training data.

    ``auc_without_windows`` is None for a version without a baseline, such as an imported one.
    """

    name: str
    version: str
    auc: float
    auc_without_windows: float | None
    evaluated: int


class CascadeReport(BaseModel):
    """Predictions of a cascade: how many the strong model decided, and its regret.

    ``audited`` counts the clear cases that both models scored, ``differing`` those of them that the strong model would
    have decided otherwise.
    """

    by_strong: int
    audited: int
    differing: int


class RolloutReport(BaseModel):
    """The rollouts of a pipeline: what their log has, and what was served under it.

    ``predictions`` counts those that name an arm, ``by_champion`` those of them that the champion scored because their
    candidate gave no number, ``explored`` the events whose decision is the exploration's. ``shadows_missing`` counts
    scores that a version in shadow owes: it failed, or had no finite number.
    """

    changes: int
    markers: int
    refusals: int
    predictions: int
    by_champion: int
    explored: int
    shadows: int
    shadows_missing: int
    corrections: int


class PipelineReport(BaseModel):
    """One pipeline's run. :meth:`failures` lists what is wrong, :meth:`unchecked` what could not be checked.

    ``features_checked`` counts the feature values that were compared, of ``features_total`` that were published.
    ``letters_replayed`` counts dead letters that `penstock dlq replay` has answered.
    ``features_too_large`` counts valid events that have a dead letter in place of a feature record and a prediction,
    ``events_unscored`` those that have a dead letter of the scorer in place of a prediction.
    ``cascade`` is None for a pipeline without one, ``rollout`` for one that never had a rollout.
    ``features_unverifiable`` counts vectors whose events are not known in order. ``epochs`` is how often a view began
    without state (docs/concepts/semantics.md), ``epochs_announced`` how often the user says that it did.
    ``not_checked`` says in words what left nothing to check.

    ``training_sets_checked`` counts the versions of the model whose training set could be built a second time, of
    ``training_sets``: those of this backfill and these views. ``built_sets`` counts the folders of training sets that
    were given, ``built_sets_checked`` those of them that could be built a second time.

    ``quality_histograms`` counts the histograms of scores by outcome that were counted again, ``raw_records_counted``
    the raw records that data quality had counted, and that were counted again.

    ``incidents`` counts those that alerts have opened, ``incident_causes`` by their last cause. ``retrained_version``
    is the version that an incident has led to and that was promoted, ``loop_seconds`` the time from its first alert to
    the promotion. ``quality`` has the area under the ROC curve by final labels: of the replaced version before the
    injected drift and in it, and of the retrained version, whenever it scored.

    ``cassandra_rows`` counts rows whose keys were compared; of ``cassandra_rows_compared`` every column was.
    ``cassandra_refused`` counts records that have a dead letter of the sink in place of their rows.

    ``drift_from_ms`` is the event time at which injected drift begins, None without it. Alerts before it are false
    alarms. Without injected drift, as on real data, no alert counts as a false alarm.

    ``events_valid`` counts events that must be scored, ``events_updating`` events of sources that only update the
    windows, and ``events_ignored`` valid events that their source's filter does not accept, and records that are no
    events in its envelope.
    """

    events_valid: int
    events_updating: int = 0
    events_invalid: int
    events_duplicate: int
    events_ignored: int = 0
    dead_letters: int
    dead_letter_mismatches: int
    letters_replayed: int = 0
    epochs: int
    epochs_announced: int = 1
    features_too_large: int = 0
    events_unscored: int = 0
    features_emitted: int
    features_total: int
    features_checked: int
    features_unverifiable: int
    feature_mismatches: int
    feature_gaps: int
    predictions: int
    prediction_duplicates: int
    prediction_gaps: int
    prediction_mismatches: int
    fallback_predictions: int
    cascade: CascadeReport | None = None
    rollout: RolloutReport | None = None
    rollout_mismatches: int = 0
    redis_checked: int
    redis_mismatches: int
    cassandra_rows: int
    cassandra_rows_compared: int
    cassandra_refused: int = 0
    cassandra_mismatches: int
    backfill_rows: int
    backfill_checked: int
    backfill_order_differences: int
    backfill_mismatches: int
    training_sets: int = 0
    training_sets_checked: int = 0
    training_mismatches: int = 0
    built_sets: int = 0
    built_sets_checked: int = 0
    built_set_mismatches: int = 0
    gate_reports: int = 0
    gate_reports_checked: int = 0
    gate_mismatches: int = 0
    quality_histograms: int = 0
    quality_mismatches: int = 0
    raw_records_counted: int = 0
    data_quality_mismatches: int = 0
    incidents: int = 0
    incident_causes: dict[str, int] = {}
    incident_mismatches: int = 0
    retrained_version: str | None = None
    loop_seconds: float | None = None
    quality: dict[Stage, Area] | None = None
    drift_from_ms: int | None
    drift_alerts: int
    drift_incidents: int
    false_incidents_before_drift: int
    drift_alerts_missing: int
    drift_alerts_extra: int
    drift_alert_duplicates: int
    drift_unfollowed: int
    drift_mismatches: int
    latency_ms: Latency | None
    events_per_s: float | None
    model: ModelReport | None
    not_checked: list[str] = []
    examples: list[str]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict:
        """``passed`` if everything was checked and nothing is wrong."""
        return "failed" if self.failures() else "incomplete" if self.unchecked() else "passed"

    def failures(self) -> list[str]:
        """The reasons why the run failed, one sentence each; empty if all checks passed."""
        zeros = {
            "feature_mismatches": "feature values differ from the oracle",
            "feature_gaps": "valid events have no features",
            "prediction_duplicates": "events were predicted more than once",
            "prediction_gaps": "valid events have no prediction",
            "prediction_mismatches": "predictions are wrong",
            "rollout_mismatches": "changes of rollout policies, arms or shadow predictions do not hold",
            "dead_letter_mismatches": "dead letters do not match the invalid events",
            "redis_mismatches": "vectors in Redis are not the latest",
            "cassandra_mismatches": "rows in Cassandra differ from what was published",
            "backfill_mismatches": "backfilled values or rows differ from what was served",
            "training_mismatches": "models were not trained on the backfill and the labels known by then",
            "built_set_mismatches": "rows or hashes of training sets are not those of a second build",
            "gate_mismatches": "reports of gates or promotions do not hold",
            "quality_mismatches": "histograms of quality are not those of the predictions and labels",
            "data_quality_mismatches": "counts or alerts of data quality are not those of the raw records",
            "incident_mismatches": "entries of the log of incidents do not hold",
            "drift_alerts_missing": "drift alerts are missing",
            "drift_alerts_extra": "drift alerts are not given by a replay of the records",
            "drift_alert_duplicates": "drift alerts were published more than once",
            "drift_unfollowed": "records were not read by the drift detectors",
            "drift_mismatches": "drift alerts or states differ from a replay",
        }
        found = [f"{getattr(self, name)} {text}" for name, text in zeros.items() if getattr(self, name)]
        if self.epochs > self.epochs_announced:
            found.append(
                f"a view began with empty windows {self.epochs} times, {self.epochs_announced} announced: state was "
                f"lost, unless `job start --empty` was intended; then verify with --epochs {self.epochs}"
            )
        scorable = self.events_valid - self.features_too_large - self.events_unscored
        if self.predictions != scorable:
            found.append(f"{counted(self.predictions, 'prediction')} for {scorable} valid events")
        if self.dead_letters != self.events_invalid:
            found.append(f"{self.dead_letters} dead letters for {self.events_invalid} invalid events")
        if self.drift_from_ms is not None and self.drift_incidents <= self.false_incidents_before_drift:
            found.append("drift was injected, and no alert reported it")
        without = None if self.model is None else self.model.auc_without_windows
        if self.model is not None and without is not None and self.model.auc <= without:
            found.append(f"the model (AUC {self.model.auc:.3f}) is not better than the one without windowed features")
        return found

    def unchecked(self) -> list[str]:
        """What could not be checked, one sentence each; empty if everything was."""
        found = list(self.not_checked)
        if self.features_unverifiable:
            found.append(f"{self.features_unverifiable} vectors cannot be verified: the order of their events is lost")
        if self.features_checked < self.features_total:
            found.append(f"only {self.features_checked} of {self.features_total} feature values were compared")
        if self.cassandra_rows and not self.cassandra_rows_compared:
            found.append("no row of Cassandra was compared as a whole")
        return found


class Report(BaseModel):
    """All pipelines of a run, and the versions of all components."""

    pipelines: dict[str, PipelineReport]
    versions: dict[str, str]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def held(self) -> bool:
        """Whether every pipeline passed."""
        return all(one.verdict == "passed" for one in self.pipelines.values())


def percentiles(latencies_ms: Sequence[float]) -> Latency | None:
    """p50, p95 and p99; None if there are no latencies."""
    if not latencies_ms:
        return None
    p50, p95, p99 = np.percentile(np.asarray(latencies_ms), [50, 95, 99])
    return Latency(p50=round(float(p50), 2), p95=round(float(p95), 2), p99=round(float(p99), 2))
