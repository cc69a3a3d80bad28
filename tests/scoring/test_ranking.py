"""The area under the ROC curve is scikit-learn's, ties and weights included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from scoring.ranking import area, area_of_scores

EVENTS = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans(), st.sampled_from([1.0, 0.5, 3.0])), min_size=2
)


@settings(derandomize=True, deadline=None)
@given(EVENTS.filter(lambda events: len({label for _, label, _ in events}) == 2))
def test_the_area_is_that_of_scikit_learn_with_ties_and_weights(events):
    scores, labels, weights = (np.array(values, float) for values in zip(*events, strict=True))
    found = area_of_scores(scores, weights * (1 - labels), weights * labels)
    assert found == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))


def test_many_are_computed_at_once_and_without_both_classes_there_is_none():
    negative, positive = np.array([[3.0, 1.0], [1.0, 1.0]]), np.array([[1.0, 3.0], [0.0, 0.0]])
    assert area(negative, positive) == pytest.approx([0.75, np.nan], nan_ok=True)
