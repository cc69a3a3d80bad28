"""Reads the topics after a run and summarises them for the report: scores, labels, alerts, feature importance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import read_topic
from schemas.codec import Registry
from schemas.columns import ColumnReader
from schemas.history import record_decoder
from schemas.records import PREDICTION_SCHEMA
from scoring.gates.report import Report as GateReport
from scoring.gates.report import evidence
from scoring.overview import overviews
from scoring.repository import ModelRepository
from scoring.trained_model import Importance
from streams.definitions.monitors import LABELS
from streams.plan.project import Project
from verify.labels import known_labels
from verify.measured import Measured

# Four bins per power of ten of the odds, which resolves small and large scores equally well.
SCORE_EDGES = tuple(1 / (1 + 10 ** (-quarter / 4)) for quarter in range(-16, 17))
_LEAST_IN_BIN = 30
# The version that scored until the rollouts, if there are any: the demo begins with an empty repository.
_FIRST = 1


class _EvidenceModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class CalibrationBin(_EvidenceModel):
    """Labelled predictions with similar scores: their mean score, how many there are, and how many are positive."""

    mean_score: float
    labelled: int
    positives: int

    @property
    def share(self) -> float:
        """The share of positives."""
        return self.positives / self.labelled

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        interval = binomtest(self.positives, self.labelled).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)


class Scores(_EvidenceModel):
    """Published scores of one range of event time. ``histogram`` counts them between :data:`SCORE_EDGES`.

    ``flagged`` counts scores at or above the threshold. Of the ``labelled`` events, ``positives`` are positive;
    ``expected`` is the number of positives that the scores predict: the sum of the scores.
    """

    predictions: int
    histogram: tuple[int, ...]
    flagged: int
    labelled: int
    positives: int
    expected: float
    bins: tuple[CalibrationBin, ...]


class ReportedAlert(_EvidenceModel):
    """One published drift alert; ``at_ms`` is event time, epoch ms."""

    at_ms: int
    monitor: str
    detector: str
    statistic: float
    threshold: float
    reference: float
    current: float


class GateResult(_EvidenceModel):
    """What one gate found, in words; ``n`` counts the events or calls that it saw."""

    verdict: str
    gate: str
    where: str
    n: int
    measured: str
    passes: str


class Gates(_EvidenceModel):
    """What the gates said of the model on ``events`` that it was not trained on, when it was promoted."""

    verdict: str
    events: int
    results: tuple[GateResult, ...]


class Evidence(_EvidenceModel):
    """The report's data for one pipeline.

    The scores are those of events later than the training data, and earlier than any rollout: ``before`` the injected
    drift and ``after`` it (None without drift). ``monitors`` names all monitors, also those without alerts. Times are
    event time, epoch ms.
    """

    begin_ms: int
    end_ms: int
    trained_until_ms: int
    drift_from_ms: int | None
    threshold: float
    positive: str
    before: Scores
    after: Scores | None
    monitors: tuple[str, ...]
    alerts: tuple[ReportedAlert, ...]
    importance: tuple[Importance, ...]
    gates: Gates | None


def collect_evidence(
    project: Project,
    kafka: KafkaAccess,
    models: ModelRepository,
    measured: Measured,
    registry: Registry | None = None,
) -> Evidence:
    """Read the pipeline's predictions, alerts and labels, and its model's manifest.

    Raises:
        PenstockError: if Kafka or the model repository cannot be read, or nothing was predicted.
    """
    pipeline = project.pipeline
    predictions = [record.value or b"" for record in read_topic(kafka, pipeline.predictions_topic)]
    if not predictions:
        raise PenstockError("nothing was predicted", where=pipeline.predictions_topic)
    event_ids, times, scores = decode_predictions(predictions)
    labels = (
        known_labels(
            pipeline.labels, [read_topic(kafka, topic) for topic in pipeline.labels.topics], project.schemas, registry
        )
        if pipeline.labels
        else {}
    )
    truth = np.array([labels.get(event_id, -1) for event_id in event_ids], dtype=np.int8)
    monitors = pipeline.monitors
    alerts = decode_alerts(r.value or b"" for r in read_topic(kafka, pipeline.drift_topic)) if monitors else ()
    names = monitors.names() if monitors else ()
    names += (LABELS,) if any(one.monitor == LABELS for one in alerts) else ()
    drift, until, threshold = measured.drift_from_ms, measured.trained_until_ms, pipeline.model.threshold
    judged = np.array([measured.is_judged(time) for time in times.tolist()], np.bool_)
    before, after = (judged, None) if drift is None else (judged & (times < drift), judged & (times >= drift))
    name = pipeline.model.name
    return Evidence(
        begin_ms=int(times.min()),
        end_ms=int(times.max()),
        trained_until_ms=until,
        drift_from_ms=drift,
        threshold=threshold,
        positive=pipeline.model.positive,
        before=summarise_scores(scores[before], truth[before], threshold),
        after=None if after is None else summarise_scores(scores[after], truth[after], threshold),
        monitors=names,
        alerts=alerts,
        importance=models.manifest(name, _FIRST).importance,
        gates=_gates(overviews(models, name)[0].report),
    )


def _gates(report: GateReport | None) -> Gates | None:
    if report is None:
        return None
    results = (
        GateResult(
            verdict=one.verdict.value,
            gate=one.gate,
            where=one.where,
            n=one.n,
            measured=evidence(one),
            passes=one.limit,
        )
        for one in report.results
    )
    return Gates(verdict=report.verdict.value, events=report.events, results=tuple(results))


def summarise_scores(scores: NDArray[np.float64], truth: NDArray[np.int8], threshold: float) -> Scores:
    """Summarise scores [N] with their labels in ``truth`` [N]: 1, 0, or -1 if unknown."""
    labelled, flagged = truth >= 0, scores >= threshold
    clipped = np.clip(scores, SCORE_EDGES[0], SCORE_EDGES[-1])
    return Scores(
        predictions=len(scores),
        histogram=tuple(np.histogram(clipped, SCORE_EDGES)[0].tolist()),
        flagged=int(flagged.sum()),
        labelled=int(labelled.sum()),
        positives=int((truth == 1).sum()),
        expected=round(float(scores[labelled].sum()), 2),
        bins=tuple(_bins(scores[labelled], truth[labelled])),
    )


def decode_predictions(values: Sequence[bytes]) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64]]:
    """The event ids, event times and scores of predictions, at least one, of this or an earlier release."""
    columns, decoder = ColumnReader(PREDICTION_SCHEMA).locate(values), record_decoder("prediction")
    event_ids = [event_id or "" for event_id in columns.texts("event_id")]  # never null
    times, scores = columns.integers("event_time"), columns.numbers("score")
    for row in np.flatnonzero(~columns.plain).tolist():
        one = decoder.decode(values[row])
        event_ids[row], times[row], scores[row] = one["event_id"], one["event_time"], one["score"]
    return event_ids, times, scores


def decode_alerts(values: Iterable[bytes]) -> tuple[ReportedAlert, ...]:
    """The alerts on a drift topic by event time; alerts of one model version with the same id count once."""
    decoder = record_decoder("drift_alert")
    alerts = {}
    for value in values:
        alert = decoder.decode(value)
        alerts[alert["model_version"], alert["alert_id"]] = ReportedAlert(
            at_ms=alert["event_time"],
            **{name: alert[name] for name in ("monitor", "detector", "statistic", "threshold", "reference", "current")},
        )
    return tuple(sorted(alerts.values(), key=lambda alert: alert.at_ms))


def _bins(scores: NDArray[np.float64], truth: NDArray[np.int8]) -> Iterable[CalibrationBin]:
    """Group neighbouring scores, at least ``_LEAST_IN_BIN`` per bin; the last bin takes the rest."""
    order = np.argsort(scores, kind="stable")
    scores, truth = scores[order], truth[order]
    # Every other edge: half a power of ten of the odds.
    ends: list[int] = [0]
    for edge in SCORE_EDGES[2:-2:2]:
        end = int(np.searchsorted(scores, edge))
        if end - ends[-1] >= _LEAST_IN_BIN:
            ends.append(end)
    if len(scores) - ends[-1] >= _LEAST_IN_BIN or len(ends) == 1:
        ends.append(len(scores))
    else:
        ends[-1] = len(scores)
    for begin, end in pairwise(ends):
        if end > begin:
            mean = round(float(scores[begin:end].mean()), 6)
            yield CalibrationBin(mean_score=mean, labelled=end - begin, positives=int(truth[begin:end].sum()))
