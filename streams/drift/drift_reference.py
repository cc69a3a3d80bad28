"""The drift reference: a summary of one model version's training data, and thresholds calibrated on it.

Training writes it as ``drift.json`` into the version's folder in the model repository.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import PenstockError
from schemas.columns import Integers

Floats = npt.NDArray[np.float64]
Bins = npt.NDArray[np.uint8]

REFERENCE_FILE = "drift.json"

DetectorName = Literal["adwin", "page_hinkley", "psi", "kl", "missing"]
DETECTORS: tuple[DetectorName, ...] = ("adwin", "page_hinkley", "psi", "kl", "missing")
# Those that evaluate a window of the latest records: they stay over their threshold until they clear.
WINDOWED: tuple[DetectorName, ...] = ("psi", "kl", "missing")

# In standard deviations. A single outlier is no drift, and ADWIN's bound assumes bounded values.
CLIP = 5.0
# The threshold of a refused detector: never reached, and JSON has no infinity.
NEVER = 1e300


HOURS_OF_WEEK = 168
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Thresholds(_Frozen):
    """When each detector fires. ``adwin_delta`` is a probability, ``page_hinkley`` is in standard deviations.

    A refused detector never fires: its threshold is ``NEVER``, or an ``adwin_delta`` of 0.
    """

    adwin_delta: float
    page_hinkley: float
    psi: float
    kl: float
    missing: float

    def windowed(self) -> dict[DetectorName, float]:
        """The thresholds of the detectors that evaluate a window of the latest records."""
        return {"psi": self.psi, "kl": self.kl, "missing": self.missing}


class MonitorReference(_Frozen):
    """One monitored value's distribution in training.

    ``edges`` (ascending) are the inclusive upper bounds of all bins but the last. ``shares`` are the fractions of rows
    per bin, then the fraction of nulls. ``mean`` and ``std`` are over the non-null rows.

    With the same hour of the week as the reference, ``hours`` are the differences of the 168 hours' means from the
    mean, and all else is of values less their hour's difference; else it is empty.

    ``refused`` detectors never fire, because the reference is too short for the budget of false alarms: its values stay
    correlated for ``correlation_ms``, and it would have to be ``needs_ms`` long.
    """

    name: str
    rows: int
    mean: float
    std: float
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    thresholds: Thresholds
    hours: tuple[float, ...] = ()
    refused: tuple[DetectorName, ...] = ()
    correlation_ms: int = 0
    needs_ms: int = 0

    @cached_property
    def _edges(self) -> Floats:
        return np.array(self.edges, np.float64)

    @cached_property
    def _hours(self) -> Floats:
        return np.array(self.hours, np.float64)

    def less_rhythm(self, values: Floats, event_times: Integers) -> Floats:
        """The values [N] less what is usual at their event times' hour of the week, epoch ms [N]."""
        return values - self._hours[hour_of_week(event_times)] if self.hours else values

    @property
    def missing(self) -> float:
        """The fraction of rows that were null."""
        return self.shares[-1]

    @property
    def null_bin(self) -> int:
        """The index of the nulls' bin, the last."""
        return len(self.edges) + 1

    def bins_of(self, values: Floats) -> Bins:
        """The bin index of each value; NaN is null."""
        bins = self._edges.searchsorted(values, side="left").astype(np.uint8)
        bins[np.isnan(values)] = self.null_bin
        return bins

    def standardised(self, values: Floats) -> Floats:
        """Standard deviations from the mean, clipped at ±CLIP."""
        with np.errstate(over="ignore"):
            z = (values - self.mean) / self.std
        # np.clip takes several times as long, which counts in blocks of a few values.
        return np.minimum(np.maximum(z, -CLIP), CLIP)


class DriftReference(_Frozen):
    """All monitors' references and thresholds, for one model version of one pipeline.

    Events up to and including event time ``until_ms`` were available to training and are not monitored. ``window`` and
    ``false_alarm_every`` are the monitors' settings at training, as is ``same_hour_of_week``.
    """

    pipeline: str
    model: str
    until_ms: int
    window: int
    false_alarm_every: int
    seed: int
    monitors: tuple[MonitorReference, ...]
    same_hour_of_week: bool = False

    @cached_property
    def hash(self) -> str:
        """Content hash. A detector state belongs to exactly one reference and carries its hash."""
        content = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def artifacts(self) -> dict[str, str]:
        """The model version's files: name to text. :func:`read_reference` reads them."""
        return {REFERENCE_FILE: json.dumps(self._content(), indent=2) + "\n"}

    def _content(self) -> dict[str, Any]:
        # Without defaults: a reference of an earlier release, which lacks newer fields, keeps its hash.
        return self.model_dump(mode="json", exclude_defaults=True)

    def refusals(self) -> tuple[str, ...]:
        """What the reference is too short for, one sentence per monitor that lacks a detector for it."""
        return tuple(_refusal(monitor) for monitor in self.monitors if monitor.refused)

    def monitor(self, name: str) -> MonitorReference:
        """The reference of a monitor; KeyError if there is none with that name."""
        for monitor in self.monitors:
            if monitor.name == name:
                return monitor
        raise KeyError(name)


def _refusal(monitor: MonitorReference) -> str:
    lasts, names = f"{monitor.correlation_ms / _DAY_MS:.2g} days", ", ".join(monitor.refused)
    if not monitor.needs_ms:
        return f"{monitor.name} by {names} (correlated for {lasts}, beyond what ADWIN's delta can express)"
    needs = math.ceil(monitor.needs_ms / _DAY_MS)
    return f"{monitor.name} by {names} (correlated for {lasts}; that takes a reference of at least {needs:,} days)"


def hour_of_week(event_times: Integers) -> Integers:
    """The hour of the week (UTC, counted from the epoch's) of event times in epoch ms."""
    hours: Integers = event_times // _HOUR_MS % HOURS_OF_WEEK
    return hours


def read_reference(folder: Path) -> DriftReference:
    """Read the reference from a version's folder in the model repository.

    Raises:
        PenstockError: if the file is missing or invalid.
    """
    file = folder / REFERENCE_FILE
    try:
        return DriftReference.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PenstockError(
            "this model version has no drift reference: it was trained before the pipeline had monitors, or imported "
            "without --backfill",
            where=str(file),
            next="penstock model train PIPELINE --backfill FOLDER, and load the new version",
        ) from error
    except ValidationError as error:
        raise PenstockError(
            f"the drift reference cannot be read: {error.errors()[0]['msg']}",
            where=str(file),
            next="penstock model train PIPELINE --backfill FOLDER, and load the new version",
        ) from error
