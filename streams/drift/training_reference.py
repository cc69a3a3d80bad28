"""Builds the drift reference of a new version of a model from its training set."""

from __future__ import annotations

import numpy as np

from scoring.trained_model import NewVersion
from scoring.training_set import TrainingSet
from streams.definitions.monitors import SCORE
from streams.drift.calibration import calibrate
from streams.drift.drift_reference import DriftReference
from streams.drift.resampling import MonitorSeries
from streams.plan.project import Project


def build_reference(
    project: Project, training_set: TrainingSet, trained: NewVersion, seed: int
) -> DriftReference | None:
    """Build the reference of a model version; None if the pipeline has no monitors.

    Live scores are compared with the model's scores on its own training rows. The validation model's scores on rows
    that it had not seen are held out: they must not look like drift in that comparison. An imported model has none.

    Raises:
        PenstockError: if there are too few rows.
    """
    pipeline = project.pipeline
    monitors = pipeline.monitors
    if monitors is None:
        return None
    times, partitions = training_set.event_times, training_set.partitions
    columns = {name: number for number, name in enumerate(training_set.inputs)}
    series = [
        MonitorSeries(name, times, partitions, training_set.X[:, columns[name]].astype(np.float64))
        for name in monitors.inputs
    ]
    if monitors.score:
        rows = slice(len(training_set) - len(trained.validated), None)
        unseen = MonitorSeries(SCORE, times[rows], partitions[rows], trained.validated.astype(np.float64))
        scores = trained.score(training_set.X).astype(np.float64)
        series.append(
            MonitorSeries(SCORE, times, partitions, scores, held_out=unseen if len(trained.validated) else None)
        )
    until_ms = training_set.until_ms if training_set.until_ms is not None else int(times.max())
    views = {name.partition(".")[0] for name in training_set.inputs}
    features = [feature for view in project.plan.views if view.name in views for feature in view.features]
    # A lifetime window never fills up: it keeps growing in service as it did in training.
    warm_up_ms = max((feature.window_ms for feature in features if not feature.is_lifetime), default=0)
    return calibrate(
        pipeline.name, pipeline.model.name, monitors, series, until_ms=until_ms, warm_up_ms=warm_up_ms, seed=seed
    )
