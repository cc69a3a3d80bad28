"""Regressions and models of several classes: trained, validated, exported, by Penstock and by functions of users."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestRegressor

from penstock.commands.model.manifests import training_of
from schemas.categories import code_of
from scoring.attribution import explain
from scoring.custom_training import table_of, train_with
from scoring.encodings import OTHERS, Vocabulary
from scoring.reasons import Attribution
from scoring.trained_model import ModelManifest, OnnxModel, TrainedModel
from scoring.training import score_onnx, train
from scoring.training_set import FeatureRow, LabelRow, TrainingSet, Truth, join
from scoring.treelite_export import with_checkpoint

INPUTS = ("event.amount", "card.sum_1h", "card.count_24h")
ROWS = 1_500


def training_set(task: Any, scale: float = 1.0) -> TrainingSet:
    """Labels that depend mostly on the second input; a tenth of all values is null."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, len(INPUTS))).astype(np.float32)
    risk = 2 * values[:, 1] + 0.5 * values[:, 0] + 0.3 * rng.normal(size=ROWS)
    values[rng.random(values.shape) < 0.1] = np.nan
    classes = np.array(["low", "middle", "high"])[np.digitize(risk, [-1, 1])]
    truth: list[Truth] = (risk * scale).tolist() if task == "regression" else classes.tolist()
    return join(
        [FeatureRow(f"e{i}", i, i, 0, (i,), values[i]) for i in range(ROWS)],
        [LabelRow(f"e{i}", i, (i,), truth[i]) for i in range(ROWS)],
        inputs=INPUTS,
        views={"card": "1:abcd"},
        until_ms=None,
        task=task,
        positive="high" if task == "multiclass" else None,
    )


VALUES, CLASSES = training_set("regression"), training_set("multiclass")


@pytest.fixture(scope="module")
def regression() -> TrainedModel[ModelManifest]:
    return train(VALUES, seed=7)


@pytest.fixture(scope="module")
def multiclass() -> TrainedModel[ModelManifest]:
    return train(CLASSES, seed=7)


def test_a_regression_scores_values_as_scikit_learns_trees_do(regression: TrainedModel[ModelManifest]) -> None:
    settings = {"learning_rate": 0.08, "max_leaf_nodes": 15, "l2_regularization": 1.0, "early_stopping": False}
    model = HistGradientBoostingRegressor(max_iter=regression.manifest.iterations, random_state=7, **settings)
    model.fit(VALUES.X, VALUES.y)
    assert score_onnx(regression.onnx, VALUES.X) == pytest.approx(model.predict(VALUES.X), abs=1e-4)


def test_a_regression_is_validated_by_r2_and_the_mean_absolute_error(regression: TrainedModel[ModelManifest]) -> None:
    validation = regression.manifest.validation
    assert validation.r2 is not None
    assert validation.r2_without_windows is not None
    assert validation.r2 > 0.6 > validation.r2_without_windows
    later = VALUES.y[-validation.rows :]
    assert validation.mae == pytest.approx(np.abs(regression.validated - later).mean())
    assert (validation.auc, validation.positives, regression.manifest.positives) == (None, 0, 0)
    assert regression.manifest.task == "regression"
    assert regression.manifest.importance[0].input == "card.sum_1h"


def test_the_score_of_several_classes_is_the_probability_of_the_positive_one(
    multiclass: TrainedModel[ModelManifest],
) -> None:
    scores = score_onnx(multiclass.onnx, CLASSES.X)
    high = CLASSES.truth == 1
    assert scores.mean() == pytest.approx(high.mean(), abs=0.02)
    assert scores[high].mean() > 0.6
    assert scores[~high].mean() < 0.2


def test_several_classes_are_validated_by_the_auc_of_the_positive_one_and_are_part_of_the_version(
    multiclass: TrainedModel[ModelManifest],
) -> None:
    manifest = multiclass.manifest
    assert (manifest.task, manifest.classes, manifest.positive) == ("multiclass", ("high", "low", "middle"), "high")
    assert manifest.positives == CLASSES.truth.sum()
    assert manifest.validation.auc is not None
    assert manifest.validation.auc > 0.9
    assert manifest.importance[0].input == "card.sum_1h"


@pytest.mark.parametrize("data", [VALUES, CLASSES], ids=["regression", "multiclass"])
def test_the_same_data_and_seed_give_the_same_bytes(data: TrainingSet) -> None:
    first, again = train(data, seed=7), train(data, seed=7)
    assert (first.onnx, first.baseline_onnx, first.manifest) == (again.onnx, again.baseline_onnx, again.manifest)


def test_large_values_are_compared_relatively() -> None:
    data = training_set("regression", scale=1e9)
    assert np.abs(score_onnx(train(data, seed=1).onnx, data.X)).max() > 1e9


def test_fil_runs_a_regression_and_not_several_classes(
    regression: TrainedModel[ModelManifest], multiclass: TrainedModel[ModelManifest]
) -> None:
    assert with_checkpoint(regression, VALUES.X).checkpoint is not None
    assert with_checkpoint(multiclass, CLASSES.X).manifest.no_fil == "its score is SOFTMAX of several sums, not of one"


def matrix(table: pa.Table) -> np.ndarray:
    return np.nan_to_num(np.stack([table[name].to_numpy() for name in INPUTS], axis=1))


def test_a_function_of_the_user_gets_the_values() -> None:
    def forest(table: pa.Table, seed: int) -> OnnxModel:
        model = RandomForestRegressor(20, random_state=seed).fit(matrix(table), table["label"].to_numpy())
        return OnnxModel(to_onnx(model, matrix(table)[:1]), nulls=dict.fromkeys(INPUTS, 0.0))

    manifest = train_with(forest, "mine:forest", VALUES, seed=1).manifest
    assert manifest.validation.r2 is not None
    assert manifest.validation.r2 > 0.5
    assert table_of(VALUES)["label"].to_pylist() == VALUES.y.tolist()


def test_a_function_of_the_user_gets_the_classes_as_texts() -> None:
    def trees(table: pa.Table, seed: int) -> OnnxModel:
        model = HistGradientBoostingClassifier(max_iter=20, random_state=seed)
        model.fit(matrix(table), table["label"].to_pylist())
        column = model.classes_.tolist().index("high")
        onnx = to_onnx(model, matrix(table)[:1], options={"zipmap": False})
        return OnnxModel(onnx, output="probabilities", column=column, nulls=dict.fromkeys(INPUTS, 0.0))

    trained = train_with(trees, "mine:trees", CLASSES, seed=1)
    assert trained.manifest.validation.auc is not None
    assert trained.manifest.validation.auc > 0.9
    assert set(table_of(CLASSES)["label"].to_pylist()) == {"low", "middle", "high"}


def said(model: TrainedModel[ModelManifest]) -> dict[str, str]:
    return dict(training_of(model.manifest))


def test_the_command_says_what_was_trained(
    regression: TrainedModel[ModelManifest], multiclass: TrainedModel[ModelManifest]
) -> None:
    assert said(regression)["trained on"].startswith("1,500 events with values, known until")
    assert "mean absolute error" in said(regression)["R²"]
    assert said(multiclass)["trained on"].startswith("1,500 events of 3 classes, ")
    assert "without windowed features" in said(multiclass)["AUC"]


def test_a_regression_learns_from_categories_in_the_order_of_their_means() -> None:
    rng = np.random.default_rng(0)
    countries = rng.choice(["AA", "BB", "CC"], ROWS)
    codes = {text: code_of(text.encode()) for text in ("AA", "BB", "CC")}
    means = {"AA": 50.0, "BB": -70.0, "CC": 10.0}
    values = [means[text] for text in countries] + rng.normal(size=ROWS)
    vectors = np.array([[codes[text], 0.0, np.nan] for text in countries], np.float32)
    data = replace(
        VALUES, X=vectors, y=values, categories=INPUTS[:1], texts={INPUTS[0]: {code: t for t, code in codes.items()}}
    )
    made = train(data, seed=1)
    assert made.manifest.encodings[INPUTS[0]] == Vocabulary(values=(OTHERS, "BB", "CC", "AA"))
    assert score_onnx(made.onnx, vectors) == pytest.approx(values, abs=5)
    assert made.manifest.importance[0].input == INPUTS[0]
    assert made.manifest.importance[0].loss > 0.5
    reasons = explain(made.onnx, vectors)
    assert isinstance(reasons, Attribution)
    found = reasons.base + reasons.contributions(vectors).sum(axis=1)
    assert found == pytest.approx(score_onnx(made.onnx, vectors), abs=1e-3)
