"""The probe for features that saw their future: the same moved one event ahead for each entity must not score better.

Moved ahead, every event has the vector of its entity's previous event. That knows less of the event, so a model of it
scores worse, or as well. It scores better only if values stand one event too early: with the event before the one that
they were made by, whose own future they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from backfill.training_sets.manifest import Probe
from backfill.training_sets.staging import views_of
from scoring.ranking import area_of_scores
from streams.definitions.labels import Labels
from streams.definitions.other_inputs import view_of

# Rows of each class (of a regression: of all). AUC does not depend on the proportions of classes.
_MOST_ROWS = 15_000
_LEAST_PER_CLASS = 50
_EARLIER = 0.7
_RESAMPLES = 300
_TAIL = 0.01

Numbers = NDArray[np.float64]
Measure = Callable[[Numbers, Numbers, Numbers], float]


def probe(sql: duckdb.DuckDBPyConnection, inputs: tuple[str, ...], labels: Labels, seed: int) -> Probe:
    """Compare two models of a sample of the rows; the same rows and seed give the same result.

    The interval is by resampling the entities of the first view, whose events are alike.

    Args:
        sql: Has the tables ``rows`` and ``features``.
        inputs: The model's inputs.
        labels: The labels' declaration.
        seed: For the sample, the models and the interval.
    """
    if not views_of(inputs):
        return Probe(verdict="inconclusive", reason="no input is of a view, and only views have entities")
    times, groups, truth, own, moved = _sample(sql, inputs, labels, seed)
    is_class = labels.task != "regression"
    later = np.zeros(len(times), bool) if not len(times) else times >= times[int(len(times) * _EARLIER)]
    for name, rows in (("earlier", truth[~later]), ("later", truth[later])):
        least = min((rows == 1).sum(), (rows == 0).sum()) if is_class else len(rows)
        if least < _LEAST_PER_CLASS:
            what = f"{_LEAST_PER_CLASS} rows {'of each class' if is_class else 'with values'}"
            return Probe(verdict="inconclusive", reason=f"the {name} part of its sample has fewer than {what}")
    measure = weighted_auc if is_class else weighted_r2
    with threadpool_limits(1, user_api="openmp"):
        scores = [_scores(X, truth, later, seed, is_class=is_class) for X in (own, moved)]
    return _judge(measure, "AUC" if is_class else "R²", truth[later], scores, groups[later], seed)


def _judge(
    measure: Measure, name: Any, truth: Numbers, scores: Sequence[Numbers], groups: NDArray[np.int64], seed: int
) -> Probe:
    once = np.ones(len(truth))
    own, moved = (measure(truth, of, once) for of in scores)
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(_RESAMPLES):
        weights = rng.poisson(1, int(groups.max()) + 1)[groups].astype(np.float64)
        differences.append(measure(truth, scores[1], weights) - measure(truth, scores[0], weights))
    if np.isnan(differences).all():
        # R² of a part whose rows all have one value, or of values too large to be squared.
        return Probe(verdict="inconclusive", reason=f"the {name} of the later part of its sample is no number")
    low, high = np.nanquantile(differences, [_TAIL, 1 - _TAIL])
    return Probe(
        verdict="failed" if low > 0 else "passed",
        measure=name,
        rows=len(truth),
        own=round(own, 6),
        moved=round(moved, 6),
        difference=round(moved - own, 6),
        low=round(float(low), 6),
        high=round(float(high), 6),
    )


def _sample(
    sql: duckdb.DuckDBPyConnection, inputs: tuple[str, ...], labels: Labels, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Numbers, NDArray[np.float32], NDArray[np.float32]]:
    """Times, the number of the first view's entity, truth, vectors and moved vectors of a sample, in order of time."""
    views = views_of(inputs)
    truth = {"binary": "label = 1", "multiclass": "label = $positive", "regression": "false"}[labels.task]
    previous = ", ".join(
        f"if(e{place} IS NULL, NULL, lag(r.n) OVER "
        f"(PARTITION BY e{place} ORDER BY r.event_time, r.event_id)) AS p{place}"
        for place in range(len(views))
    )
    sql.execute(
        f"CREATE OR REPLACE TEMP TABLE moved AS SELECT r.n, e0, {previous} FROM rows r JOIN features f ON f.n = r.n"  # noqa: S608 - names are numbers
    )
    parameters = {"seed": str(seed)} | ({"positive": str(labels.positive)} if labels.task == "multiclass" else {})
    sql.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE sampled AS SELECT n, event_time, event_id, label, {truth} AS is_positive FROM rows
        QUALIFY row_number() OVER (PARTITION BY is_positive ORDER BY md5(event_id || $seed), event_id) <= {_MOST_ROWS}
        """,  # noqa: S608
        parameters,
    )
    place_of = {name: place for place, name in enumerate(views)}
    own = ", ".join(f"f.i{place}" for place in range(len(inputs)))
    # Columns of the event itself move with the first view's entity.
    moved = ", ".join(f"m{place_of.get(view_of(name), 0)}.i{place}" for place, name in enumerate(inputs))
    joins = " ".join(f"LEFT JOIN features m{place} ON m{place}.n = p.p{place}" for place in range(len(views)))
    value = "s.label::DOUBLE" if labels.task == "regression" else "s.is_positive::DOUBLE"
    found = sql.execute(
        f"""
        SELECT s.event_time, p.e0, {value}, {own}, {moved} FROM sampled s JOIN moved p USING (n)
        JOIN features f ON f.n = s.n {joins} ORDER BY s.event_time, s.event_id
        """  # noqa: S608
    ).to_arrow_table()
    columns = [column.to_numpy() for column in found.columns[2:]]
    matrix = np.array(columns[1:], dtype=np.float32).T
    groups = found.column(1).combine_chunks().dictionary_encode()
    numbers = groups.indices.fill_null(len(groups.dictionary)).to_numpy().astype(np.int64)
    return found.column(0).to_numpy(), numbers, columns[0], matrix[:, : len(inputs)], matrix[:, len(inputs) :]


def _scores(
    X: NDArray[np.float32],  # noqa: N803 - the matrix, as everywhere
    truth: Numbers,
    later: NDArray[np.bool_],
    seed: int,
    *,
    is_class: bool,
) -> Numbers:
    """The scores of the later rows by a model of the earlier ones."""
    kind = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    model = kind(max_iter=60, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False, random_state=seed)
    limit = np.finfo(np.float32).max
    finite = np.clip(X, -limit, limit)
    finite[:, np.isnan(finite[~later]).all(axis=0)] = 0
    model.fit(finite[~later], truth[~later])
    scores: Numbers = model.predict_proba(finite[later])[:, 1] if is_class else model.predict(finite[later])
    return scores


def weighted_auc(truth: Numbers, scores: Numbers, weights: Numbers) -> float:
    """The area under the ROC curve of weighted rows [N]; ties count half; NaN without rows of both classes."""
    return area_of_scores(scores, weights * (1 - truth), weights * truth)


def weighted_r2(truth: Numbers, scores: Numbers, weights: Numbers) -> float:
    """The coefficient of determination of weighted rows [N]; NaN if all have one value."""
    mean = np.average(truth, weights=weights) if weights.any() else 0.0
    total = (weights * (truth - mean) ** 2).sum()
    return float(1 - (weights * (truth - scores) ** 2).sum() / total) if total else float("nan")
