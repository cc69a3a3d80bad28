"""A version's recipe changes with what its bytes depend on, and with nothing else."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock import Derived, Labels, LabelSource, Monitors
from scoring.recording import definition_of, recipe_of, source_hash
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project
from tests.backfill.test_labels import Points, Verdict
from tests.backfill.test_training_parquet import pipeline

PIPELINE = pipeline().model_copy(update={"labels": Labels(topic="labels.taps", contract=Verdict, value="fraud")})
MORE = LabelSource(topic="labels.more", contract=Points, value="fraud")


def parts(definition: Pipeline) -> dict[str, str]:
    return definition_of(Project.of(definition, Path("nothing is committed")))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("labels", {"labels": Labels(topic="labels.taps", contract=Points, value="fraud")}),
        ("labels", {"labels": Labels(topic="labels.moved", contract=Verdict, value="fraud")}),
        ("labels", {"labels": None}),
        ("labels", {"labels": PIPELINE.labels.model_copy(update={"otherwise": (MORE,)})}),
        ("monitors", {"monitors": Monitors(window=200)}),
        ("events", {"derived": {"twice": Derived(sql="amount * 2", type="double")}}),
        ("defaults", {"model": pipeline().model.model_copy(update={"defaults": {"cards:by_card.n": 1}})}),
    ],
)
def test_a_part_of_the_definition_that_changed_has_another_hash_and_the_others_have_not(
    part: str, changes: dict[str, Any]
) -> None:
    before = parts(PIPELINE)
    update = PIPELINE.model_copy(update=changes)
    project = Project.of(PIPELINE, Path("nothing is committed"))
    after = parts(update) if part != "defaults" else definition_of(_with(project, update))
    assert [name for name in before if before[name] != after[name]] == [part]


def _with(project: Project, definition: Pipeline) -> Project:
    return Project(project.reference, definition, project.plan, project.schemas)


def test_the_decision_is_no_part_of_it() -> None:
    model = PIPELINE.model.model_copy(update={"threshold": 0.9, "positive": "other"})
    assert parts(PIPELINE.model_copy(update={"model": model})) == parts(PIPELINE)


def test_a_callable_without_a_source_costs_no_training() -> None:
    assert source_hash(partial(print, 1)) == ""
    assert len(source_hash(parts)) == 16


def test_a_recipe_names_the_source_of_penstock_and_the_machine() -> None:
    recipe = recipe_of(Project.of(PIPELINE, Path("nothing is committed")), 3, None, parameters={"a": 1.0})
    assert (recipe.seed, recipe.data, recipe.trainer, recipe.parameters) == (3, None, None, {"a": 1.0})
    assert len(recipe.code) == 64
    assert {"system", "processor", "libc"} < {*recipe.machine}
    assert "threads" not in recipe.machine
    assert "threads" in recipe_of(Project.of(PIPELINE, Path("x")), 3, None, function=parts).machine
