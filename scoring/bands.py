"""The bands that were chosen for pairs of versions: a line each, in ``bands.jsonl`` of the fast model's folder.

Lines are only ever added, so that a band which decided an event can be found after another was chosen.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from penstock.errors import PenstockError
from scoring.cascade import Band
from scoring.line_files import append, read
from scoring.repository import ModelRepository
from streams.definitions.pipeline import Model

FILE = "bands.jsonl"


class ChosenBand(BaseModel):
    """A band, the versions that it was chosen for, and how sure it is (:class:`~scoring.cascade.CertifiedBand`).

    Args:
        time_ms: When it was chosen, in epoch ms.
        fast: The version of the fast model.
        strong: The name of the strong model.
        strong_version: Its version.
        threshold: The threshold of both.
        limit: The share of decisions that may differ.
        holdout: The hash of the events that it was chosen on.
        low: The lowest fast score in the band.
        high: The lowest fast score above the band.
        events: The events that the bound is of.
        in_band: How many of them the strong model must score.
        differing: How many are decided otherwise than the strong model would.
        bound: The upper bound of the share of such events.
        alpha: The probability that the share exceeds the bound.
    """

    model_config = ConfigDict(frozen=True)

    time_ms: int
    fast: int
    strong: str
    strong_version: int
    threshold: float
    limit: float
    holdout: str
    low: float
    high: float
    events: int
    in_band: int
    differing: int
    bound: float
    alpha: float

    @property
    def band(self) -> Band:
        """The band alone."""
        return Band(self.low, self.high)


def keep_band(repository: ModelRepository, model: str, chosen: ChosenBand) -> None:
    """Add a band to those of a model, which exists."""
    append(repository.root / model / FILE, chosen.model_dump_json() + "\n")


def read_bands(repository: ModelRepository, model: str) -> list[ChosenBand]:
    """All bands that were chosen for a model, the oldest first.

    Raises:
        PenstockError: if a line is none that :func:`keep_band` wrote.
    """
    fault = "the file of bands has a line that is no band"
    return read(repository.root / model / FILE, ChosenBand, fault, "nothing was scored with it")


def band_of(repository: ModelRepository, model: Model, fast: int, strong: int) -> Band:
    """The band of a cascade, for these two versions: as declared, or as chosen last.

    Raises:
        PenstockError: if none was chosen for them, their threshold and the declared share of differing decisions.
    """
    cascade = model.cascade
    assert cascade is not None
    if cascade.band != "auto":
        return Band(*cascade.band)
    pair = f"{model.name} version {fast} and {cascade.strong} version {strong}"
    choose = "penstock model band PIPELINE --backfill FOLDER"
    of_pair = [
        one
        for one in read_bands(repository, model.name)
        if (one.fast, one.strong, one.strong_version) == (fast, cascade.strong, strong)
    ]
    if not of_pair:
        raise PenstockError(
            f"no band was chosen for {pair}",
            where=str(repository.root / model.name / FILE),
            safe="nothing was read or scored",
            next=choose,
        )
    latest = of_pair[-1]
    if latest.threshold != model.threshold or latest.bound > cascade.differing:
        raise PenstockError(
            f"the band of {pair} is for threshold {latest.threshold:g} and at most {100 * latest.bound:.3g} % of "
            f"differing decisions; the pipeline has {model.threshold:g} and {100 * cascade.differing:g} %",
            where=str(repository.root / model.name / FILE),
            safe="nothing was read or scored",
            next=choose,
        )
    return latest.band
