"""Worlds with an injected cause: payments, a model that was trained on them, and what goes wrong afterwards."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from loop.causes import Cause, Verdict, diagnose, evidence_of
from loop.sample import Sample

EVENTS = 12_000
NOW = 4_000
HORIZON_S = 30 * 86_400.0
ROOTS = {
    "event.amount": frozenset({"amount"}),
    "event.age_days": frozenset({"age_days"}),
    "event.country": frozenset({"country"}),
    "by_card.amount_sum_1h": frozenset({"amount"}),
    "by_card.count_1h": frozenset({"card"}),
    "by_terminal.share_1d": frozenset({"terminal"}),
}
_COUNTRIES = np.array(["de", "fr", "it", "pl", "nl"], dtype=object)


def world(
    seed: int,
    events: int,
    *,
    risk: float = 0.0,
    slope: float = 1.0,
    noise: float = 0.0,
    moved: float = 0.0,
    spread: float = 1.0,
) -> Sample:
    """Payments whose features wander slowly (AR(1)) by themselves.

    Args:
        seed: The seed.
        events: How many.
        risk: Added to the log odds of every event.
        slope: By how much the features say what they said; negative: the contrary of it.
        noise: Standard deviation of what no feature says.
        moved: How far the amount has moved, in standard deviations.
        spread: How widely amounts, counts and shares of terminals are spread, of what they were.
    """
    rng = np.random.default_rng(seed)
    slow = [_wander(rng, events, 400.0) for _ in range(3)]
    amount = np.exp(3.5 + 0.15 * slow[0] + rng.normal(0, spread, events) + moved)
    age = np.maximum(0.0, rng.gamma(2.0, 200.0, events) * np.exp(0.1 * slow[1]))
    share = 1 / (1 + np.exp(-(rng.normal(-2 + 0.1 * slow[2], spread, events))))
    count = np.round(3 + spread * (rng.poisson(3, events) - 3.0))
    country = _COUNTRIES[rng.choice(5, events, p=[0.4, 0.25, 0.15, 0.1, 0.1])]
    odds = -4.6 + 0.9 * (np.log(amount) - 3.5) + 0.35 * (count - 3) + 5 * (share - 0.15) - 0.002 * (age - 400)
    true = -3.6 + slope * (odds + 3.6) + risk + rng.normal(0, noise, events)
    labels = (rng.random(events) < 1 / (1 + np.exp(-true))).astype(float)
    return Sample(
        columns={
            "event.amount": amount,
            "event.age_days": age,
            "event.country": country,
            "by_card.amount_sum_1h": amount * (1 + count * rng.gamma(2, 0.5, events)),
            "by_card.count_1h": count,
            "by_terminal.share_1d": share,
        },
        scores=1 / (1 + np.exp(-odds)),
        labels=labels,
        delays=np.where(labels > 0, rng.gamma(4, 86_400 * 3, events), rng.gamma(4, 86_400, events)),
        mature=np.ones(events, bool),
    )


def values_world(seed: int, events: int, *, slope: float = 1.0, added: float = 0.0, moved: float = 0.0) -> Sample:
    """Flights with their delay in minutes, which a regression foretells; the longer it is, the less surely.

    Args:
        seed: The seed.
        events: How many.
        slope: By how much the features say what they said.
        added: Minutes that are added to every delay.
        moved: How far congestion has moved, in standard deviations.
    """
    rng = np.random.default_rng(seed)
    congestion = np.exp(2.5 + 0.1 * _wander(rng, events, 400.0) + rng.normal(0.4 * moved, 0.4, events))
    distance = rng.gamma(4.0, 300.0, events)
    foretold = 2 * congestion + distance / 200
    noise = rng.laplace(0, 1, events) * foretold**1.5 / 25
    labels = slope * foretold + (1 - slope) * 30 + added + noise
    return Sample(
        columns={"event.congestion": congestion, "event.distance": distance},
        scores=foretold,
        labels=labels,
        delays=rng.gamma(4, 3_600, events),
        mature=np.ones(events, bool),
        is_regression=True,
    )


def _wander(rng: np.random.Generator, events: int, memory: float) -> NDArray[np.float64]:
    keep = np.exp(-1 / memory)
    return np.asarray(lfilter([np.sqrt(1 - keep**2)], [1, -keep], rng.normal(size=events), zi=[rng.normal()])[0])


def rescored(sample: Sample, **columns: NDArray[Any]) -> Sample:
    """The sample as the model saw it, with other values in some columns; null scores as the mean does."""
    seen = {**sample.columns, **columns}
    amount, age = (np.where(np.isnan(seen[name]), mean, seen[name]) for name, mean in _MEANS.items())
    share, count = seen["by_terminal.share_1d"], seen["by_card.count_1h"]
    odds = -4.6 + 0.9 * (np.log(np.maximum(amount, 0.01)) - 3.5) + 0.35 * (count - 3)
    odds = odds + 5 * (np.where(np.isnan(share), 0.15, share) - 0.15) - 0.002 * (age - 400)
    return replace(sample, columns=seen, scores=1 / (1 + np.exp(-odds)))


_MEANS = {"event.amount": float(np.exp(3.5)), "event.age_days": 400.0}


def unit(rng: np.random.Generator, now: Sample, factor: float, share: float = 1.0) -> Sample:
    """The amount in another unit from some event on, and so its sum."""
    rows = np.arange(len(now)) >= (1 - share) * len(now)
    amount = np.where(rows, now.columns["event.amount"] * factor, now.columns["event.amount"])
    total = now.columns["by_card.amount_sum_1h"] * np.where(rows, factor, 1.0)
    return rescored(now, **{"event.amount": amount, "by_card.amount_sum_1h": total})


def nulls(rng: np.random.Generator, now: Sample, column: str, share: float) -> Sample:
    """A share of the values of a column is null."""
    rows = rng.random(len(now)) < share
    return rescored(now, **{column: np.where(rows, np.nan, now.columns[column])})


def default(rng: np.random.Generator, now: Sample, column: str, share: float) -> Sample:
    """A share of the values of a column is zero."""
    rows = rng.random(len(now)) < share
    return rescored(now, **{column: np.where(rows, 0.0, now.columns[column])})


def lost_labels(rng: np.random.Generator, now: Sample, share: float) -> Sample:
    """A share of the positives never comes, and no label is a negative."""
    gone = (now.labels > 0) & (rng.random(len(now)) < share)
    return replace(now, labels=np.where(gone, 0.0, now.labels), delays=np.where(gone, np.nan, now.delays))


def late_labels(rng: np.random.Generator, now: Sample, factor: float) -> Sample:
    """Labels come later, and those that would come after the horizon do not count."""
    delays = now.delays * factor
    gone = delays > HORIZON_S
    return replace(now, labels=np.where(gone, 0.0, now.labels), delays=np.where(gone, np.nan, delays))


def young(now: Sample) -> Sample:
    """A present period of half a horizon: no label is final, and of those there are, the early ones are known."""
    age_s = np.linspace(HORIZON_S / 2, 0, len(now))
    known = now.delays <= age_s
    return replace(
        now,
        labels=np.where(known, now.labels, np.nan),
        delays=np.where(known, now.delays, np.nan),
        mature=np.zeros(len(now), bool),
    )


def injected(seed: int) -> list[tuple[str, Cause, Sample, Sample]]:
    """Worlds of one seed: name, the right cause, the reference, and the present."""
    rng = np.random.default_rng(seed)
    before = world(1_000 + seed, EVENTS)
    calm = partial(world, 2_000 + seed, NOW)
    now = calm()
    return [
        ("calm", "none", before, now),
        ("cents", "upstream-fault", before, unit(rng, now, 100.0)),
        ("thousands, late in the period", "upstream-fault", before, unit(rng, now, 0.001, share=rng.uniform(0.5, 1.0))),
        ("nulls", "upstream-fault", before, nulls(rng, now, "by_terminal.share_1d", rng.uniform(0.15, 0.9))),
        ("default", "upstream-fault", before, default(rng, now, "event.age_days", rng.uniform(0.2, 0.9))),
        ("labels lost", "label-fault", before, lost_labels(rng, now, rng.uniform(0.5, 0.9))),
        ("labels late", "label-fault", before, late_labels(rng, now, 3.0)),
        ("labels that may still come", "none", before, young(now)),
        (
            "covariate",
            "covariate-shift",
            before,
            calm(moved=rng.uniform(-0.5, 1.5), spread=rng.uniform(0.2, 0.5)),
        ),
        ("concept", "concept-drift", before, calm(slope=rng.uniform(0.0, 0.4), risk=rng.uniform(0.0, 0.8))),
        (
            "concept, and other inputs",
            "concept-drift",
            before,
            calm(slope=rng.uniform(-0.2, 0.2), spread=rng.uniform(0.4, 0.6), moved=rng.uniform(0.3, 0.8)),
        ),
        (
            "windows that are empty",
            "none",
            before,
            nulls(rng, now, "by_card.amount_sum_1h", rng.uniform(0.1, 0.4)),
        ),
        (
            "nulls that are usual",
            "none",
            nulls(rng, before, "event.age_days", usual := rng.uniform(0.3, 0.5)),
            nulls(rng, now, "event.age_days", usual + rng.uniform(0.06, 0.15)),
        ),
        ("prior", "calibration", before, calm(risk=rng.uniform(0.7, 1.2))),
    ]


def verdict_of(before: Sample, now: Sample) -> Verdict:
    """The diagnosis."""
    return diagnose(evidence_of(before, now), ROOTS)
