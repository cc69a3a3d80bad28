import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from penstock.errors import PenstockError
from schemas.categories import code_of
from scoring.attribution import explain
from scoring.custom_training import table_of
from scoring.encodings import OTHERS
from scoring.model_metadata import INPUT, OUTPUT
from scoring.reasons import Attribution
from scoring.trained_model import read_manifest
from scoring.training import auc, score_onnx, to_onnx, train
from scoring.training_set import FeatureRow, LabelRow, TrainingSet, join

INPUTS = ("event.amount", "event.is_online", "card.sum_1h", "card.count_24h")


def training_set(rows=1500, positive_rate=0.2, seed=0, inputs=INPUTS) -> TrainingSet:
    """Labels that depend mostly on the third input; a tenth of all values is null."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, len(inputs))).astype(np.float32)
    risk = 2 * values[:, min(2, len(inputs) - 1)] + 0.5 * values[:, 0] + rng.normal(size=rows)
    truth = risk > np.quantile(risk, 1 - positive_rate)
    values[rng.random(values.shape) < 0.1] = np.nan
    return join(
        [FeatureRow(f"e{i}", i, i, 0, (i,), values[i]) for i in range(rows)],
        [LabelRow(f"e{i}", i, (i,), bool(truth[i])) for i in range(rows)],
        inputs=inputs,
        views={"card": "1:abcd"},
        until_ms=None,
    )


@pytest.fixture(scope="module")
def trained():
    return train(training_set(), seed=7)


def test_the_same_data_and_seed_give_the_same_bytes(trained):
    again = train(training_set(), seed=7)
    assert again.onnx == trained.onnx
    assert again.baseline_onnx == trained.baseline_onnx
    assert again.manifest == trained.manifest


def test_the_model_has_one_input_and_one_output(trained):
    session = onnxruntime.InferenceSession(trained.onnx)
    (features,), (score,) = session.get_inputs(), session.get_outputs()
    assert (features.name, features.type, features.shape[1]) == (INPUT, "tensor(float)", len(INPUTS))
    assert (score.name, score.type, score.shape[1]) == (OUTPUT, "tensor(float)", 1)


def test_older_runtimes_can_read_the_file_format(trained):
    model = onnx.load_from_string(trained.onnx)
    assert model.ir_version == 8
    assert {o.domain: o.version for o in model.opset_import} == {"": 17, "ai.onnx.ml": 3}


def test_the_model_file_lists_its_inputs(trained):
    metadata = onnxruntime.InferenceSession(trained.onnx).get_modelmeta().custom_metadata_map
    assert tuple(json.loads(metadata["inputs"])) == INPUTS


def test_scores_are_calibrated_probabilities(trained):
    data = training_set(rows=4000, seed=1)
    scores = score_onnx(trained.onnx, data.X)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert scores.mean() == pytest.approx(data.y.mean(), abs=0.03)


def test_windowed_features_beat_the_baseline_when_they_carry_the_signal(trained):
    validation = trained.manifest.validation
    assert validation.auc > 0.85
    assert validation.auc_without_windows < validation.auc - 0.1


def test_validation_is_the_latest_fifth(trained):
    assert trained.manifest.validation.from_ms == 1200
    assert trained.manifest.validation.rows == 300


def test_the_most_important_input_is_the_one_that_the_labels_depend_on(trained):
    importance = trained.manifest.importance
    assert [one.input for one in importance[:2]] == ["card.sum_1h", "event.amount"]
    assert importance[0].loss > 0.1
    assert {one.input for one in importance} == set(INPUTS)


def test_importance_is_measured_with_infinities_and_columns_of_nulls():
    data = training_set()
    data.X[::5, 1] = np.inf
    data.X[:, 3] = np.nan
    losses = {one.input: one.loss for one in train(data, seed=1).manifest.importance}
    assert losses["card.count_24h"] == 0


def test_the_manifest_records_how_the_model_was_trained(trained):
    manifest = trained.manifest
    data = training_set()
    assert (manifest.seed, manifest.data_hash, manifest.rows) == (7, data.data_hash, 1500)
    assert manifest.positives == int(data.y.sum())
    assert manifest.views == {"card": "1:abcd"}
    assert manifest.inputs == INPUTS
    assert manifest.baseline_inputs == ("event.amount", "event.is_online")
    assert {"scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy", "python"} == manifest.libraries.keys()


def test_the_manifest_records_that_inputs_of_other_pipelines_had_their_defaults(trained):
    assert train(replace(training_set(), with_defaults=True), seed=7).manifest.with_defaults
    earlier = trained.manifest.model_dump(mode="json")
    del earlier["with_defaults"]
    assert read_manifest(earlier) == trained.manifest


def test_a_model_of_windowed_features_only_has_no_baseline():
    result = train(training_set(rows=400, inputs=("card.sum_1h", "card.count_24h")), seed=1)
    assert result.baseline_onnx is None
    assert result.manifest.validation.auc_without_windows is None


def test_training_accepts_an_input_that_is_always_null():
    data = training_set()
    values = data.X.copy()
    values[:, 3] = np.nan
    result = train(replace(data, X=values), seed=1)
    assert result.manifest.validation.auc > 0.85


def test_a_row_of_nulls_only_is_scored(trained):
    score = score_onnx(trained.onnx, np.full((1, len(INPUTS)), np.nan, dtype=np.float32))
    assert 0 < score[0] < 1


def test_the_model_learns_from_nulls():
    rng = np.random.default_rng(0)
    data = training_set()
    values = rng.normal(size=data.X.shape).astype(np.float32)
    values[data.y == 1, 3] = np.nan
    result = train(replace(data, X=values), seed=1)
    missing, present = np.zeros((2, 1, 4), dtype=np.float32)
    missing[0, 3] = np.nan
    assert score_onnx(result.onnx, missing)[0] > 0.9
    assert score_onnx(result.onnx, present)[0] < 0.1


def test_a_threshold_between_neighbouring_float32_values_separates_them():
    rng = np.random.default_rng(0)
    # Half-way between these two, "to nearest, ties to even" would round up, to the higher one itself.
    low = np.nextafter(np.float32(1), np.float32(2))
    high = np.nextafter(low, np.float32(2))
    values = np.where(rng.random((2000, 1)) < 0.5, low, high).astype(np.float32)
    classifier = HistGradientBoostingClassifier(random_state=0).fit(values, (values[:, 0] == high).astype(int))
    content = to_onnx(classifier, values, ("event.x",), seed=0)
    assert score_onnx(content, np.array([[low], [high]])) == pytest.approx([0, 1], abs=0.01)


def test_large_values_such_as_times_keep_their_order():
    rng = np.random.default_rng(0)
    step = 131_072  # the distance of neighbouring float32 values at 1.7e12
    values = (np.float32(1.7e12) + rng.integers(0, 300, size=(3000, 2)) * step).astype(np.float32)
    truth = (values[:, 0] > values[:, 1]).astype(int)
    classifier = HistGradientBoostingClassifier(random_state=0).fit(values, truth)
    to_onnx(classifier, values, ("event.a", "event.b"), seed=0)  # raises on any difference


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_infinities_are_scored_as_the_largest_values():
    data = training_set()
    values = np.abs(data.X)
    values[data.y == 1, 3] = np.inf
    result = train(replace(data, X=values), seed=1)
    infinite = np.array([[1, 1, 1, np.inf]], dtype=np.float32)
    assert score_onnx(result.onnx, infinite)[0] > 0.9


def test_training_accepts_a_constant_input():
    data = training_set()
    values = data.X.copy()
    values[:, 3] = 5
    assert train(replace(data, X=values), seed=1).manifest.validation.auc > 0.85


def test_training_accepts_an_input_that_is_null_until_the_validation_slice():
    data = training_set()
    values = data.X.copy()
    values[:1250, 3] = np.nan
    assert train(replace(data, X=values), seed=1).manifest.validation.auc > 0.85


def test_a_conversion_that_changes_scores_is_refused(monkeypatch):
    monkeypatch.setattr("scoring.training.score_onnx", lambda _, rows: np.zeros(len(rows), dtype=np.float32))
    with pytest.raises(PenstockError, match="differs from the trained one"):
        train(training_set(rows=400), seed=1)


def test_no_labels_is_a_clear_error_that_says_what_was_read():
    features = [FeatureRow("a", 1, 1, 0, (0,), np.zeros(len(INPUTS), dtype=np.float32))]
    empty = join(features, [LabelRow("b", 1, (0,), True)], inputs=INPUTS, views={}, until_ms=None)
    with pytest.raises(PenstockError, match="no event has a label") as caught:
        train(empty, seed=1)
    assert "features read 1" in str(caught.value)
    assert "labels without event 1" in str(caught.value)


@pytest.mark.parametrize(("value", "name"), [(0, "negative"), (1, "positive")])
def test_labels_of_one_class_only_are_a_clear_error(value, name):
    data = training_set(rows=400)
    with pytest.raises(PenstockError, match=f"one class \\({name}\\)"):
        train(replace(data, y=np.full(400, value, dtype=np.int8)), seed=1)


def test_too_few_labels_are_a_clear_error():
    with pytest.raises(PenstockError, match="too few labels: the later part of the set has 5 positive"):
        train(training_set_with_late_positives(5), seed=1)


def test_events_that_all_have_the_same_time_cannot_be_split():
    data = training_set(rows=400)
    with pytest.raises(PenstockError, match="the earlier part of the set has 0 positive and 0 negative"):
        train(replace(data, event_times=np.zeros(400, dtype=np.int64)), seed=1)


def test_auc_of_a_perfect_and_of_a_constant_score():
    labels = np.array([0, 1, 0, 1])
    assert auc(np.array([0.1, 0.9, 0.2, 0.8]), labels) == 1
    assert auc(np.zeros(4), labels) == 0.5


def test_auc_of_one_class_is_an_error():
    with pytest.raises(PenstockError, match="needs both classes"):
        auc(np.array([0.1, 0.2]), np.array([1, 1]))


def test_the_baseline_takes_the_columns_that_its_manifest_names(trained):
    manifest, vectors = trained.manifest, training_set(seed=3).X
    columns = [manifest.inputs.index(name) for name in manifest.baseline_inputs]
    assert score_onnx(trained.baseline_onnx, vectors[:, columns]).shape == (len(vectors),)


def training_set_with_late_positives(count) -> TrainingSet:
    data = training_set(rows=400)
    truth = data.y.copy()
    truth[320:] = 0
    truth[-count:] = 1
    return replace(data, y=truth)


def categorical_set(rows=2000) -> TrainingSet:
    """Labels that depend on a country, whose text is an input, and on a shop, whose number is a category."""
    rng = np.random.default_rng(3)
    inputs = ("event.country", "event.amount", "event.shop")
    countries, shops = rng.choice(["AA", "BB", "CC", "DD"], rows), rng.integers(10**12, 10**12 + 40, rows)
    risk = np.isin(countries, ["AA", "CC"]) * 2.0 + (shops % 2) + rng.normal(size=rows)
    coded = {
        "event.country": {code_of(text.encode()): str(text) for text in set(countries)},
        "event.shop": {code_of(str(shop).encode()): str(shop) for shop in set(shops.tolist())},
    }
    of_text = {name: {text: code for code, text in texts.items()} for name, texts in coded.items()}
    amounts = rng.normal(size=rows)
    values = [
        [of_text["event.country"][c], a, of_text["event.shop"][str(s)]]
        for c, a, s in zip(countries, amounts, shops, strict=True)
    ]
    vectors = np.array(values, np.float32)
    joined = join(
        [FeatureRow(f"e{i}", i, i, 0, (i,), vectors[i]) for i in range(rows)],
        [LabelRow(f"e{i}", i, (i,), bool(risk[i] > 1.5)) for i in range(rows)],
        inputs=inputs,
        views={},
        until_ms=None,
        categories=("event.country", "event.shop"),
    )
    return replace(joined, texts=coded)


def test_a_model_learns_from_categories_and_takes_their_codes():
    data = categorical_set()
    made = train(data, seed=1)
    assert made.manifest.validation.auc > 0.8
    assert made.manifest.categories == ("event.country", "event.shop")
    vocabulary = made.manifest.encodings["event.country"].values
    assert vocabulary[0] == OTHERS
    assert [set(vocabulary[1:3]), set(vocabulary[3:])] == [{"BB", "DD"}, {"AA", "CC"}]
    assert len(made.manifest.encodings["event.shop"].values) == 41
    scores = score_onnx(made.onnx, data.X)
    assert auc(scores, data.y) > 0.8
    unknown = np.array([[code_of(b"never seen"), 0.0, np.nan], [np.nan, 0.0, code_of(b"1")]], np.float32)
    first, second = score_onnx(made.onnx, unknown)
    assert first == second, "a text that is not known is as null"


def test_a_function_of_the_users_gets_the_texts_of_categories():
    table = table_of(categorical_set())
    assert set(table["event.country"].to_pylist()) == {"AA", "BB", "CC", "DD"}
    assert table["event.shop"][0].as_py().startswith("1000000000")


def test_the_reasons_of_a_model_of_categories_name_its_inputs():
    data = categorical_set()
    made = train(data, seed=1)
    found = explain(made.onnx, data.X)
    assert isinstance(found, Attribution)
    contributions = found.contributions(data.X)
    margins = np.log(score_onnx(made.onnx, data.X) / (1 - score_onnx(made.onnx, data.X)))
    assert found.base + contributions.sum(axis=1) == pytest.approx(margins, abs=1e-3)
    assert np.abs(contributions).mean(axis=0).argmax() == data.inputs.index("event.country")
