"""The judge gets from a pipeline what it needs."""

from __future__ import annotations

from examples.fraud.pipeline import pipeline
from scoring.rollout.facts import Facts


def test_of_the_declared_groups_those_count_that_are_in_the_vector() -> None:
    inputs = ("event.is_online", "event.amount_eur", "event.is_foreign")
    groups = ("event.home_country", "event.is_foreign", "event.is_online")
    model = pipeline.model.model_copy(update={"inputs": inputs, "groups": groups})
    facts = Facts.of(pipeline.model_copy(update={"model": model}))
    assert facts.groups == ("event.is_foreign", "event.is_online")
    assert facts.places == (2, 0)


def test_threshold_task_and_rollout_are_those_of_the_definition() -> None:
    facts = Facts.of(pipeline)
    assert (facts.threshold, facts.task, facts.rollout) == (0.5, "binary", pipeline.rollout)
    assert Facts.of(pipeline.model_copy(update={"labels": None})).task is None
