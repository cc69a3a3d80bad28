"""The band of a cascade of two real models, on events that neither was trained on."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import helper

from backfill import band_choice
from backfill.band_choice import Choice, choose
from penstock.errors import PenstockError
from scoring.cascade import NoBand
from scoring.onnx_session import open_session, scores_of
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from scoring.training import train
from streams.definitions.cascade import Cascade
from streams.plan.project import Project
from tests.backfill.test_model_check import DATA, NAME, PROJECT, TRAINED, changed

LIMIT, STRONG = 0.02, "big"
THRESHOLD = PROJECT.pipeline.model.threshold


def project(cascade: Cascade | None) -> Project:
    model = PROJECT.pipeline.model.model_copy(update={"cascade": cascade})
    return Project(
        PROJECT.reference, PROJECT.pipeline.model_copy(update={"model": model}), PROJECT.plan, PROJECT.schemas
    )


@pytest.fixture(scope="module")
def strong() -> TrainedModel[Any]:
    return train(DATA.rows(np.arange(len(DATA)) < TRAINED), seed=1)


@pytest.fixture
def repository(strong: TrainedModel[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRepository:
    """A strong model, and a fast one that decides as it does far from the threshold, and never close to it."""
    apart = helper.make_node("Sub", ["one", "plain"], ["contrary"])
    near = helper.make_node("And", ["above", "below"], ["near"])
    fast = changed(
        strong,
        [
            helper.make_node("Greater", ["plain", "low"], ["above"]),
            helper.make_node("Less", ["plain", "high"], ["below"]),
            near,
            apart,
            helper.make_node("Where", ["near", "contrary", "plain"], ["score"]),
        ],
        {name: np.array(value, np.float32) for name, value in (("one", 1), ("low", 0.4), ("high", 0.6))},
    )
    monkeypatch.setattr(band_choice, "_vectors", lambda *_: DATA.X[TRAINED:])
    repository = ModelRepository(tmp_path)
    repository.add(STRONG, strong)
    repository.add(NAME, fast)
    return repository


def chosen(repository: ModelRepository, cascade: Cascade | None) -> Choice:
    settings: Any = SimpleNamespace(model_repository=repository.root, triton=SimpleNamespace(access=None))
    clock = itertools.count().__next__
    return choose(project(cascade), settings, SimpleNamespace(folder=Path("later")), (None, None), 0.05, clock, 7)  # type: ignore[arg-type]


def test_outside_the_band_few_decisions_are_not_those_of_the_strong_model(repository: ModelRepository) -> None:
    choice = chosen(repository, Cascade(strong=STRONG, differing=LIMIT))
    fast, strong = (
        scores_of(open_session(repository.model_file(name, 1)), DATA.X[TRAINED:]).astype(np.float64)
        for name in (NAME, STRONG)
    )
    clear = (fast < choice.chosen.low) | (fast >= choice.chosen.high)
    later = np.arange(len(fast)) >= len(fast) // 2
    differ = ((fast >= THRESHOLD) != (strong >= THRESHOLD)) & clear & later
    assert choice.chosen.differing == differ.sum()
    assert choice.chosen.in_band == (~clear & later).sum() > 0
    assert differ.sum() / later.sum() < choice.chosen.bound <= LIMIT
    assert choice.holdout == len(fast)
    assert choice.times_cheaper == pytest.approx(1 / (1 + choice.certified.strong_share))  # each call takes a tick


def test_too_few_events_for_the_declared_share_are_refused_with_the_number_that_would_do(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(band_choice, "_vectors", lambda *_: DATA.X[:1_000])
    with pytest.raises(NoBand, match="too few to certify"):
        chosen(repository, Cascade(strong=STRONG, differing=0.001))


def test_a_backfill_without_later_events_is_refused(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(band_choice, "_vectors", lambda *_: DATA.X[:0])
    with pytest.raises(PenstockError, match=r"the backfill has no event after 1970-.* the end of both trainings"):
        chosen(repository, Cascade(strong=STRONG))


def test_versions_that_do_not_say_when_their_training_ended_are_named(
    repository: ModelRepository, strong: TrainedModel[Any]
) -> None:
    assert chosen(repository, Cascade(strong=STRONG, differing=LIMIT)).unknown == ()
    identity = [helper.make_node("Identity", ["plain"], ["score"])]
    repository.configure(STRONG, repository.add(STRONG, changed(strong, identity, {}, trained_until_ms=None)))
    assert chosen(repository, Cascade(strong=STRONG, differing=LIMIT)).unknown == ((STRONG, 2),)


@pytest.mark.parametrize(
    ("name", "manifest", "said", "next_step"),
    [
        (NAME, {"inputs": ("event.other",)}, "the model's inputs are not the pipeline's", "model train PIPELINE "),
        (STRONG, {"views": {"v": "2:x"}}, "is not what the model was trained on", "model train PIPELINE:strong "),
        (STRONG, {"kept": ("loss",)}, "the fast one keeps none, the strong loss", "model import PIPELINE:strong "),
    ],
)
def test_a_version_that_a_scorer_would_not_take_is_refused_before_any_event_is_read(
    repository: ModelRepository,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    manifest: dict[str, Any],
    said: str,
    next_step: str,
) -> None:
    right = ModelRepository.manifest
    monkeypatch.setattr(
        ModelRepository,
        "manifest",
        lambda self, model, version: right(self, model, version).model_copy(update=manifest if model == name else {}),
    )
    monkeypatch.setattr(band_choice, "_vectors", lambda *_: pytest.fail("events were read"))
    with pytest.raises(PenstockError, match=said) as refused:
        chosen(repository, Cascade(strong=STRONG))
    assert refused.value.next is not None
    assert refused.value.next.startswith(f"penstock {next_step}")


@pytest.mark.parametrize(("name", "reference"), [(NAME, "PIPELINE"), (STRONG, "PIPELINE:strong")])
def test_a_version_without_a_score_for_some_events_is_named_with_the_command_that_judges_it(
    repository: ModelRepository, strong: TrainedModel[Any], name: str, reference: str
) -> None:
    no_number = changed(
        strong,
        [
            helper.make_node("Less", ["plain", "low"], ["below"]),
            helper.make_node("Where", ["below", "nothing", "plain"], ["score"]),
        ],
        {"low": np.array(0.4, np.float32), "nothing": np.array(np.nan, np.float32)},
    )
    repository.configure(name, repository.add(name, no_number))
    says = rf"version 2 of model {name} has no finite score for [\d,]+ of {len(DATA) - TRAINED:,} events"
    with pytest.raises(PenstockError, match=says) as no:
        chosen(repository, Cascade(strong=STRONG))
    assert (no.value.next or "").startswith(f"penstock model check {reference} --version 2 --backfill FOLDER")
    assert no.value.where == "later"


def test_a_pipeline_without_a_cascade_needs_no_band(repository: ModelRepository) -> None:
    with pytest.raises(PenstockError, match="has no cascade, so it needs no band"):
        chosen(repository, None)


def test_a_changed_file_of_a_version_is_named(repository: ModelRepository) -> None:
    file = repository.model_file(STRONG, 1)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(PenstockError, match=r"file model\.onnx of the version has changed"):
        chosen(repository, Cascade(strong=STRONG))
