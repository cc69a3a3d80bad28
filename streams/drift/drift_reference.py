"""What the detectors compare with: the training data of one model version, and thresholds that were calibrated on it.

Training writes it as ``drift.json`` into the version's folder of the model repository.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import PenstockError

FILE = "drift.json"

DetectorName = Literal["adwin", "page_hinkley", "psi", "kl", "missing"]
DETECTORS: tuple[DetectorName, ...] = ("adwin", "page_hinkley", "psi", "kl", "missing")

# In standard deviations: one wild value is an outlier, not a drift, and ADWIN's bound assumes bounded values.
CLIP = 5.0


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Thresholds(_Frozen):
    """When each detector fires. ``adwin_delta`` is a probability, ``page_hinkley`` is in standard deviations."""

    adwin_delta: float
    page_hinkley: float
    psi: float
    kl: float
    missing: float

    def windowed(self) -> dict[DetectorName, float]:
        """Those of the detectors that look at a window of the latest records."""
        return {"psi": self.psi, "kl": self.kl, "missing": self.missing}


class MonitorReference(_Frozen):
    """One monitored number as it was in training.

    ``edges`` (ascending) are the upper bounds, included, of all bins but the last; ``shares`` are the parts of the
    rows in each bin, then the part that was null. ``mean`` and ``std`` are those of the rows that were not.
    """

    name: str
    rows: int
    mean: float
    std: float
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    thresholds: Thresholds

    @property
    def missing(self) -> float:
        """The part of the rows that was null."""
        return self.shares[-1]

    @property
    def null_bin(self) -> int:
        """The number of the bin of nulls, which is the last."""
        return len(self.edges) + 1

    def bin_of(self, value: float) -> int:
        """The bin of a value; NaN is null."""
        return self.null_bin if math.isnan(value) else bisect_left(self.edges, value)

    def standardised(self, value: float) -> float:
        """Standard deviations from the mean, cut off at ±CLIP."""
        z = (value - self.mean) / self.std
        return min(max(z, -CLIP), CLIP)


class Reference(_Frozen):
    """Everything that drift is measured against, for one model version of one pipeline.

    Events with a time of ``until_ms`` or before were known to training and are not monitored. ``window`` and
    ``false_alarm_every`` are those of the monitors when the model was trained.
    """

    pipeline: str
    model: str
    until_ms: int
    window: int
    false_alarm_every: int
    seed: int
    monitors: tuple[MonitorReference, ...]

    @cached_property
    def hash(self) -> str:
        """Names this reference and what it says; state of detectors belongs to one."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def artifacts(self) -> dict[str, str]:
        """The file in which a model version keeps it: name and text, which :func:`read_reference` reads."""
        return {FILE: self.model_dump_json(indent=2) + "\n"}

    def monitor(self, name: str) -> MonitorReference:
        """The reference of a monitor; KeyError if there is none of that name."""
        for monitor in self.monitors:
            if monitor.name == name:
                return monitor
        raise KeyError(name)


def read_reference(folder: Path) -> Reference:
    """The reference in a version's folder of the model repository.

    Raises:
        PenstockError: if there is none, or it is not one.
    """
    file = folder / FILE
    try:
        return Reference.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PenstockError(
            "this model version has no drift reference: it was trained before the pipeline had monitors",
            where=str(file),
            next="penstock model train PIPELINE, and load the new version",
        ) from error
    except ValidationError as error:
        raise PenstockError(
            f"the drift reference cannot be read: {error.errors()[0]['msg']}",
            where=str(file),
            next="penstock model train PIPELINE, and load the new version",
        ) from error
