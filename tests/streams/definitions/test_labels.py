"""What labels declare: a wrong declaration is refused, and none changes a view or a policy."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backfill.manifest import plan_hash
from scoring.decision import Policy
from streams.plan.compiler import compile_plan
from tests.backfill.training_sets.worlds import pipeline


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({"absent": "negative"}, "absent says what no label means once labels are final: add horizon="),
        ({"horizon": "3 days"}, "is not a duration"),
        ({"horizon": "3d", "absent": "positive"}, "Input should be 'negative' or 'excluded'"),
        (
            {"horizon": "3d", "absent": "negative", "value": "loss", "task": "regression"},
            "absent='negative' is for task='binary'",
        ),
        (
            {"hidden_by": "decline"},
            "hidden by the decision 'decline', which model taps never makes: it decides 'block'",
        ),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(declared: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        pipeline(**declared)


def test_a_declaration_changes_neither_plan_nor_policy() -> None:
    plain, declared = pipeline(), pipeline(horizon="45d", absent="negative", hidden_by="block")
    assert plan_hash(compile_plan(declared)) == plan_hash(compile_plan(plain))
    assert Policy.of(declared.model) == Policy.of(plain.model)
