"""The bands that are kept for pairs of versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import PenstockError
from scoring.bands import FILE, ChosenBand, band_of, keep_band, read_bands
from scoring.cascade import Band
from scoring.repository import ModelRepository
from streams.definitions.cascade import Cascade
from streams.definitions.pipeline import Model

CHOSEN = ChosenBand(
    time_ms=1,
    fast=2,
    strong="big",
    strong_version=3,
    threshold=0.5,
    limit=0.001,
    holdout="h",
    low=0.2,
    high=0.7,
    events=9_000,
    in_band=900,
    differing=1,
    bound=0.0009,
    alpha=0.05,
)


def model(cascade: Cascade | None = None, threshold: float = 0.5) -> Model:
    cascade = cascade or Cascade(strong="big")
    return Model(name="m", inputs=("event.x",), threshold=threshold, positive="a", negative="b", cascade=cascade)


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    (tmp_path / "m").mkdir()
    return ModelRepository(tmp_path)


def test_the_band_that_was_chosen_last_is_taken_and_all_are_kept(repository: ModelRepository) -> None:
    other = CHOSEN.model_copy(update={"strong_version": 4, "low": 0.0})
    later = CHOSEN.model_copy(update={"low": 0.1 + 0.2})
    for one in (CHOSEN, later, other):
        keep_band(repository, "m", one)
    assert band_of(repository, model(), 2, 3) == Band(0.1 + 0.2, 0.7)
    assert read_bands(repository, "m") == [CHOSEN, later, other]


def test_a_declared_band_needs_no_choice(repository: ModelRepository) -> None:
    assert band_of(repository, model(Cascade(strong="big", band=(0.1, 0.9))), 2, 3) == Band(0.1, 0.9)


@pytest.mark.parametrize(
    ("declared", "fast", "strong", "said"),
    [
        (model(), 2, 4, "no band was chosen for m version 2 and big version 4"),
        (model(), 1, 3, "no band was chosen for m version 1 and big version 3"),
        (model(Cascade(strong="other")), 2, 3, "no band was chosen for m version 2 and other version 3"),
        (model(threshold=0.6), 2, 3, "is for threshold 0.5 and at most 0.09 % .* the pipeline has 0.6 and 0.1 %"),
        (model(Cascade(strong="big", differing=0.0005)), 2, 3, "the pipeline has 0.5 and 0.05 %"),
    ],
)
def test_a_band_for_other_versions_or_limits_is_refused(
    repository: ModelRepository, declared: Model, fast: int, strong: int, said: str
) -> None:
    keep_band(repository, "m", CHOSEN)
    with pytest.raises(PenstockError, match=said) as caught:
        band_of(repository, declared, fast, strong)
    assert caught.value.next == "penstock model band PIPELINE --backfill FOLDER"


def test_a_line_that_is_no_band_is_named(repository: ModelRepository) -> None:
    keep_band(repository, "m", CHOSEN)
    with (repository.root / "m" / FILE).open("a") as file:
        file.write('{"fast": 1}\n')
    with pytest.raises(PenstockError) as caught:
        band_of(repository, model(), 2, 3)
    assert caught.value.where == f"{repository.root / 'm' / FILE}, line 2"
