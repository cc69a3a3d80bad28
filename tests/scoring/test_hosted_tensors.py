"""What a hosted model gets for vectors, and what is taken from its answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scoring.hosted_tensors import DTYPES, calls_of, probed, scores_of
from tests.scoring.fake_hosted import HOSTED

MAPPING = HOSTED.model_dump()
X = np.array([[1, 2, 3], [4, np.nan, np.nan], [np.nan, 5, 6]], np.float32)


def test_each_tensor_has_its_name_type_and_shape_and_null_becomes_what_was_said() -> None:
    (call,) = calls_of(MAPPING, X)
    assert {name: (values.dtype, values.shape) for name, values in call.items()} == {
        "amount": (np.float32, (3, 1)),
        "amount_sum_1h": (np.float64, (3,)),
        "count_1h": (np.int64, (3, 1)),
    }
    assert np.isnan(call["amount"][2, 0])
    assert call["amount_sum_1h"].tolist() == [2.0, 0.0, 5.0]
    assert call["count_1h"].ravel().tolist() == [3, 0, 6]


@pytest.mark.parametrize("datatype", DTYPES)
def test_one_matrix_takes_the_columns_in_order(datatype: str) -> None:
    tensor = {"name": "x", "datatype": datatype, "columns": (0, 2), "flat": False}
    (call,) = calls_of({"max_rows": 0, "nulls": [0, 0, 0], "tensors": [tensor]}, X)
    assert call["x"].dtype == DTYPES[datatype]
    assert np.array_equal(call["x"], np.nan_to_num(X)[:, [0, 2]].astype(DTYPES[datatype]))


@pytest.mark.parametrize(("most", "sizes"), [(0, [3]), (1, [1, 1, 1]), (2, [2, 1]), (3, [3])])
def test_no_call_has_more_rows_than_the_model_takes(most: int, sizes: list[int]) -> None:
    assert [len(call["amount"]) for call in calls_of(MAPPING | {"max_rows": most}, X)] == sizes


def test_the_scores_are_the_column_of_all_answers_in_order() -> None:
    answers = [np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[0.7, 0.3]])]
    assert scores_of(MAPPING, answers, 3) == pytest.approx([0.1, 0.2, 0.3])
    assert scores_of(MAPPING | {"width": 1, "column": 0}, [np.array([0.5, 0.25])], 2).tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    "answer", [None, np.zeros((2, 3)), np.zeros(2), np.zeros((2, 2), np.int64), np.zeros((3, 2)), np.array(0.5)]
)
def test_another_output_than_at_the_import_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match="output probabilities"):
        scores_of(MAPPING, [answer], 2)


def test_the_probe_rows_are_cut_off_if_they_have_their_scores() -> None:
    mapping = MAPPING | {"probe": {"scores": [0.25, 0.75]}}
    scores = np.array([0.1, np.nan, 0.25, 0.75001], np.float32)
    assert np.array_equal(probed(mapping, scores), scores[:2], equal_nan=True)


@pytest.mark.parametrize("last", [0.7, np.nan, np.inf])
def test_a_probe_row_with_another_score_tells_of_another_model(last: float) -> None:
    mapping = MAPPING | {"probe": {"scores": [0.25, 0.75]}}
    with pytest.raises(ValueError, match=r"other scores than when it was imported: 0\.25 instead of 0\.25"):
        probed(mapping, np.array([0.1, 0.25, last], np.float32))
