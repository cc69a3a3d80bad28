"""Seeded streams without a change, and changes to put into them, for the benchmark of the drift detectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import signal

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAY_MS = 86_400_000
# A Monday.
_START_MS = 1_767_571_200_000


class Stream(NamedTuple):
    """One monitor's values on one partition, [N], null as NaN, with their event times, int64 [N] epoch ms."""

    times: Ints
    values: Floats

    def cut(self, at: int) -> tuple[Stream, Stream]:
        """What lies before row ``at``, and the rest."""
        return Stream(self.times[:at], self.values[:at]), Stream(self.times[at:], self.values[at:])


Draw = Callable[[Floats, np.random.Generator], Floats]


def stream(kind: str, days: float, per_day: int, seed: int) -> Stream:
    """A stationary (or merely seasonal) stream of ``days`` days with ``per_day`` records each."""
    rows = round(days * per_day)
    times = _START_MS + (np.arange(rows) * (DAY_MS / per_day)).astype(np.int64)
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    return Stream(times, KINDS[kind]((times - _START_MS) / DAY_MS, rng))


def autoregressive(days: float) -> Draw:
    """Normal values whose correlation falls to 1/e within ``days``."""

    def draw(at: Floats, rng: np.random.Generator) -> Floats:
        return _autoregressive(at, days, rng.normal(size=len(at)))

    return draw


def _autoregressive(at: Floats, days: float, noise: Floats) -> Floats:
    step = at[1] - at[0]
    kept = float(np.exp(-step / days))
    driven = noise * np.sqrt(1 - kept * kept)
    driven[0] = noise[0]
    values: Floats = signal.lfilter([1.0], [1.0, -kept], driven)
    return values


def _half_noise(at: Floats, rng: np.random.Generator) -> Floats:
    return (_autoregressive(at, 2.0, rng.normal(size=len(at))) + rng.normal(size=len(at))) / np.sqrt(2)


def _seasonal(at: Floats, rng: np.random.Generator) -> Floats:
    daily, weekly = np.sin(2 * np.pi * at), np.where(at % 7 >= 5, 1.0, 0.0)
    return np.exp(0.8 * daily + 0.6 * weekly + 0.7 * rng.normal(size=len(at)))


def _heavy(at: Floats, rng: np.random.Generator) -> Floats:
    return rng.standard_t(1.5, size=len(at))


def _heavy_autoregressive(at: Floats, rng: np.random.Generator) -> Floats:
    return np.sinh(1.5 * _autoregressive(at, 0.25, rng.normal(size=len(at))))


def _rare(at: Floats, rng: np.random.Generator) -> Floats:
    """Codes of categories: one in three hundred and one in two thousand records are of the rare ones; some nulls."""
    codes = rng.choice(5, p=(0.7, 0.25, 0.0462, 0.0033, 0.0005), size=len(at)).astype(np.float64)
    codes[rng.random(len(at)) < 0.002] = np.nan
    return codes


KINDS: dict[str, Draw] = {
    "independent": lambda at, rng: rng.normal(size=len(at)),
    "ar1_6h": autoregressive(0.25),
    "ar1_1d": autoregressive(1.0),
    "ar1_2d": autoregressive(2.0),
    "ar1_10d": autoregressive(10.0),
    "ar1_2d_half_noise": _half_noise,
    "seasonal": _seasonal,
    "heavy_tails": _heavy,
    "heavy_tails_ar1_6h": _heavy_autoregressive,
    "rare_categories": _rare,
}
"""By name, the least surprising first. ``half_noise``: only half of the variance is correlated."""


class Change(NamedTuple):
    """A change at a record: of a stream of kind ``stream``, whose further values ``of`` makes others."""

    stream: str
    of: Draw


def _shift(by: float) -> Draw:
    return lambda values, _: values + by


def _rarer_categories(values: Floats, rng: np.random.Generator) -> Floats:
    return np.where(rng.random(len(values)) < 0.02, 3.0, values)


def _nulls(values: Floats, rng: np.random.Generator) -> Floats:
    return np.where(rng.random(len(values)) < 0.1, np.nan, values)


CHANGES: dict[str, Change] = {
    "mean by a quarter of a deviation": Change("independent", _shift(0.25)),
    "mean by one deviation": Change("independent", _shift(1.0)),
    "spread by half": Change("independent", lambda values, _: values * 1.5),
    "mean by three deviations, correlated for 6 hours": Change("ar1_6h", _shift(3.0)),
    "mean by one deviation, seasonal": Change("seasonal", _shift(1.5)),
    "a tenth of nulls": Change("independent", _nulls),
    "rare category six times as frequent": Change("rare_categories", _rarer_categories),
}


def change(name: str, live: Stream, at: int, seed: int) -> Stream:
    """The stream with one of the ``CHANGES`` from row ``at`` on."""
    rng = np.random.default_rng([seed, at])
    values = np.concatenate([live.values[:at], CHANGES[name].of(live.values[at:], rng)])
    return Stream(live.times, values)
