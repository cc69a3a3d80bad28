"""Evidently's default and alibi-detect's online detectors on the streams of the drift benchmark.

They run in an environment of their own, ``build/bench/drift-peers``. Each is driven as its documentation shows, with
its defaults, and then with its threshold moved so that it gives, on calm streams of the same kind, as many false
incidents as are allowed, and as many as Penstock gave on the same streams. These thresholds are fitted to the calm
streams themselves; Penstock's are set before it sees any of them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import PenstockError
from penstock.paths import BUILD, ROOT
from tests.bench.course_log import Course, CourseLog, fingerprint
from tests.bench.drift_courses import CALM_RECORDS, CHANGED_RECORDS, DELAY_EVERY, WINDOW, Delay, changing
from tests.bench.drift_streams import CHANGES, Floats, Ints

ENVIRONMENT = BUILD / "bench" / "drift-peers"
PACKAGES = ("evidently==0.7.23", "alibi-detect==0.13.0")
# Of each peer, the changes that it can be asked about: alibi-detect's online detectors take no nulls.
PEERS: Mapping[str, Sequence[str]] = {
    "evidently": (*CHANGES,),
    "alibi_detect_cvm": tuple(name for name in CHANGES if name != "a tenth of nulls"),
}
# Firings nearer to each other than this many records are one incident.
_TOGETHER = 1_000
# For one course, calibration included.
_CPU_LIMIT_S = 900


def install() -> None:
    """Set up the environment.

    Raises:
        PenstockError: if packages cannot be installed.
    """
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    install = [str(python), "-m", "pip", "install", "-q", *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PenstockError(
            f"the peers cannot be installed: {done.stderr.strip().splitlines()[-1]}",
            where=str(ENVIRONMENT),
            safe="what was measured of Penstock",
            next="run it again with the package index in reach, or with --no-peers",
        )


def log_in(folder: Path) -> CourseLog:
    """The scores that were measured so far, by (peer, change, seed)."""
    here = Path(__file__)
    files = [here.with_name(name) for name in ("drift_peer_scores.py", "drift_streams.py", "drift_courses.py")]
    return CourseLog(folder / f"peers-{fingerprint(files, *PACKAGES)}.jsonl")


def measure_peers(log: CourseLog, seeds: range) -> Iterator[Course]:
    """Score the courses that the log has not; yields each once its scores are kept. The environment must be set up.

    A course without a result in time ends its peer: further ones are not tried.
    """
    for peer, names in PEERS.items():
        courses: list[Course] = [(peer, name, seed) for seed in seeds for name in names]
        for course, result in _scored(peer, [course for course in courses if course not in log.results]):
            log.add(course, result)
            yield course


def _scored(peer: str, courses: Sequence[Course]) -> Iterator[tuple[Course, dict[str, Any]]]:
    if not courses:
        return
    script = Path(__file__).with_name("drift_peer_scores.py")
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [
                *(str(ENVIRONMENT / "bin" / "python"), str(script)),
                *(peer, temporary, str(WINDOW), str(DELAY_EVERY), str(_CPU_LIMIT_S)),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for course in courses:
                before, calm, changed = (part.values for part in changing(str(course[1]), int(course[2])))
                np.savez(Path(temporary) / "streams.npz", reference=before, calm=calm, changed=changed)
                process.stdin.write("streams.npz\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line and process.wait() == -signal.SIGXCPU:
                    yield course, {"error": f"no result within {_CPU_LIMIT_S} CPU seconds"}
                    return
                if not line:
                    errors.seek(0)
                    raise PenstockError(
                        f"{peer} failed: {errors.read().strip().splitlines()[-1:]}",
                        where=f"{course[1]}, seed {course[2]}",
                        safe="the courses before it",
                        next=f"look at {script.name}",
                    )
                yield course, json.loads(line)
        finally:
            process.kill()
            process.communicate()


def report_of(scored: Mapping[Course, Any], penstock: Mapping[str, Mapping[int, Delay]]) -> dict[str, Any]:
    """By peer and change: delays at its default threshold and at equal false alarms, or why there are none.

    ``penstock`` are Penstock's courses, by change and seed.
    """
    found: dict[str, dict[str, Any]] = {}
    for peer, names in PEERS.items():
        for name in names:
            seeds = [seed for seed in penstock[name] if (peer, name, seed) in scored]
            courses = [scored[peer, name, seed] for seed in seeds]
            errors = [one["error"] for one in courses if "error" in one]
            if errors:
                found.setdefault(peer, {})[name] = {"error": errors[0]}
            elif courses:
                found.setdefault(peer, {})[name] = _compared(courses, [penstock[name][seed] for seed in seeds])
    return found


def _compared(courses: Sequence[Mapping[str, Any]], penstock: Sequence[Delay]) -> dict[str, Any]:
    places = np.arange(*courses[0]["places"])
    calms = [np.asarray(one["calm"]) for one in courses]
    changes = [np.asarray(one["changed"]) for one in courses]
    allowed = len(courses) * (CALM_RECORDS + CHANGED_RECORDS) / DELAY_EVERY
    own = [np.inf if one.records is None else one.records for one in penstock]
    as_penstock = sum(one.false_incidents for one in penstock)
    return {
        "penstock_records_median": _finite(float(np.median(own))),
        "default": _outcome(places, calms, changes, 1.0),
        "at_the_budget": _outcome(places, calms, changes, equal_threshold(places, calms, allowed)),
        "equal_false_alarms": _outcome(places, calms, changes, equal_threshold(places, calms, as_penstock)),
        "seeds": len(courses),
    }


def equal_threshold(places: Ints, calms: Sequence[Floats], allowed: float) -> float:
    """The least of the calm scores at which, and above which, thresholds give at most ``allowed`` incidents."""
    # Not a bisection: a threshold that is always exceeded gives few incidents, too.
    candidates = np.unique(np.concatenate(calms))[::-1]
    least = float(candidates[0])
    for candidate in candidates.tolist():
        if sum(incidents(places, one, candidate) for one in calms) > allowed:
            break
        least = candidate
    return least


def incidents(places: Ints, scores: Floats, threshold: float) -> int:
    """How many incidents the scores at these records give above the threshold."""
    firings = places[scores > threshold]
    return int(len(firings) > 0) + int((np.diff(firings) > _TOGETHER).sum())


def _outcome(places: Ints, calms: Sequence[Floats], changes: Sequence[Floats], threshold: float) -> dict[str, Any]:
    delays = []
    for scores in changes:
        # A place is a number of records: its score is known with record place - 1.
        records = places[scores > threshold] - 1 - CALM_RECORDS
        delays.append(min(records[records >= 0].tolist(), default=np.inf))
    false = sum(incidents(places, one, threshold) for one in calms)
    budgets = len(calms) * (CALM_RECORDS + CHANGED_RECORDS) / DELAY_EVERY
    return {
        "threshold": round(threshold, 5),
        "records_median": _finite(float(np.median(delays))),
        "found": sum(np.isfinite(delays)) / len(delays),
        "false_incidents_per_budget": round(false / budgets, 4),
    }


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None
