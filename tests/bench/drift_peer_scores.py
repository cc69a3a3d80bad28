"""Runs in the peers' environment: a peer's score at some records of each stream.

``python drift_peer_scores.py PEER FOLDER WINDOW EVERY LIMIT`` reads one line per course from standard input, the name
of a file of FOLDER with its streams, and answers each with a line of JSON. If a course takes more than LIMIT CPU
seconds, the process ends.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# The scores of a live stream against a reference, after so many records each: the latter first.
Score = Callable[[Floats, Floats], tuple[range, list[float]]]

# Evidently's tests take milliseconds, so it is asked once in so many records; of an online detector, which sees each
# record, the greatest statistic of so many.
_EVERY_EVIDENTLY, _EVERY_ALIBI = 25, 5
# alibi-detect compares with this many rows of the reference: its time grows with their number.
_ALIBI_ROWS = 500
# Simulated courses per record of a run without a false alarm: it refuses fewer than one, and advises ten. Ten times
# the time would move its default threshold a little, and those at equal false alarms not at all.
_ALIBI_BOOTSTRAPS = 1.5


def evidently(window: int, _every: int) -> Score:
    """Evidently's default test of a numerical column on the latest window: a distance, 0.1 by default."""
    import pandas as pd  # noqa: PLC0415 - of the peers' environment
    from evidently.legacy.calculations.stattests import get_stattest  # noqa: PLC0415
    from evidently.legacy.core import ColumnType  # noqa: PLC0415

    def score(reference: Floats, live: Floats) -> tuple[range, list[float]]:
        known, places = pd.Series(reference).dropna(), range(window, len(live) + 1, _EVERY_EVIDENTLY)
        found = []
        for place in places:
            current = pd.Series(live[place - window : place]).dropna()
            test = get_stattest(known, current, ColumnType.Numerical, None)
            # From 1,000 rows of reference on, Evidently takes no test with a p-value by default. In its unit:
            found.append(test(known, current, ColumnType.Numerical, None).drift_score / 0.1)
        return places, found

    return score


def alibi_cvm(window: int, every: int) -> Score:
    """alibi-detect's online Cramér-von Mises detector of two windows, its statistic in units of its threshold."""
    from alibi_detect.cd import CVMDriftOnline  # noqa: PLC0415

    @cache
    def calibrated() -> Any:
        """A detector for any reference of so many rows: its thresholds are of ranks, and do not depend on values."""
        return CVMDriftOnline(
            np.random.default_rng(0).normal(size=_ALIBI_ROWS),
            ert=every,
            window_sizes=[window // 20, window // 2],
            n_bootstraps=round(_ALIBI_BOOTSTRAPS * every),
            verbose=False,
        )

    def score(reference: Floats, live: Floats) -> tuple[range, list[float]]:
        detector = calibrated()
        detector.x_ref = _rows_of(reference)[:, None]
        detector._configure_ref()
        detector.reset_state()
        return _online(detector, live)

    return score


def _rows_of(reference: Floats) -> Floats:
    known = reference[~np.isnan(reference)]
    rows: Floats = np.random.default_rng(0).choice(known, _ALIBI_ROWS, replace=False)
    return rows


def _online(detector: Any, live: Floats) -> tuple[range, list[float]]:
    places, found, greatest = range(_EVERY_ALIBI, len(live) + 1, _EVERY_ALIBI), [], 0.0
    for place, value in enumerate(live.tolist(), start=1):
        if not np.isnan(value):
            data = detector.predict(value)["data"]
            # All NaN until the shorter window is full.
            scores = np.ravel(data["test_stat"] / data["threshold"])
            greatest = max([greatest, *scores[~np.isnan(scores)].tolist()])
        if place % _EVERY_ALIBI == 0:
            found.append(greatest)
            greatest = 0.0
    return places, found


PEERS: dict[str, Callable[[int, int], Score]] = {
    "evidently": evidently,
    "alibi_detect_cvm": alibi_cvm,
}


def main(peer: str, folder: Path, window: int, every: int, limit: int) -> None:
    """Score the streams of each course."""
    warnings.filterwarnings("ignore")
    score, hard = PEERS[peer](window, every), resource.getrlimit(resource.RLIMIT_CPU)[1]
    # Changes of the same kind of stream have the same calm one.
    known: dict[bytes, tuple[range, list[float]]] = {}
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + limit, hard))
        np.random.seed(0)
        streams = np.load(folder / line.strip())
        reference, calm, changed = (streams[name] for name in ("reference", "calm", "changed"))
        if calm.tobytes() not in known:
            known[calm.tobytes()] = score(reference, calm)
        places, scores = known[calm.tobytes()]
        answer = {
            "places": [places.start, places.stop, places.step],
            "calm": _rounded(scores),
            "changed": _rounded(score(reference, changed)[1]),
        }
        print(json.dumps(answer), flush=True)


def _rounded(scores: list[float]) -> list[float]:
    return [round(one, 7) for one in scores]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
