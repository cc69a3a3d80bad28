"""A pipeline refuses monitors that cannot be compared with a training set; the error names them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from examples.fraud.pipeline import pipeline as fraud
from penstock import Monitors, Pipeline
from streams.plan.compiler import compile_plan
from streams.plan.pipeline_topics import pipeline_topics


def with_monitors(monitors: Monitors | None) -> Pipeline:
    parts: dict[str, Any] = {name: getattr(fraud, name) for name in Pipeline.model_fields}
    return Pipeline(**(parts | {"monitors": monitors}))


@pytest.mark.parametrize(
    ("monitors", "message"),
    [
        (Monitors(inputs=("event.nothing",)), "monitors: 'event.nothing' is not an input of the model"),
        (Monitors(inputs=("card_spend.last_present_country_7d",)), "is not an input of the model"),
        (Monitors(inputs=("event.amount_eur",) * 2), "monitors: event.amount_eur is named twice"),
        (Monitors(score=False), "monitors: nothing is monitored"),
    ],
)
def test_the_error_names_a_wrong_monitor(monitors, message):
    with pytest.raises(ValidationError, match=message):
        with_monitors(monitors)


@pytest.mark.parametrize("field", [{"window": 10}, {"false_alarm_every": 1}, {"windows": 500}])
def test_a_value_out_of_range_names_its_field(field):
    with pytest.raises(ValidationError, match=next(iter(field))):
        Monitors(**field)


def test_the_score_comes_after_the_inputs():
    assert Monitors(inputs=("event.amount_eur",)).names() == ("event.amount_eur", "score")
    assert Monitors(inputs=("event.amount_eur",), score=False).names() == ("event.amount_eur",)


def test_monitors_change_neither_the_plan_nor_a_views_hash():
    assert compile_plan(with_monitors(None)) == compile_plan(with_monitors(Monitors()))


def test_alerts_and_compacted_state_have_topics_if_there_are_monitors():
    topics = {topic.name: topic for topic in pipeline_topics(with_monitors(Monitors()))}
    assert topics["drift.fraud"].partitions == topics["drift.fraud.state"].partitions == fraud.source.partitions
    assert topics["drift.fraud.state"].config["cleanup.policy"] == "compact"
    assert "cleanup.policy" not in topics["drift.fraud"].config
    assert not {name for name in (t.name for t in pipeline_topics(with_monitors(None))) if name.startswith("drift")}
