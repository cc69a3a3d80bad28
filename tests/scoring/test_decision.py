import math

import numpy as np
import pytest

from scoring.decision import Policy, is_score

POLICY = Policy(threshold=0.5, positive="block", negative="pass")


@pytest.mark.parametrize(("score", "decision"), [(0.49999, "pass"), (0.5, "block"), (1.0, "block"), (0.0, "pass")])
def test_a_score_of_at_least_the_threshold_is_positive(score, decision):
    assert POLICY.decide(np.array([score])) == [decision]


@pytest.mark.parametrize(
    "other", [Policy(0.51, "block", "pass"), Policy(0.5, "deny", "pass"), Policy(0.5, "block", "allow")]
)
def test_every_change_of_threshold_or_decisions_changes_the_version(other):
    assert other.version != POLICY.version


def test_the_same_policy_has_the_same_version_in_every_process():
    assert Policy(0.5, "block", "pass").version == POLICY.version == "b7b2b2ac5c2e"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_are_no_scores(value):
    assert not is_score(value)
