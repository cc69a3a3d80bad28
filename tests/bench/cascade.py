"""Measures how much cheaper a cascade is than its strong model: ``python -m tests.bench.cascade``.

Payments of the fraud example are simulated, and their features computed by the kernel. A small ensemble of trees and
one of 20 times as many learn from the first half. The band is chosen on the second, as ``penstock model band`` does,
such that surely at most 0.1 % of the decisions are not those of the strong model. On the events that certified it, the
cascade and the strong model alone then take turns, batch by batch, under ONNX Runtime with one thread. The result is
also in ``cascade.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from examples.fraud.delivery import as_event
from examples.fraud.pipeline import pipeline
from examples.fraud.simulation import World, WorldConfig
from penstock.paths import BUILD
from scoring.cascade import Band, choose_band
from scoring.onnx_session import open_session, scores_of
from scoring.training import to_onnx
from scoring.vectors import FloatArray
from streams.inprocess.features_of import Outcome, features_of
from streams.inprocess.kernel import Kernel
from tests.bench import command

BATCH = 1_024
_SEED = 11
_FAST = {"max_iter": 30, "max_leaf_nodes": 8, "learning_rate": 0.15}
_STRONG = {
    "max_iter": 600,
    "max_leaf_nodes": 15,
    "learning_rate": 0.03,
    "min_samples_leaf": 60,
    "l2_regularization": 10.0,
    "max_features": 0.3,
}
_PACKAGES = ("penstock", "onnxruntime", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Found:
    """What was measured.

    Attributes:
        trained: How many events both models learned from.
        certified: How many later events certified the band, and were timed.
        strong_share: The share of them that the strong model decides.
        differing: How many decisions are not those of the strong model.
        bound: The upper bound of their share.
        fast_us: The median time of the fast model for a batch, in microseconds.
        strong_us: That of the strong model.
        times_cheaper: The median, over batches, of the strong model's time divided by the cascade's.
        auc_fast: The AUC of the fast model's scores.
        auc_strong: That of the strong model's.
        auc_cascade: That of the scores that the cascade publishes.
    """

    trained: int
    certified: int
    strong_share: float
    differing: int
    bound: float
    fast_us: float
    strong_us: float
    times_cheaper: float
    auc_fast: float
    auc_strong: float
    auc_cascade: float


def simulated(days: int, seed: int) -> tuple[FloatArray, NDArray[np.int8]]:
    """The vectors of simulated payments in order of time, and which are fraud."""
    of_days = World(seed, WorldConfig(drift_after=None)).days()
    payments = list(chain.from_iterable(islice(of_days, days)))
    events = [as_event(one, f"tx-{number}") for number, one in enumerate(payments)]
    with closing(Kernel(options=["-Xmx3g"])) as kernel:  # the kernel of tests is for a few events
        outcomes = features_of(pipeline, events, kernel=kernel)
    return vectors_of(outcomes), np.array([one.scenario is not None for one in payments], np.int8)


def vectors_of(outcomes: list[Outcome]) -> FloatArray:
    """The model's inputs of each event, float32 [N, inputs], null as NaN."""
    rows = [[outcome[name] for name in pipeline.model.inputs] for outcome in outcomes]
    return np.array(rows, np.float64).astype(np.float32)


def measured(
    vectors: FloatArray, labels: NDArray[np.int8], models: tuple[bytes, bytes], clock: Callable[[], float]
) -> Found:
    """Choose the band on the second half of the events, and time both ways on those that certified it.

    Args:
        vectors: Float32 [N, inputs], in order of time; the models learned from the first half.
        labels: 1 or 0, [N].
        models: The fast and the strong one, as ONNX.
        clock: Seconds.
    """
    half = len(vectors) // 2
    fast, strong = map(open_session, models)
    later, truth = vectors[half:], labels[half:]
    scores = [scores_of(session, later).astype(np.float64) for session in (fast, strong)]
    found = choose_band(*scores, pipeline.model.threshold)
    begin = len(later) - found.events
    by_strong = found.band.contains(scores[0])
    cascade = np.where(by_strong, scores[1], scores[0])[begin:]
    batches = [later[at : at + BATCH] for at in range(begin, len(later) - BATCH + 1, BATCH)]
    times = np.array([_timed(fast, strong, found.band, batch, clock) for batch in [batches[0], *batches]][1:])
    of_fast, of_cascade, of_strong = times.T
    aucs = [float(roc_auc_score(truth[begin:], one)) for one in (scores[0][begin:], scores[1][begin:], cascade)]
    return Found(
        half,
        found.events,
        found.strong_share,
        found.differing,
        found.bound,
        statistics.median(of_fast) * 1e6,
        statistics.median(of_strong) * 1e6,
        statistics.median(of_strong / of_cascade),
        *aucs,
    )


def _timed(
    fast: InferenceSession, strong: InferenceSession, band: Band, batch: FloatArray, clock: Callable[[], float]
) -> tuple[float, float, float]:
    """The seconds of a batch: of the fast model, of the whole cascade, and of the strong model for all events."""
    begin = clock()
    first = scores_of(fast, batch)
    after_fast = clock()
    asked = np.flatnonzero(band.contains(first.astype(np.float64)))
    if len(asked):
        scores_of(strong, batch[asked])
    after_cascade = clock()
    scores_of(strong, batch)
    return after_fast - begin, after_cascade - begin, clock() - after_cascade


def trained(vectors: FloatArray, labels: NDArray[np.int8]) -> tuple[bytes, bytes]:
    """The fast and the strong model, as ONNX."""
    models = []
    for settings in (_FAST, _STRONG):
        model = HistGradientBoostingClassifier(**settings, early_stopping=False, random_state=_SEED)
        models.append(to_onnx(model.fit(vectors, labels), vectors[:1_000], pipeline.model.inputs, _SEED))
    return models[0], models[1]


def main(arguments: list[str] | None = None) -> int:
    """Measure a cascade of two models, print it, and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cascade", description=main.__doc__)
    parser.add_argument("--days", type=int, default=30, help="days of payments, of about 1,000 each (default: 30)")
    parser.add_argument("--out", type=Path, default=BUILD / "bench" / "cascade.json")
    options = parser.parse_args(arguments)
    vectors, labels = simulated(options.days, _SEED)
    half = len(vectors) // 2
    found = measured(vectors, labels, trained(vectors[:half], labels[:half]), time.perf_counter)
    print(text_of(found))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: version(name) for name in _PACKAGES},
        "models": {"fast": _FAST, "strong": _STRONG},
        **asdict(found),
    }
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.out}")
    return 0


def text_of(found: Found) -> str:
    """The figures for a terminal."""
    return "\n".join(
        (
            f"trained on      {found.trained:,} events, certified on {found.certified:,} later ones",
            f"a batch takes   {found.fast_us:,.0f} µs of the fast model, {found.strong_us:,.0f} of the strong one",
            f"strong share    {100 * found.strong_share:.2f} %",
            f"differing       {found.differing:,} decisions, surely at most {100 * found.bound:.3g} %",
            f"cheaper         {found.times_cheaper:.1f} times, in model time",
            f"AUC             {found.auc_fast:.4f} fast, {found.auc_strong:.4f} strong, {found.auc_cascade:.4f} both",
        )
    )


if __name__ == "__main__":
    command.run(main)
