"""Evidently's default and alibi-detect's online detector on the streams of the drift benchmark.

They run in an environment of their own, ``build/bench/drift-peers``. Each is driven as its documentation shows, with
its defaults, and then once more with its threshold moved so that it gives, on calm streams of the same kind, as many
false incidents as Penstock may: equal false alarms. Penstock's thresholds are set before it sees any of these streams.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penstock.paths import BUILD, ROOT
from tests.bench.drift_streams import CHANGES, change, stream

ENVIRONMENT = BUILD / "bench" / "drift-peers"
PACKAGES = ("evidently==0.7.23", "alibi-detect==0.13.0")
PEERS = ("evidently", "alibi_detect")
# Firings nearer to each other than this many records are one incident.
_TOGETHER = 1_000
_LIMIT_S = 1_800.0


def install() -> str | None:
    """Set up the environment; returns what went wrong, if anything."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    install = [str(python), "-m", "pip", "install", "-q", *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def measured(seeds: int, every: int, window: int, per_day: int, reference_days: int, calm: int) -> dict[str, Any]:
    """Each peer's delays for each change, by its default threshold and at equal false alarms; or why there are none.

    Args:
        seeds: Courses of each kind.
        every: Records per false incident that is allowed.
        window: Records of a window.
        per_day: Records per day.
        reference_days: Days of reference before each course.
        calm: Records of a course before its change; as many again after it, five times.
    """
    problem = install()
    if problem is not None:
        return {"error": problem}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for name in CHANGES:
            arrays = {}
            for seed in range(seeds):
                days = reference_days + 6 * calm / per_day
                before, live = stream(CHANGES[name].stream, days, per_day, seed).cut(reference_days * per_day)
                arrays[f"reference-{seed}"], arrays[f"calm-{seed}"] = before.values, live.values
                arrays[f"changed-{seed}"] = change(name, live, calm, seed).values
            np.savez(path / "streams.npz", **arrays)
            for peer in PEERS:
                found.setdefault(peer, {})[name] = _run(peer, path, seeds, every, window, calm)
    return found


def _run(peer: str, folder: Path, seeds: int, every: int, window: int, calm: int) -> dict[str, Any]:
    script = Path(__file__).with_name("drift_peer_scores.py")
    arguments = [
        str(ENVIRONMENT / "bin" / "python"),
        str(script),
        peer,
        str(folder),
        str(seeds),
        str(window),
        str(every),
    ]
    try:
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done within {_LIMIT_S:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["it failed"])[-1]}
    scores: Mapping[str, Any] = json.loads((folder / f"{peer}.json").read_text(encoding="utf-8"))
    places = scores["places"]
    calms = [scores[f"calm-{seed}"] for seed in range(seeds)]
    changes = [scores[f"changed-{seed}"] for seed in range(seeds)]
    records = seeds * places[-1]
    equal = equal_threshold(places, calms, records / every)
    return {
        "default": _outcome(places, calms, changes, scores["default"], calm, every, records),
        "equal_false_alarms": _outcome(places, calms, changes, equal, calm, every, records),
    }


def equal_threshold(places: Sequence[int], calms: Sequence[Sequence[float]], allowed: float) -> float:
    """The least of the calm scores as a threshold at which they give at most ``allowed`` incidents."""
    candidates = np.unique(np.concatenate([np.asarray(one, dtype=np.float64) for one in calms]))
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if sum(incidents(places, one, candidates[middle]) for one in calms) <= allowed:
            high = middle
        else:
            low = middle + 1
    return float(candidates[low])


def incidents(places: Sequence[int], scores: Sequence[float], threshold: float) -> int:
    """How many incidents the scores at these records give above the threshold."""
    number, latest = 0, -_TOGETHER - 1
    for place, score in zip(places, scores, strict=True):
        if score > threshold:
            number += place - latest > _TOGETHER
            latest = place
    return number


def _outcome(
    places: Sequence[int],
    calms: Sequence[Sequence[float]],
    changes: Sequence[Sequence[float]],
    threshold: float,
    calm: int,
    every: int,
    records: int,
) -> dict[str, Any]:
    delays = []
    for scores in changes:
        after = [
            place - calm for place, score in zip(places, scores, strict=True) if place >= calm and score > threshold
        ]
        delays.append(min(after) if after else np.inf)
    median = float(np.median(delays))
    false = sum(incidents(places, one, threshold) for one in calms)
    return {
        "threshold": threshold,
        "records_median": median if np.isfinite(median) else None,
        "found": float(np.isfinite(delays).mean()),
        "false_incidents_per_budget": false / (records / every),
    }
