"""Runs in the peers' environment: a peer's score at some records of each stream, as JSON.

``python drift_peer_scores.py PEER FOLDER SEEDS WINDOW EVERY`` reads FOLDER/streams.npz and writes FOLDER/PEER.json.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Score = Callable[[Floats, Floats, Sequence[int]], list[float]]

# A score is taken so many times per window.
_PER_WINDOW = 10
# alibi-detect compares with this many rows of the reference: its time grows with their number. It needs more simulated
# courses than records per false alarm.
_ALIBI_ROWS, _ALIBI_BOOTSTRAPS_PER_RECORD = 1_000, 2


def evidently_scores(window: int) -> tuple[Score, float]:
    """Evidently's default test of a numerical column on the latest window, and its default threshold."""
    import pandas as pd  # noqa: PLC0415 - of the peers' environment
    from evidently.legacy.calculations.stattests import get_stattest  # noqa: PLC0415
    from evidently.legacy.core import ColumnType  # noqa: PLC0415

    def score(reference: Floats, live: Floats, places: Sequence[int]) -> list[float]:
        known = pd.Series(reference).dropna()
        found = []
        for place in places:
            current = pd.Series(live[max(0, place - window) : place]).dropna()
            test = get_stattest(known, current, ColumnType.Numerical, None)
            result = test(known, current, ColumnType.Numerical, None)
            # A distance: from 1,000 rows of reference on, Evidently takes no test with a p-value by default.
            found.append(result.drift_score)
        return found

    return score, 0.1


def alibi_scores(window: int, every: int) -> tuple[Score, float]:
    """alibi-detect's online Cramér-von Mises detector, its statistic in units of its threshold."""
    from alibi_detect.cd import CVMDriftOnline  # noqa: PLC0415

    def score(reference: Floats, live: Floats, places: Sequence[int]) -> list[float]:
        known = reference[~np.isnan(reference)]
        rows = np.random.default_rng(0).choice(known, _ALIBI_ROWS, replace=False)
        np.random.seed(0)
        detector = CVMDriftOnline(
            rows,
            ert=every,
            window_sizes=[window // 5],
            n_bootstraps=_ALIBI_BOOTSTRAPS_PER_RECORD * every,
            verbose=False,
        )
        found, wanted, greatest = [], set(places), 0.0
        for place, value in enumerate(live.tolist(), start=1):
            if not np.isnan(value):
                data = detector.predict(np.float64(value))["data"]
                with np.errstate(invalid="ignore"):
                    ratio = np.nanmax(np.append(np.ravel(data["test_stat"] / data["threshold"]), 0.0))
                greatest = max(greatest, float(ratio))
            if place in wanted:
                found.append(greatest)
                greatest = 0.0
        return found

    return score, 1.0


def main(peer: str, folder: Path, seeds: int, window: int, every: int) -> None:
    """Score every stream of the folder."""
    warnings.filterwarnings("ignore")
    streams = np.load(folder / "streams.npz")
    score, default = evidently_scores(window) if peer == "evidently" else alibi_scores(window, every)
    places = range(window, len(streams["calm-0"]) + 1, window // _PER_WINDOW)
    result: dict[str, object] = {"places": list(places), "default": default}
    for seed in range(seeds):
        for name in (f"calm-{seed}", f"changed-{seed}"):
            result[name] = score(streams[f"reference-{seed}"], streams[name], places)
    (folder / f"{peer}.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
