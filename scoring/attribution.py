"""Reason codes: by how much each input moved the score of a tree ensemble, by path attribution (Saabas 2014).

Every node of a tree has a mean: of what the tree gives for the background rows that reach it. From root to leaf the
mean changes at each split, and the change is credited to the input of that split. Over all trees, the credits and the
base (the sum of the roots' means) add up to the model's margin: the log-odds of a classifier's score, the value of a
regression.

What a leaf credits depends on its path alone. So the reasons of a version are themselves an ONNX model: the version's
trees and the nodes before them, with these credits as the weights of the leaves. :mod:`scoring.reasons` runs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from scoring.model_metadata import INPUT
from scoring.onnx_session import open_session, scores_of
from scoring.reasons import CONTRIBUTIONS, Attribution
from scoring.tree_ensemble import TreeEnsemble, Unexplained, read_ensemble, with_weights
from scoring.vectors import FloatArray

_LEAVES = "leaves"
_ROWS = 4_096
# ONNX Runtime sums float32; relative to the greatest score.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class NoReasons:
    """The answer for a model whose score cannot be attributed to its inputs; ``why`` completes "no reasons: ..."."""

    why: str


def explain(model: bytes, background: FloatArray) -> Attribution | NoReasons:
    """The reasons of a model, or why it has none.

    ONNX files do not say how many rows reach each node, so the background does. Where none reaches, the children count
    alike. The trees' sums must give the model's own scores of the background, or there are no reasons.

    Args:
        model: A version's ``model.onnx``, of a training or an import.
        background: Float32 [N, inputs]: the training rows, or other rows that are like what is scored.

    Returns:
        The attribution. The same model and background give the same bytes.
    """
    try:
        ensemble = read_ensemble(model)
        counts = _rows_at_leaves(ensemble, model, background)
    except Unexplained as refusal:
        return NoReasons(str(refusal))
    means = _means(ensemble, counts)
    leaves, targets, weights = (np.array(column) for column in zip(*_credits(ensemble, means), strict=True))
    base = ensemble.base + float(means[ensemble.parent < 0].sum())
    described = {"inputs": json.dumps(ensemble.inputs), "base": repr(base)}
    content = with_weights(ensemble, leaves, targets, weights, len(ensemble.inputs), CONTRIBUTIONS, described)
    return Attribution(content)


def _rows_at_leaves(ensemble: TreeEnsemble, model: bytes, background: FloatArray) -> NDArray[np.int64]:
    """How many rows of the background end in each node; 0 for inner ones."""
    if not len(background):
        raise Unexplained("there are no rows to measure its trees by")
    leaves = np.flatnonzero(ensemble.split < 0)
    trees = ensemble.tree[leaves]
    # It answers with the leaf that each tree leads a row to.
    leaf_of = with_weights(ensemble, leaves, trees, leaves.astype(np.float64), int(trees.max()) + 1, _LEAVES, {})
    session = open_session(leaf_of)
    scorer = open_session(model)
    counts = np.zeros(len(ensemble.split), np.int64)
    for start in range(0, len(background), _ROWS):
        rows = np.ascontiguousarray(background[start : start + _ROWS], dtype=np.float32)
        (found,) = session.run(None, {INPUT: rows})
        reached = found.astype(np.int64)
        _require_same_scores(ensemble, reached, scores_of(scorer, rows))
        counts += np.bincount(reached.ravel(), minlength=len(counts))
    return counts


def _require_same_scores(ensemble: TreeEnsemble, reached: NDArray[np.int64], scores: FloatArray) -> None:
    margins = ensemble.base + ensemble.value[reached].sum(axis=1)
    expected = special.expit(margins) if ensemble.is_logistic else margins
    scale = max(1.0, float(np.abs(expected).max()))
    if not np.allclose(scores, expected, rtol=0, atol=_TOLERANCE * scale):
        raise Unexplained("the sums of its trees are not its scores")


def _means(ensemble: TreeEnsemble, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean of what the tree gives for the rows at each node."""
    rows = counts.copy()
    means, weighted, plain = ensemble.value.copy(), np.zeros(len(rows)), np.zeros(len(rows))
    for node in range(len(rows) - 1, -1, -1):  # children are behind their parents
        if ensemble.split[node] >= 0:
            means[node] = weighted[node] / rows[node] if rows[node] else plain[node]
        parent = ensemble.parent[node]
        if parent >= 0:
            rows[parent] += rows[node]
            weighted[parent] += rows[node] * means[node]
            plain[parent] += means[node] / 2
    return means


def _credits(ensemble: TreeEnsemble, means: NDArray[np.float64]) -> Iterator[tuple[int, int, float]]:
    """Of each leaf, the inputs of its path by position, and by how much their splits change the mean along it."""
    paths: list[dict[int, float]] = []
    for node, (parent, split) in enumerate(zip(ensemble.parent.tolist(), ensemble.split.tolist(), strict=True)):
        path: dict[int, float] = {}
        if parent >= 0:
            at = int(ensemble.split[parent])
            path = paths[parent].copy()
            path[at] = path.get(at, 0.0) + float(means[node] - means[parent])
        paths.append(path)
        if split < 0:
            # ONNX Runtime wants a weight for every leaf, one that is a root included.
            yield from ((node, *credit) for credit in sorted(path.items()) or [(0, 0.0)])
