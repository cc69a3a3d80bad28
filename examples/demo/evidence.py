"""Reads the topics after a run and summarises them for the report: scores, labels, alerts, importance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest

from backfill.labels import LabelReader
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import read_topic
from schemas.history import record_decoder
from scoring.repository import ModelRepository
from scoring.training import Importance
from streams.definitions.pipeline import Labels
from streams.plan.project import Project
from verify.measured import Measured

# Four steps per power of ten of the odds: a good resolution for rare and for common scores.
SCORE_EDGES = tuple(1 / (1 + 10 ** (-quarter / 4)) for quarter in range(-16, 17))
_LEAST_IN_BIN = 30


class _EvidenceModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class Bin(_EvidenceModel):
    """Labelled predictions with similar scores: their mean score, number, and number of positives."""

    mean_score: float
    labelled: int
    positives: int

    @property
    def share(self) -> float:
        """The share of positives."""
        return self.positives / self.labelled

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        found = binomtest(self.positives, self.labelled).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


class Scores(_EvidenceModel):
    """Published scores of one range of event time. ``histogram`` counts them between :data:`SCORE_EDGES`.

    ``flagged`` counts scores at or above the threshold. For the ``labelled`` events: ``positives``, the ``expected``
    positives (the sum of their scores), ``flagged_labelled`` and ``flagged_positives``.
    """

    predictions: int
    histogram: tuple[int, ...]
    flagged: int
    labelled: int
    positives: int
    expected: float
    flagged_labelled: int
    flagged_positives: int
    bins: tuple[Bin, ...]


class AlertFact(_EvidenceModel):
    """One alert of a drift detector; times are event time, epoch ms."""

    at_ms: int
    monitor: str
    detector: str
    statistic: float
    threshold: float
    reference: float
    current: float


class Evidence(_EvidenceModel):
    """The report's data for one pipeline.

    Scores are those of events later than the training data: ``before`` the injected drift, and ``after`` it (None
    without drift). ``monitors`` names all monitors, with alerts or without.
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
    alerts: tuple[AlertFact, ...]
    importance: tuple[Importance, ...]


def gather(project: Project, kafka: KafkaAccess, models: ModelRepository, measured: Measured) -> Evidence:
    """Read the pipeline's predictions, alerts and labels, and its model's manifest.

    Raises:
        PenstockError: if Kafka or the model repository cannot be read, or nothing was predicted.
    """
    pipeline = project.pipeline
    decoder = record_decoder("prediction")
    predictions = [decoder.decode(r.value or b"") for r in read_topic(kafka, pipeline.predictions_topic)]
    if not predictions:
        raise PenstockError("nothing was predicted", where=pipeline.predictions_topic)
    times = np.array([p["event_time"] for p in predictions], dtype=np.int64)
    scores = np.array([p["score"] for p in predictions])
    known = _truth(pipeline.labels, kafka, project.schemas) if pipeline.labels else {}
    truth = np.array([known.get(p["event_id"], -1) for p in predictions], dtype=np.int8)
    monitors = pipeline.monitors
    drift, until, threshold = measured.drift_from_ms, measured.trained_until_ms, pipeline.model.threshold
    later = times > until
    before = later if drift is None else later & (times < drift)
    name = pipeline.model.name
    return Evidence(
        begin_ms=int(times.min()),
        end_ms=int(times.max()),
        trained_until_ms=until,
        drift_from_ms=drift,
        threshold=threshold,
        positive=pipeline.model.positive,
        before=summed(scores[before], truth[before], threshold),
        after=None if drift is None else summed(scores[times >= drift], truth[times >= drift], threshold),
        monitors=monitors.names() if monitors else (),
        alerts=alerts_of(r.value or b"" for r in read_topic(kafka, pipeline.drift_topic)) if monitors else (),
        importance=models.manifest(name, models.newest(name)).importance,
    )


def summed(scores: NDArray[np.float64], truth: NDArray[np.int8], threshold: float) -> Scores:
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
        flagged_labelled=int((labelled & flagged).sum()),
        flagged_positives=int(((truth == 1) & flagged).sum()),
        bins=tuple(_bins(scores[labelled], truth[labelled])),
    )


def alerts_of(values: Iterable[bytes]) -> tuple[AlertFact, ...]:
    """The alerts in the records of a drift topic, by event time; a repeated alert has the same id and counts once."""
    decoder = record_decoder("drift_alert")
    found = {}
    for value in values:
        alert = decoder.decode(value)
        found[alert["model_version"], alert["alert_id"]] = AlertFact(
            at_ms=alert["event_time"],
            **{name: alert[name] for name in ("monitor", "detector", "statistic", "threshold", "reference", "current")},
        )
    return tuple(sorted(found.values(), key=lambda alert: alert.at_ms))


def _bins(scores: NDArray[np.float64], truth: NDArray[np.int8]) -> Iterable[Bin]:
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
            yield Bin(mean_score=mean, labelled=end - begin, positives=int(truth[begin:end].sum()))


def _truth(labels: Labels, kafka: KafkaAccess, schemas: Path) -> dict[str, int]:
    """The label of each event, by event id; of several labels, the one that was known last."""
    latest: dict[str, tuple[tuple[int, Sequence[int]], bool | None]] = {}
    for row in LabelReader(labels, schemas).rows(read_topic(kafka, labels.topic)):
        rank = row.known_at_ms, row.position
        if row.event_id not in latest or rank >= latest[row.event_id][0]:
            latest[row.event_id] = rank, row.value
    return {event_id: int(value) for event_id, (_, value) in latest.items() if value is not None}
