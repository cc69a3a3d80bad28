"""The views of other pipelines are found, and what does not fit is named with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan
from streams.plan.other_views import find_other_views
from streams.plan.project import Project
from tests.other_pipelines import CARDS, resolved, taps, with_input


def test_the_views_are_found_in_the_order_of_their_inputs_with_their_keys_and_defaults() -> None:
    by_card, by_pair = resolved(taps())
    assert (by_card.name, by_card.id, by_card.key) == ("cards:by_card", "cards:by_card@2", ("card",))
    assert [*by_card.defaults] == [
        "cards:by_card.count_1m",
        "cards:by_card.country_last_1h",
        "cards:by_card.busy",
    ]
    assert (by_pair.name, by_pair.key) == ("cards:by_pair", ("card", "gate"))


def test_a_pipeline_without_such_inputs_needs_no_other() -> None:
    assert resolved(taps(inputs=("event.gate",), categories=(), defaults={})) == ()


def refusal(pipeline: Pipeline, other: Pipeline = CARDS) -> PenstockError:
    with pytest.raises(PenstockError) as refused:
        resolved(pipeline, other)
    assert "model taps of pipeline taps" in str(refused.value.where)
    return refused.value


def test_a_pipeline_that_cannot_be_found_is_told_with_the_input_that_needs_it(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PenstockError) as refused:
        Project.of(taps(), tmp_path)
    assert refused.value.what.startswith("the model takes inputs from pipeline cards, which cannot be loaded: ")
    assert "PENSTOCK_PIPELINES" in str(refused.value.next)


def test_a_project_finds_the_other_pipeline_by_its_folder(monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "pipeline.py").write_text("from tests.other_pipelines import CARDS as pipeline\n")
    monkeypatch.setenv("PENSTOCK_PIPELINES", str(tmp_path))
    project = Project.of(taps(), tmp_path)
    assert [other.id for other in project.other_views] == ["cards:by_card@2", "cards:by_pair@1"]


def test_a_definition_under_another_name_is_refused() -> None:
    renamed = CARDS.model_copy(update={"name": "other"})
    assert refusal(taps(), renamed).what == "the definition that is found as cards is pipeline other"


@pytest.mark.parametrize(
    ("pipeline", "said", "then"),
    [
        (with_input("cards:by_shop.n"), "pipeline cards has no view 'by_shop'; it has by_card", "features plan cards"),
        (
            with_input("cards:by_card.n"),
            "view cards:by_card has no feature 'n'; it has count_1m",
            "features plan cards",
        ),
        (with_input("cards:by_card.country_last_k_1h"), "is a list (string[])", "one value"),
        (with_input("cards:by_card.country_last_1h", "NL"), "is a text, so a category", "to Model(categories=(...))"),
        (with_input("cards:by_card.busy", 1), "is a boolean, which cannot be 1", "give True or False, or None"),
        (with_input("cards:by_card.count_1m", True), "is a long, which cannot be True", "give a number"),
        (with_input("cards:by_card.count_1m", "0"), "is a long, which cannot be '0'", "give a number"),
        (
            with_input("cards:by_pair.gate_last_10m", 1.5, categories=("cards:by_pair.gate_last_10m",)),
            "is a long, which cannot be 1.5",
            "give an integer",
        ),
        (
            with_input("cards:by_card.amount_sum_1h", categories=("cards:by_card.amount_sum_1h",)),
            "is a double, which is no category",
            "take it out",
        ),
        (
            with_input("cards:by_holder.count_1h"),
            "view cards:by_holder is keyed by holder, which is as it is here and a hash there",
            "in both contracts, or in neither",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_what_to_do(pipeline: Pipeline, said: str, then: str) -> None:
    error = refusal(pipeline)
    assert said in error.what
    assert then in str(error.next)


def test_the_key_must_be_on_the_feature_records() -> None:
    error = refusal(taps().model_copy(update={"passthrough": ()}))
    assert error.what == "view cards:by_card is keyed by card, which the feature records of taps do not have"
    assert str(error.next).startswith("add 'card' to Pipeline(passthrough=(...))")


def test_the_key_must_be_a_column_of_its_type() -> None:
    types = {"string": "long", "long": "string"}
    plan, cards = compile_plan(taps()), compile_plan(CARDS)
    fields = tuple(f.model_copy(update={"type": types.get(f.type, f.type)}) for f in cards.source.fields)
    other = cards.model_copy(update={"source": cards.source.model_copy(update={"fields": fields})})
    with pytest.raises(PenstockError) as refused:
        find_other_views(taps(), plan, lambda _: other)
    assert refused.value.what == "view cards:by_card is keyed by card, a long, which is a string here"
    assert "derived={'card': Derived(sql=..., type='long')}" in str(refused.value.next)
