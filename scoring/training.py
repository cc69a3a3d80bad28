"""Training: from a point-in-time training set to an ONNX model that returns the scores of the scikit-learn model.

The model is gradient-boosted trees, which accept nulls (NaN). There are no class weights: the scores stay
probabilities, however rare the positive class, so that the threshold of the pipeline's model is one too. The score of a
regression is the predicted value; of several classes, it is the probability of the one that the labels call positive.

Pure apart from the libraries' computations: reading the set is :mod:`backfill.training_parquet`'s task, writing the
version :mod:`scoring.repository`'s.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score
from threadpoolctl import threadpool_limits

from penstock.errors import PenstockError
from scoring.encodings import Vocabulary, encoded, learned
from scoring.model_metadata import INPUT, OUTPUT
from scoring.onnx_session import open_session, scores_of
from scoring.onnx_wrapping import Conversions, Output, match_tensors, wrap
from scoring.trained_model import Importance, ModelManifest, TrainedModel, Validation
from scoring.training_set import TrainingSet
from scoring.training_split import split
from scoring.vectors import FloatArray

# ONNX Runtime reads this file format since 1.15; the Triton images in use would refuse a newer one.
_IR_VERSION = 8
_OPSETS = {"": 17, "ai.onnx.ml": 3}

PARITY = 1e-5
# Few leaves and a mild penalty: with a rare positive class, leaves soon hold rows of one class only.
PARAMETERS = {
    "learning_rate": 0.08,
    "max_iter": 300,
    "max_leaf_nodes": 15,
    "l2_regularization": 1.0,
    "n_iter_no_change": 15,
}
"""Of the trees; a version's recipe has them."""
_LIBRARIES = ("numpy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime")
# Of a category: texts with fewer rows are one with those that are not known.
_MOST_TEXTS, _LEAST_ROWS = 250, 20
_IMPORTANCE_ROWS_PER_CLASS = 1_500
_IMPORTANCE_REPEATS = 5

Trees: TypeAlias = HistGradientBoostingClassifier | HistGradientBoostingRegressor
Score = Callable[[FloatArray], NDArray[np.float64]]


def train(training_set: TrainingSet, seed: int) -> TrainedModel[ModelManifest]:
    """Validate on the latest fifth a model trained on the rest, then train on all rows.

    The number of trees is the one at which the validation loss stopped improving. The baseline is the same algorithm
    on the ``event.*`` inputs alone. The same set and seed give the same bytes.

    Raises:
        PenstockError: if there are too few labels, or of one class only; or if the scores of the ONNX model differ from
            those of the trained one (a defect in a library, which must not reach production).
    """
    earlier, later = split(training_set)
    with _use_one_thread():
        return _train(training_set, seed, earlier, later)


def auc(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """Area under the ROC curve of [N] scores against [N] labels of 0 and 1 (scikit-learn's, ties count half).

    Raises:
        PenstockError: if the labels are of one class only, for which it is not defined.
    """
    positives = int(np.sum(labels))
    if positives in (0, len(labels)):
        raise PenstockError(
            f"AUC needs both classes; of {len(labels)} labels {positives} are positive",
            next="look at a longer slice, or wait for more labels",
        )
    return float(roc_auc_score(labels, scores))


def score_onnx(content: bytes | Path, X: FloatArray) -> FloatArray:  # noqa: N803 - the matrix, as everywhere
    """Score vectors, float32 [N, inputs], in this process; returns float32 [N]."""
    return scores_of(open_session(content), X)


def to_onnx(
    model: Trees,
    X: FloatArray,  # noqa: N803
    inputs: tuple[str, ...],
    seed: int,
    column: int | None = 1,
) -> bytes:
    """The model as ONNX: ``features`` FP32 [N, inputs] in, ``score`` FP32 [N, 1] out.

    Args:
        model: The model.
        X: Vectors to compare the two with, float32 [N, inputs].
        inputs: The names of the inputs.
        seed: For the nulls.
        column: Which class's probability is the score; None for a regression.

    Raises:
        PenstockError: if on ``X``, or on ``X`` with random nulls, any score differs by more than 1e-5 (of the greatest
            score, if that is above 1).
    """
    _round_thresholds_down(model)
    converted = convert_sklearn(
        model,
        name=OUTPUT,
        initial_types=[(INPUT, FloatTensorType([None, len(inputs)]))],
        target_opset=_OPSETS,
        options=None if column is None else {id(model): {"zipmap": False}},
    )
    content = _to_single_output(converted, inputs, column)
    with_nulls = X.copy()
    with_nulls[np.random.default_rng(seed).random(X.shape) < 0.3] = np.nan
    rows = np.concatenate([X, with_nulls, np.full((1, len(inputs)), np.nan, dtype=np.float32)])
    expected = _scores(model, rows, column)
    difference = float(np.max(np.abs(score_onnx(content, rows) - expected)))
    if not difference <= PARITY * max(1.0, float(np.max(np.abs(expected)))):
        raise PenstockError(
            f"the ONNX model differs from the trained one by {difference:.2g} on its own training data",
            safe="no model was written",
            next="check the versions of scikit-learn, skl2onnx and onnxruntime against deploy/locks",
        )
    return content


def _use_one_thread() -> threadpool_limits:
    """Limits the calling thread, and only it.

    While a pipeline ran on the machine, threads that spin for a core took four times the CPU.
    """
    return threadpool_limits(1, user_api="openmp")


def _train(
    training_set: TrainingSet, seed: int, earlier: NDArray[np.bool_], later: NDArray[np.bool_]
) -> TrainedModel[ModelManifest]:
    columns = [i for i, name in enumerate(training_set.inputs) if name.startswith("event.")]
    y, inputs = training_set.y, training_set.inputs
    truth, column, measure = training_set.truth, training_set.column, measure_of(training_set)
    encodings = _learn_encodings(training_set, earlier)
    X = encoded(training_set.X, inputs, encodings)  # noqa: N806 - the matrix, as everywhere
    trial = _fit_trial(X, y, earlier, later, seed)
    with ThreadPoolExecutor(1, initializer=_use_one_thread) as beside:
        # It takes as long as all that follows, and what computes here does not hold Python's lock.
        importance = beside.submit(
            permuted_importance,
            lambda rows: _scores(trial, rows, column),
            replace(training_set, X=X).rows(later),
            seed,
        )
        model = _fit(X, y, trial, seed)
        content = _with_encodings(to_onnx(model, X, inputs, seed, column), inputs, encodings)
        validated = _scores(trial, X[later], column)
        baseline: bytes | None = None
        without_windows: float | None = None
        if columns:
            event_only = np.ascontiguousarray(X[:, columns])
            simple_trial = _fit_trial(event_only, y, earlier, later, seed)
            simple = _fit(event_only, y, simple_trial, seed)
            names = tuple(inputs[i] for i in columns)
            baseline = _with_encodings(to_onnx(simple, event_only, names, seed, column), names, encodings)
            without_windows = measure(_scores(simple_trial, event_only[later], column), truth[later])
    manifest = describe(training_set, later, validated, without_windows, seed, importance.result(), _LIBRARIES)
    own = {
        "baseline_inputs": tuple(inputs[i] for i in columns),
        "iterations": model.n_iter_,
        "encodings": encodings,
    }
    return TrainedModel(content, baseline, manifest.model_copy(update=own), validated)


def _learn_encodings(training_set: TrainingSet, earlier: NDArray[np.bool_]) -> dict[str, Vocabulary]:
    """The vocabulary of each category: of the earlier rows, so that the later ones validate it too."""
    place = training_set.inputs.index
    return {
        name: learned(
            training_set.X[earlier, place(name)],
            training_set.truth[earlier],
            training_set.texts[name],
            most=_MOST_TEXTS,
            least_rows=_LEAST_ROWS,
        )
        for name in training_set.categories
    }


def _with_encodings(content: bytes, inputs: tuple[str, ...], encodings: Mapping[str, Vocabulary]) -> bytes:
    """The model with nodes before it that encode the categories among its inputs."""
    chosen = {name: encoding for name, encoding in encodings.items() if name in inputs}
    if not chosen:
        return content
    model = onnx.load_model_from_string(content)
    tensors = match_tensors(model, inputs, "the trained model")
    return wrap(model, tensors, inputs, Conversions(encodings=chosen), [Output(OUTPUT, 0)])


def describe(
    training_set: TrainingSet,
    later: NDArray[np.bool_],
    validated: NDArray[np.float64],
    without_windows: float | None,
    seed: int,
    importance: tuple[Importance, ...],
    libraries: Iterable[str],
) -> ModelManifest:
    """The manifest of a model, but for what only one way of training has.

    Args:
        training_set: What it was trained on.
        later: The rows that validated it.
        validated: Their scores, by a model that was not trained on them.
        without_windows: The AUC, or R², of the baseline on these rows; None if it has none.
        seed: The seed of the training.
        importance: Of every input.
        libraries: The names of the packages that made the model.
    """
    truth, is_regression = training_set.truth, training_set.task == "regression"
    positives = np.zeros_like(truth) if is_regression else truth
    quality = measure_of(training_set)(validated, truth[later])
    measured: dict[str, float | None] = (
        {"r2": quality, "r2_without_windows": without_windows, "mae": mean_absolute_error(truth[later], validated)}
        if is_regression
        else {"auc": quality, "auc_without_windows": without_windows}
    )
    return ModelManifest(
        inputs=training_set.inputs,
        categories=training_set.categories,
        baseline_inputs=(),
        views=training_set.views,
        seed=seed,
        data_hash=training_set.data_hash,
        until_ms=training_set.until_ms,
        rows=len(training_set),
        positives=int(positives.sum()),
        task=training_set.task,
        classes=training_set.classes,
        positive=training_set.positive,
        read=asdict(training_set.counts),
        validation=Validation(
            from_ms=int(training_set.event_times[later][0]),
            rows=int(later.sum()),
            positives=int(positives[later].sum()),
            **measured,
        ),
        last_event_ms=int(training_set.event_times[-1]),
        offsets=training_set.offsets,
        with_defaults=training_set.with_defaults,
        horizon_ms=training_set.maturity.horizon_ms,
        absent=training_set.maturity.absent,
        label_sources=training_set.label_sources,
        importance=importance,
        libraries={"python": platform.python_version()} | {name: library_version(name) for name in libraries},
    )


def measure_of(training_set: TrainingSet) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """How scores are measured against the truth: by R² for a regression, else by AUC."""
    if training_set.task == "regression":
        return lambda scores, truth: float(r2_score(truth, scores))
    return auc


def _fit_trial(
    X: FloatArray,  # noqa: N803
    y: NDArray[Any],
    earlier: NDArray[np.bool_],
    later: NDArray[np.bool_],
    seed: int,
) -> Trees:
    """The model fitted to the earlier rows, until the loss on the later ones stops improving."""
    trial = _untrained(y, seed, early_stopping=True)
    return trial.fit(_without_infinities(X[earlier]), y[earlier], X_val=X[later], y_val=y[later])


def _fit(
    X: FloatArray,  # noqa: N803
    y: NDArray[Any],
    trial: Trees,
    seed: int,
) -> Trees:
    """The model fitted to all rows, with as many trees as its trial."""
    return _untrained(y, seed, early_stopping=False, max_iter=trial.n_iter_).fit(_without_infinities(X), y)


class _Scoring:
    """What scores vectors, with the method that scikit-learn asks of an estimator."""

    def __init__(self, score: Score) -> None:
        self.score_rows = score

    def fit(self, *_: Any) -> _Scoring:
        return self


def permuted_importance(score: Score, validation: TrainingSet, seed: int) -> tuple[Importance, ...]:
    """The importance of every input, on a limited sample of both classes: AUC does not depend on their proportions.

    Args:
        score: Scores vectors, by a model that was not trained on these events.
        validation: The events.
        seed: For the sample, and the order of the values.
    """
    rng = np.random.default_rng(seed)
    truth, measure = validation.truth, measure_of(validation)
    groups = (
        [np.arange(len(truth))] if validation.task == "regression" else [np.flatnonzero(truth == y) for y in (0, 1)]
    )
    most = 2 * _IMPORTANCE_ROWS_PER_CLASS // len(groups)
    rows = np.concatenate([rng.permutation(group)[:most] for group in groups])
    found = permutation_importance(
        _Scoring(score),
        _without_infinities(validation.X[rows]),
        truth[rows],
        scoring=lambda model, vectors, of: measure(model.score_rows(vectors), of),
        n_repeats=_IMPORTANCE_REPEATS,
        random_state=seed,
    )
    each = [
        Importance(input=name, loss=round(float(loss), 6), spread=round(float(spread), 6))
        for name, loss, spread in zip(validation.inputs, found.importances_mean, found.importances_std, strict=True)
    ]
    return tuple(sorted(each, key=lambda one: -one.loss))


def _scores(model: Trees, X: FloatArray, column: int | None) -> NDArray[np.float64]:  # noqa: N803
    """The scores of vectors: a column of the probabilities, or the values of a regression."""
    found: NDArray[np.float64] = model.predict(X) if column is None else model.predict_proba(X)[:, column]
    return found


def _without_infinities(X: FloatArray) -> FloatArray:  # noqa: N803
    """A copy without what scikit-learn's binning cannot process: infinities, and columns with nulls only.

    Infinities become the greatest float32, which gives the same trees. A column of nulls becomes a constant: it gives
    no split, so that later values in such a column change no score.
    """
    limit = np.finfo(np.float32).max
    finite: FloatArray = np.clip(X, -limit, limit)
    finite[:, np.isnan(finite).all(axis=0)] = 0
    return finite


def _untrained(y: NDArray[Any], seed: int, **settings: Any) -> Trees:
    kind = HistGradientBoostingRegressor if y.dtype.kind == "f" else HistGradientBoostingClassifier
    return kind(random_state=seed, **(PARAMETERS | settings))


def _round_thresholds_down(model: Trees) -> None:
    """Round each threshold down to the greatest float32 that is not above it.

    ONNX stores thresholds as float32. For float32 values, ``x <= t`` does not change when t is rounded down. The
    converter rounds to nearest, which may move t past a value, so that the value takes the other branch.
    """
    for predictors in model._predictors:  # noqa: SLF001 - the converter reads the trees from there too
        for predictor in predictors:
            exact = predictor.nodes["num_threshold"]
            with np.errstate(over="ignore"):
                rounded = exact.astype(np.float32)
            above = rounded > exact
            rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
            predictor.nodes["num_threshold"] = rounded


def _to_single_output(converted: onnx.ModelProto, inputs: tuple[str, ...], column: int | None) -> bytes:
    """Replace the converted model's outputs by one: a column of [N, classes] probabilities, or the value."""
    if column is None:
        last, constants = helper.make_node("Identity", ["variable"], [OUTPUT]), []
    else:
        last = helper.make_node("Gather", ["probabilities", "positive_class"], [OUTPUT], axis=1)
        constants = [numpy_helper.from_array(np.array([column], dtype=np.int64), "positive_class")]
    graph = helper.make_graph(
        [*converted.graph.node, last],
        name=OUTPUT,
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(inputs)])],
        outputs=[helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
        initializer=[*converted.graph.initializer, *constants],
    )
    model = helper.make_model(
        graph,
        producer_name="penstock",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid(domain, number) for domain, number in _OPSETS.items()],
    )
    helper.set_model_props(model, {"inputs": json.dumps(inputs)})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
