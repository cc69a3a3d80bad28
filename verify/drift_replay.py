"""The drift detectors of one partition, computed a second time from docs/concepts/drift.md and the reference's file.

Shares no code with :mod:`streams.drift`. The windowed statistics come from cumulated histograms, and Page-Hinkley is
written out. ADWIN is river's own, as in the app: it is a library, not the code that is judged.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from river.drift import ADWIN

_CLIP = 5.0
_PAGE_HINKLEY_DELTA = 0.1
_PAGE_HINKLEY_MIN_EVENTS = 30
_EVALUATIONS_PER_WINDOW = 50
_CLEAR_FRACTION = 0.5
_PRIOR = 0.5
_SEEN_OFFSETS, _SEEN_BLOCK = 1 << 18, 1 << 12
_QUIET_WINDOWS, _QUIET_MS = 2, 86_400_000
_WINDOWED = ("psi", "kl", "missing")

_Floats = npt.NDArray[np.float64]


class Observed(NamedTuple):
    """A monitored record: its offset, event time, raw event, and the value of each monitor (NaN for null)."""

    offset: int
    event_time: int
    source: tuple[str, int, int]
    values: Sequence[float]


class Firing(NamedTuple):
    """A detector fired at a record. ``place`` is the index of the observation."""

    place: int
    detector: str
    statistic: float
    threshold: float
    reference: float
    current: float


class MonitorReplay(NamedTuple):
    """One monitor's firings in order, and the numbers of its state after the last observation.

    ``cleared`` has the place at which each firing of psi, kl and missing cleared, with the detector.
    """

    firings: list[Firing]
    state: dict[str, Any]
    cleared: list[tuple[int, str]]


def read_reference(folder: Path) -> tuple[dict[str, Any], str]:
    """The drift reference of a model version, and its content hash.

    Raises:
        OSError, ValueError: if the file is missing or no JSON.
    """
    reference: dict[str, Any] = json.loads((folder / "drift.json").read_text(encoding="utf-8"))
    content = json.dumps(reference, sort_keys=True, separators=(",", ":"))
    return reference, hashlib.sha256(content.encode()).hexdigest()[:16]


def counted(observations: Sequence[Observed], until_ms: int) -> list[Observed]:
    """The observations that count: later than the training data, and each raw event once.

    The app remembers a quarter of a million offsets of each raw partition, in blocks; what is older counts as seen.
    """
    seen: set[tuple[str, int, int]] = set()
    floors: dict[tuple[str, int], int] = {}
    found = []
    for one in observations:
        topic, partition, offset = one.source
        floor = floors.get((topic, partition), 0)
        if one.event_time <= until_ms or one.source in seen or offset < floor:
            continue
        seen.add(one.source)
        found.append(one)
        floors[topic, partition] = max(floor, (offset // _SEEN_BLOCK + 1) * _SEEN_BLOCK - _SEEN_OFFSETS)
    return found


def replay_monitor(monitor: Mapping[str, Any], window: int, values: Sequence[float]) -> MonitorReplay:
    """Run the five detectors of one monitor over its values.

    Args:
        monitor: The monitor's part of the reference.
        window: How many records a histogram holds.
        values: One per observation, float32; NaN for null.
    """
    column = np.asarray(values, dtype=np.float64)
    means, adwin_firings, adwin_state = _run_adwin(monitor, column)
    page_hinkley_firings, page_hinkley_state = _run_page_hinkley(monitor, column, means)
    windowed_firings, cleared, windowed_state = _run_windowed(monitor, window, column, means)
    firings = [*adwin_firings, *page_hinkley_firings, *windowed_firings]
    order = ("adwin", "page_hinkley", *_WINDOWED)
    firings.sort(key=lambda one: (one.place, order.index(one.detector)))
    return MonitorReplay(firings, adwin_state | page_hinkley_state | windowed_state, cleared)


def incidents(
    replays: Mapping[str, MonitorReplay], window: int, newest: Sequence[int]
) -> tuple[dict[tuple[int, str, str], tuple[int, str, str]], dict[str, Any] | None]:
    """The first firing of the incident of each firing, both as (place, monitor, detector), and the latest incident.

    An incident is over once nothing is over its threshold, and nothing has fired or cleared for two windows of records
    and for a day. ``newest`` are the greatest event times so far, one per observation.
    """
    order = ("adwin", "page_hinkley", *_WINDOWED)
    changes = [
        (place, 0, number, order.index(detector), name, detector)
        for number, (name, replay) in enumerate(replays.items())
        for place, detector in replay.cleared
    ] + [
        (firing.place, 1, number, order.index(firing.detector), name, firing.detector)
        for number, (name, replay) in enumerate(replays.items())
        for firing in replay.firings
    ]
    first: tuple[int, str, str] | None = None
    over: set[str] = set()
    latest, found = -1, {}
    for place, is_firing, _, _, name, detector in sorted(changes):
        if is_firing:
            quiet = place - latest > _QUIET_WINDOWS * window and newest[place] - newest[latest] > _QUIET_MS
            if first is None or (quiet and not over):
                first = (place, name, detector)
            found[place, name, detector] = first
            if detector in _WINDOWED:
                over.add(f"{name}:{detector}")
        else:
            over.discard(f"{name}:{detector}")
        latest = place
    state = None
    if first is not None:
        state = {"first": first, "over": sorted(over), "count": latest + 1, "event_time": newest[latest]}
    return found, state


def count_incidents(alerts: Sequence[Mapping[str, Any]]) -> int:
    """How many changes the alerts tell of: those of one partition's incident, and all within a day of another, are one.

    Alerts of different model versions are never one.
    """
    parts: dict[tuple[str, str], list[int]] = {}
    for alert in alerts:
        parts.setdefault((alert["model_version"], alert["incident"] or alert["alert_id"]), []).append(
            alert["event_time"]
        )
    reached: dict[str, int] = {}
    number = 0
    for (version, _), times in sorted(parts.items(), key=lambda part: min(part[1])):
        number += version not in reached or min(times) - reached[version] > _QUIET_MS
        reached[version] = max(reached.get(version, 0), *times)
    return number


def counted_offsets(state: Mapping[str, Any]) -> tuple[int, set[int]]:
    """The offset from which a saved memory of counted raw events reaches, and the offsets in it."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(state["bits"])), dtype=np.uint8)
    places = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
    return state["floor"], {int(place) + state["floor"] for place in places}


def _standardised(monitor: Mapping[str, Any], value: float) -> float:
    z: float = (value - monitor["mean"]) / monitor["std"]
    return max(-_CLIP, min(z, _CLIP))


def _in_unit(monitor: Mapping[str, Any], z: float) -> float:
    return float(monitor["mean"] + z * monitor["std"])


def _run_adwin(monitor: Mapping[str, Any], column: _Floats) -> tuple[_Floats, list[Firing], dict[str, Any]]:
    """ADWIN's firings and state, and its mean (in the monitor's unit) after each observation."""
    delta = monitor["thresholds"]["adwin_delta"]
    adwin = ADWIN(delta=delta)
    means = np.empty(len(column))
    firings = []
    for place, value in enumerate(column.tolist()):
        if not math.isnan(value):
            before = adwin.estimation
            adwin.update(_standardised(monitor, value))
            if adwin.drift_detected:
                after = adwin.estimation
                means_then = _in_unit(monitor, before), _in_unit(monitor, after)
                firings.append(Firing(place, "adwin", abs(after - before), delta, *means_then))
        means[place] = _in_unit(monitor, adwin.estimation)
    state = {
        "adwin": base64.b64encode(adwin._helper.__getstate__()).decode(),  # noqa: SLF001 - river has no other form
        "adwin_fired": adwin.drift_detected,
    }
    return means, firings, state


def _run_page_hinkley(
    monitor: Mapping[str, Any], column: _Floats, means: _Floats
) -> tuple[list[Firing], dict[str, Any]]:
    """Page's test in both directions, without fading; it starts over with the value after a firing."""
    threshold = monitor["thresholds"]["page_hinkley"]
    firings = []
    fired = False
    count, mean, up, down, least, greatest = 0, 0.0, 0.0, 0.0, math.inf, -1.0
    for place, value in enumerate(column.tolist()):
        if math.isnan(value):
            continue
        if fired:
            count, mean, up, down, least, greatest = 0, 0.0, 0.0, 0.0, math.inf, -1.0
        z = _standardised(monitor, value)
        count += 1
        mean += (z - mean) / count
        up += z - mean - _PAGE_HINKLEY_DELTA
        down += z - mean + _PAGE_HINKLEY_DELTA
        least, greatest = min(least, up), max(greatest, down)
        statistic = max(up - least, greatest - down)
        fired = count >= _PAGE_HINKLEY_MIN_EVENTS and statistic > threshold
        if fired:
            means_then = _in_unit(monitor, mean), float(means[place])
            firings.append(Firing(place, "page_hinkley", statistic, threshold, *means_then))
    numbers = (count, mean, up, down, least, greatest)
    finite = [None if math.isinf(number) else number for number in numbers]
    return firings, {"page_hinkley": finite, "page_hinkley_fired": fired}


def _run_windowed(
    monitor: Mapping[str, Any], window: int, column: _Floats, means: _Floats
) -> tuple[list[Firing], list[tuple[int, str]], dict[str, Any]]:
    """PSI, KL and the share of nulls, evaluated some 50 times per window once it is full."""
    null_bin = len(monitor["edges"]) + 1
    # edges are inclusive upper bounds
    bins = np.where(np.isnan(column), null_bin, np.searchsorted(monitor["edges"], column, "left"))
    cumulated = np.zeros((len(column) + 1, null_bin + 1), dtype=np.int64)
    np.cumsum(bins[:, None] == np.arange(null_bin + 1), axis=0, out=cumulated[1:])
    stride = max(1, window // _EVALUATIONS_PER_WINDOW)
    expected = _shares(np.array(monitor["shares"]) * monitor["rows"])
    over: set[str] = set()
    firings, cleared = [], []
    for end in range(stride, len(column) + 1, stride):
        if end < window:
            continue
        counts = cumulated[end] - cumulated[end - window]
        shares = _shares(counts)
        ratios = np.log(shares / expected)
        statistics = {
            "psi": float(((shares - expected) * ratios).sum()),
            "kl": float((shares * ratios).sum()),
            "missing": float(counts[-1] / window),
        }
        for detector in _WINDOWED:
            statistic, limit = statistics[detector], monitor["thresholds"][detector]
            if detector in over:
                if statistic < _CLEAR_FRACTION * limit:
                    over.discard(detector)
                    cleared.append((end - 1, detector))
            elif statistic > limit:
                over.add(detector)
                of_nulls = float(monitor["shares"][-1]), statistic
                pair = of_nulls if detector == "missing" else (monitor["mean"], float(means[end - 1]))
                firings.append(Firing(end - 1, detector, statistic, limit, *pair))
    latest = bins[-window:].astype(np.uint8).tobytes()
    return (
        firings,
        cleared,
        {
            "bins": base64.b64encode(latest).decode(),
            "evaluate_in": stride - len(column) % stride,
            "over": sorted(over),
        },
    )


def _shares(counts: npt.NDArray[Any]) -> _Floats:
    """Shares of the bins, each above zero."""
    shares: _Floats = (counts + _PRIOR) / (counts.sum() + _PRIOR * len(counts))
    return shares


def differences(saved: Mapping[str, Any], computed: Mapping[str, Any]) -> Iterator[str]:
    """The names of a monitor's saved numbers that differ from the computed ones by more than rounding."""
    for name, value in computed.items():
        if not _alike(saved.get(name), value):
            yield name


def _alike(left: Any, right: Any) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_alike, left, right))
    if isinstance(left, float) or isinstance(right, float):
        return left is not None and right is not None and math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return bool(left == right)
