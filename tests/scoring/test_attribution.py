"""Contributions are those of the definition, add up to the model's margin, and agree with shap where they must."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from scipy import special

from penstock.paths import ROOT
from scoring.attribution import NoReasons, explain
from scoring.model_import import Fitting, fit_tensors
from scoring.onnx_wrapping import Conversions, ScoreOutput
from scoring.reasons import Attribution
from scoring.training import score_onnx
from tests.scoring.trees import MODES, Split, Tree, attributed, classifier, model_of, picked, regressor

MODELS = ROOT / "tests" / "models"
NAN = math.nan
IMPORTED = ("event.amount", "activity.amount_sum_1h", "activity.count_1h")

# 3 of 4 rows take the left branch at the root; of them, 1 of 3 the left one again.
ROWS = np.array([[0, 0], [0, 9], [0, 9], [9, 0]], dtype=np.float32)
DEEP = Split(0, 5.0, Split(1, 5.0, 3.0, 6.0), 9.0)


def reasons(model: bytes, background: np.ndarray) -> Attribution:
    found = explain(model, background)
    assert isinstance(found, Attribution), found
    return found


def vectors(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_each_input_gets_the_change_of_the_mean_at_its_split() -> None:
    found = reasons(model_of([regressor([DEEP])], 2), ROWS)
    # The mean is 6 at the root, 5 behind the first split.
    assert found.base == 6.0
    assert found.contributions(vectors([0, 0], [0, 9], [9, 0])).tolist() == [[-1, -2], [-1, 1], [3, 0]]


def test_trees_add_up_and_base_values_belong_to_the_base() -> None:
    found = reasons(model_of([regressor([DEEP, Split(1, 5.0, 0.0, 4.0), 1.5], base_values=[10.0])], 2), ROWS)
    assert found.base == 6.0 + 2.0 + 1.5 + 10.0
    assert found.contributions(vectors([0, 9])).tolist() == [[-1, 1 + 2]]


def test_a_null_is_credited_to_its_input_whichever_branch_it_takes() -> None:
    for takes_yes, expected in ((True, -1.5), (False, 1.5)):
        tree = Split(0, 5.0, 1.0, 4.0, nulls_take_yes=takes_yes)
        found = reasons(model_of([regressor([tree])], 2), vectors([0, 0], [9, 0]))
        assert found.contributions(vectors([NAN, 0])).tolist() == [[expected, 0]]


def test_branches_that_no_row_reaches_count_alike() -> None:
    found = reasons(model_of([regressor([Split(0, 5.0, 1.0, Split(1, 5.0, 2.0, 6.0))])], 2), vectors([0, 0]))
    assert found.base == 1.0
    assert found.contributions(vectors([9, 9])).tolist() == [[3, 2]]


def test_contributions_to_a_probability_are_log_odds() -> None:
    pick, constants = picked(1)
    model = model_of([classifier([Split(0, 5.0, -1.0, 2.0)], post_transform="LOGISTIC"), pick], 1, **constants)
    found = reasons(model, vectors([0], [9]))
    assert found.base == 0.5
    assert found.contributions(vectors([9])).tolist() == [[1.5]]
    assert score_onnx(model, vectors([9]))[0] == pytest.approx(special.expit(2.0))


@pytest.mark.parametrize("transform", ["LOGISTIC", "NONE"])
@pytest.mark.parametrize("leaves", [(-1.0, 2.0), (0.25, 0.75)])
def test_what_raises_one_class_lowers_the_other(transform: str, leaves: tuple[float, float]) -> None:
    contributions = []
    for column in (0, 1):
        pick, constants = picked(column)
        trees = classifier([Split(0, 5.0, *leaves)], post_transform=transform, base_values=[0.125])
        found = reasons(model_of([trees, pick], 1, **constants), vectors([0], [9]))
        contributions.append(found.contributions(vectors([9]))[0, 0])
    assert contributions[0] == -contributions[1] < 0


def test_the_mean_of_trees_is_attributed_as_their_sum_is() -> None:
    found = reasons(model_of([regressor([DEEP, 0.0], aggregate_function="AVERAGE")], 2), ROWS)
    assert found.base == 3.0
    assert found.contributions(vectors([9, 0])).tolist() == [[1.5, 0]]


NUMBERS = st.sampled_from([-2.0, -0.5, 0.0, 1.0, 3.0])
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.floats(-4, 4, width=16),
    lambda below: st.builds(Split, st.integers(0, 2), NUMBERS, below, below, st.sampled_from([*MODES]), st.booleans()),
    max_leaves=12,
)
VECTORS = st.lists(st.lists(NUMBERS | st.just(NAN), min_size=3, max_size=3), min_size=1, max_size=12)


@given(trees=st.lists(TREES, min_size=1, max_size=4), rows=VECTORS, asked=VECTORS)
@settings(deadline=None)
def test_contributions_are_those_of_the_definition(trees: list[Tree], rows: list, asked: list) -> None:
    found = reasons(model_of([regressor(trees)], 3), vectors(*rows))
    contributions = found.contributions(vectors(*asked))
    for vector, row in zip(asked, contributions, strict=True):
        base, expected = attributed(trees, rows, vector)
        assert found.base == pytest.approx(base, abs=1e-12)
        assert row == pytest.approx(expected, rel=1e-6, abs=1e-6)


def model_and_rows(name: str, inputs: tuple[str, ...]) -> tuple[bytes, np.ndarray]:
    """A model of this repository as its import makes it, and its rows."""
    rows = pyarrow.parquet.read_table(MODELS / f"{name}.parquet")
    X = np.stack([rows[one].to_numpy() for one in inputs], axis=1).astype(np.float32)  # noqa: N806
    content = (MODELS / f"{name}.onnx").read_bytes()
    return fit_tensors(content, Fitting(inputs, (), ScoreOutput(), Conversions()), X, name).onnx, X


@pytest.mark.parametrize(("name", "is_logistic"), [("lightgbm", True), ("xgboost", False)])
def test_base_and_contributions_add_up_to_the_margin_of_an_imported_model(name: str, is_logistic: bool) -> None:
    model, X = model_and_rows(name, IMPORTED)  # noqa: N806
    assert np.isnan(X).any()
    found = reasons(model, X)
    margins = found.base + found.contributions(X).sum(axis=1, dtype=np.float64)
    assert score_onnx(model, X) == pytest.approx(special.expit(margins) if is_logistic else margins, abs=1e-5)


def test_the_same_model_and_rows_give_the_same_bytes_which_say_all_that_is_needed() -> None:
    model, X = model_and_rows("lightgbm", IMPORTED)  # noqa: N806
    found = reasons(model, X)
    assert reasons(model, X).content == found.content
    loaded = Attribution(found.content)
    assert (loaded.inputs, loaded.base) == (IMPORTED, found.base)
    assert np.array_equal(loaded.contributions(X), found.contributions(X))


def test_without_rows_there_are_no_reasons() -> None:
    found = explain(model_of([regressor([DEEP])], 2), np.empty((0, 2), np.float32))
    assert found == NoReasons("there are no rows to measure its trees by")


def test_a_model_whose_trees_do_not_sum_to_its_scores_has_no_reasons() -> None:
    cast = helper.make_node("Cast", ["sums"], ["whole"], to=7)
    back = helper.make_node("Cast", ["whole"], ["score"], to=1)
    model = model_of([regressor([Split(0, 5.0, 0.4, 1.0)], made="sums"), cast, back], 1)
    assert explain(model, vectors([0], [9])) == NoReasons("the sums of its trees are not its scores")


@pytest.fixture(scope="module", params=["boosting", "stumps", "lightgbm"])
def beside_shap(request: pytest.FixtureRequest) -> tuple[str, Attribution, np.ndarray, np.ndarray, float]:
    """Of a real model: its name, reasons, and vectors that shap has explained, with its values and its base."""
    name = request.param
    table = pyarrow.parquet.read_table(MODELS / "shap.parquet")
    inputs = tuple(one for one in table.column_names if "/" not in one)
    X = np.stack([table[one].to_numpy() for one in inputs], axis=1)  # noqa: N806
    model = (MODELS / f"shap_{name}.onnx").read_bytes()
    if name == "lightgbm":
        model = fit_tensors(model, Fitting(inputs, (), ScoreOutput(), Conversions()), X, name).onnx
    values = np.stack([table[f"{name}/{one}"].to_numpy() for one in inputs], axis=1)
    is_explained = ~np.isnan(values[:, 0])
    return name, reasons(model, X), X[is_explained], values[is_explained], table[f"{name}/base"][0].as_py()


def test_shap_has_the_same_base_and_sums(beside_shap: tuple) -> None:
    _, found, X, values, base = beside_shap  # noqa: N806
    assert found.base == pytest.approx(base, abs=1e-6)
    assert found.contributions(X).sum(axis=1) == pytest.approx(values.sum(axis=1), abs=1e-5)


def test_shap_has_the_same_values_where_each_tree_splits_once(beside_shap: tuple) -> None:
    name, found, X, values, _ = beside_shap  # noqa: N806
    contributions = found.contributions(X)
    if name == "stumps":
        assert contributions == pytest.approx(values, abs=1e-6)
    else:
        assert np.abs(contributions - values).max() > 0.1
        assert np.corrcoef(contributions.ravel(), values.ravel())[0, 1] > 0.95


def test_shap_has_the_same_top_reason_for_most_rows(beside_shap: tuple) -> None:
    _, found, X, values, _ = beside_shap  # noqa: N806
    assert np.mean(found.contributions(X).argmax(axis=1) == values.argmax(axis=1)) > 0.7
