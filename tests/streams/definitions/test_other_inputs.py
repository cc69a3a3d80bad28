"""Names and defaults of inputs of other pipelines are checked when a model is defined."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from penstock import Monitors
from tests.other_pipelines import taps, with_input


def test_categories_of_other_pipelines_are_those_that_the_model_names() -> None:
    assert taps().categories == ("cards:by_card.country_last_1h",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": ("cards:by_card",)}, "input 'cards:by_card' is not of the form pipeline:view.feature"),
        ({"inputs": ("a:b:c.d",)}, "input 'a:b:c.d' is not of the form"),
        ({"inputs": ("taps:by_gate.count_1h",)}, "is of this pipeline: name it 'by_gate.count_1h'"),
        ({"defaults": {}}, "input cards:by_card.count_1m has no default for when its vector is missing"),
        ({"defaults": {"event.gate": 1}, "inputs": ("event.gate",)}, "a default for 'event.gate', which is no input"),
        ({"defaults": {"cards:by_card.count_1m": float("nan")}, "inputs": ("cards:by_card.count_1m",)}, "is nan"),
        ({"defaults": {"cards:by_card.count_1m": [1]}}, "defaults"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        taps(**{"categories": (), **changes})
    assert said in str(refused.value)


def test_an_input_of_another_pipeline_cannot_be_monitored_here() -> None:
    monitors = Monitors(inputs=("cards:by_card.count_1m",))
    pipeline = with_input("cards:by_card.count_1m")
    with pytest.raises(ValidationError, match=r"monitors: cards:by_card\.count_1m is of another pipeline"):
        type(pipeline)(**{**dict(pipeline), "monitors": monitors})


def test_a_default_keeps_its_type() -> None:
    assert repr([*taps().model.defaults.values()]) == "[0, '??', None, False]"
