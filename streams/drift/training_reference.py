"""The drift reference of a model that was just trained: what it learnt from, as its monitors will see it."""

from __future__ import annotations

import numpy as np

from scoring.training import TrainedModel, score_onnx
from scoring.training_set import TrainingSet
from streams.definitions.monitors import SCORE
from streams.drift.calibration import Series, calibrate
from streams.drift.drift_reference import Reference
from streams.plan.project import Project


def reference_of(project: Project, training_set: TrainingSet, trained: TrainedModel, seed: int) -> Reference | None:
    """The reference of a model version; None if the pipeline has no monitors.

    Scores are compared with those of the model itself on the rows that it learnt from. What the model of the validation
    gave to rows that it had not seen must not look like drift beside them.

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
        Series(name, times, partitions, training_set.X[:, columns[name]].astype(np.float64)) for name in monitors.inputs
    ]
    if monitors.score:
        rows = slice(len(training_set) - len(trained.validated), None)
        unseen = Series(SCORE, times[rows], partitions[rows], trained.validated.astype(np.float64))
        scores = score_onnx(trained.onnx, training_set.X).astype(np.float64)
        series.append(Series(SCORE, times, partitions, scores, held_out=unseen if len(trained.validated) else None))
    until_ms = training_set.until_ms if training_set.until_ms is not None else int(times.max())
    views = {name.partition(".")[0] for name in training_set.inputs}
    features = [feature for view in project.plan.views if view.name in views for feature in view.features]
    # A lifetime never fills up: what it is still learning looks the same in training and in service.
    warm_up_ms = max((feature.window_ms for feature in features if not feature.is_lifetime), default=0)
    return calibrate(
        pipeline.name, pipeline.model.name, monitors, series, until_ms=until_ms, warm_up_ms=warm_up_ms, seed=seed
    )
