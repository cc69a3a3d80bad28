"""Training: from a point-in-time training set to an ONNX model that scores exactly as scikit-learn does.

The model is gradient-boosted trees, which take a null (NaN) as it is. No class weights: the scores stay probabilities,
however rare the positive class, and the threshold of the pipeline's model means what it says.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pydantic import BaseModel, ConfigDict
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from penstock.errors import PenstockError
from scoring.training_set import TrainingSet
from scoring.triton import INPUT, OUTPUT
from scoring.vectors import FloatArray

# Read by every ONNX Runtime since 1.15, so by the Triton images in use: a newer file format would be refused there.
_IR_VERSION = 8
_OPSETS = {"": 17, "ai.onnx.ml": 3}

_VALIDATION_SHARE = 0.2
# Below this an AUC says nothing; it is asked of both classes on both sides of the split.
_LEAST_PER_CLASS = 10
_PARITY = 1e-5
_IMPORTANCE_ROWS_PER_CLASS = 1_500
_IMPORTANCE_REPEATS = 5


class Validation(BaseModel):
    """What the model was worth on the latest events of the set, when trained on those before ``from_ms``."""

    model_config = ConfigDict(frozen=True)

    from_ms: int
    rows: int
    positives: int
    auc: float
    auc_without_windows: float | None


class Importance(BaseModel):
    """What an input is worth: the AUC that is lost on the validation part when its values are shuffled.

    ``loss`` is the mean over several shufflings, ``spread`` their standard deviation. Inputs that tell the same share
    their worth, so each alone may seem to be worth little.
    """

    model_config = ConfigDict(frozen=True)

    input: str
    loss: float
    spread: float


class Manifest(BaseModel):
    """What made a model: enough to make it again, byte for byte, and to know which vectors it may be given.

    ``importance`` names every input, the most useful first.
    """

    model_config = ConfigDict(frozen=True)

    inputs: tuple[str, ...]
    baseline_inputs: tuple[str, ...]
    views: Mapping[str, str]
    seed: int
    data_hash: str
    until_ms: int | None
    rows: int
    positives: int
    iterations: int
    read: Mapping[str, int]
    validation: Validation
    importance: tuple[Importance, ...] = ()
    libraries: Mapping[str, str]


@dataclass(frozen=True)
class TrainedModel:
    """A model as ONNX bytes, the one without windowed features (None if there are only such), and the facts.

    ``validated`` are the scores of the latest rows of the set by the model that had not seen them.
    """

    onnx: bytes
    baseline_onnx: bytes | None
    manifest: Manifest
    validated: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


def train(training_set: TrainingSet, seed: int) -> TrainedModel:
    """Train on all rows, after measuring on the latest fifth what training on the rest is worth.

    The number of trees is the one at which the validation loss stopped improving. The baseline is the same algorithm
    on the ``event.*`` inputs alone. The same set and seed give the same bytes.

    Raises:
        PenstockError: if there are too few labels, or of one class only; or if the ONNX model does not score as the
            trained one (a defect in a library, which must not reach production).
    """
    earlier, later = _split(training_set)
    # One thread: beside a running pipeline, threads that spin while they wait for a core took four times the CPU.
    with threadpool_limits(1, user_api="openmp"):
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
    """Scores, float32 [N], of vectors float32 [N, inputs], in this process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    source = content if isinstance(content, bytes) else str(content)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    (scores,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(X, dtype=np.float32)})
    result: FloatArray = scores[:, 0]
    return result


def score_baseline(path: Path, X: FloatArray) -> FloatArray:  # noqa: N803
    """Scores, float32 [N], of the model without windowed features that was trained beside the model at ``path``.

    ``path`` is a version's folder in the model repository; ``X`` is float32 [N, inputs] with the vectors that the model
    itself takes, from which the baseline's columns are chosen by name.

    Raises:
        PenstockError: if the version has no baseline, or takes vectors of another width.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        content = (path / "baseline.onnx").read_bytes()
    except FileNotFoundError as error:
        raise PenstockError(
            "this model version has no baseline", where=str(error.filename), next="penstock model train PIPELINE"
        ) from error
    if X.shape[1] != len(manifest["inputs"]):
        raise PenstockError(
            f"the vectors have {X.shape[1]} values, the model takes {len(manifest['inputs'])}", where=str(path)
        )
    columns = [manifest["inputs"].index(name) for name in manifest["baseline_inputs"]]
    return score_onnx(content, X[:, columns])


def to_onnx(
    model: HistGradientBoostingClassifier,
    X: FloatArray,  # noqa: N803
    inputs: tuple[str, ...],
    seed: int,
) -> bytes:
    """The model as ONNX: ``features`` FP32 [N, inputs] in, ``score`` FP32 [N, 1] out, the positive class's probability.

    Raises:
        PenstockError: if on ``X``, or on ``X`` with nulls strewn in, any score differs by more than 1e-5.
    """
    _round_thresholds_down(model)
    converted = convert_sklearn(
        model,
        name=OUTPUT,
        initial_types=[(INPUT, FloatTensorType([None, len(inputs)]))],
        target_opset=_OPSETS,
        options={id(model): {"zipmap": False}},
    )
    content = _one_score(converted, inputs)
    with_nulls = X.copy()
    with_nulls[np.random.default_rng(seed).random(X.shape) < 0.3] = np.nan
    rows = np.concatenate([X, with_nulls, np.full((1, len(inputs)), np.nan, dtype=np.float32)])
    difference = float(np.max(np.abs(score_onnx(content, rows) - model.predict_proba(rows)[:, 1])))
    if not difference <= _PARITY:
        raise PenstockError(
            f"the ONNX model differs from the trained one by {difference:.2g} on its own training data",
            safe="no model was written",
            next="check the versions of scikit-learn, skl2onnx and onnxruntime against deploy/locks",
        )
    return content


def _train(training_set: TrainingSet, seed: int, earlier: NDArray[np.bool_], later: NDArray[np.bool_]) -> TrainedModel:
    columns = [i for i, name in enumerate(training_set.inputs) if name.startswith("event.")]
    model, trial = _fit(training_set.X, training_set.y, earlier, later, seed)
    content = to_onnx(model, training_set.X, training_set.inputs, seed)
    validated = trial.predict_proba(training_set.X[later])[:, 1]
    baseline: bytes | None = None
    baseline_inputs = tuple(training_set.inputs[i] for i in columns)
    auc_without_windows: float | None = None
    if columns:
        event_only = np.ascontiguousarray(training_set.X[:, columns])
        simple, simple_trial = _fit(event_only, training_set.y, earlier, later, seed)
        baseline = to_onnx(simple, event_only, baseline_inputs, seed)
        auc_without_windows = auc(simple_trial.predict_proba(event_only[later])[:, 1], training_set.y[later])
    return TrainedModel(
        content,
        baseline,
        Manifest(
            inputs=training_set.inputs,
            baseline_inputs=baseline_inputs,
            views=training_set.views,
            seed=seed,
            data_hash=training_set.data_hash,
            until_ms=training_set.until_ms,
            rows=len(training_set),
            positives=int(training_set.y.sum()),
            iterations=model.n_iter_,
            read=asdict(training_set.counts),
            validation=Validation(
                from_ms=int(training_set.event_times[later][0]),
                rows=int(later.sum()),
                positives=int(training_set.y[later].sum()),
                auc=auc(validated, training_set.y[later]),
                auc_without_windows=auc_without_windows,
            ),
            importance=_importance(trial, training_set.X[later], training_set.y[later], training_set.inputs, seed),
            libraries={"python": platform.python_version()}
            | {name: library_version(name) for name in ("numpy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime")},
        ),
        validated,
    )


def _split(training_set: TrainingSet) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the earlier and the later rows; events of the same time stay together."""
    rows, positives = len(training_set), int(training_set.y.sum())
    where = f"{rows} labelled events, {positives} positive; read: {_read(training_set)}"
    more = "let more events and labels arrive, or train with a later --until"
    if rows == 0:
        raise PenstockError("no event has a label yet", where=where, next=more)
    if positives in (0, rows):
        raise PenstockError(
            f"all labels are of one class ({'positive' if positives else 'negative'}): there is nothing to tell apart",
            where=where,
            next=more,
        )
    later = training_set.event_times >= training_set.event_times[int(rows * (1 - _VALIDATION_SHARE))]
    for part, mask in (("earlier", ~later), ("later", later)):
        ones = int(training_set.y[mask].sum())
        zeros = int(mask.sum()) - ones
        if min(ones, zeros) < _LEAST_PER_CLASS:
            raise PenstockError(
                f"too few labels: the {part} part of the set has {ones} positive and {zeros} negative events, "
                f"at least {_LEAST_PER_CLASS} of each are needed",
                where=where,
                next=more,
            )
    return ~later, later


def _read(training_set: TrainingSet) -> str:
    counts = {name: number for name, number in asdict(training_set.counts).items() if number}
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in counts.items()) or "nothing"


def _fit(
    X: FloatArray,  # noqa: N803
    y: NDArray[np.int8],
    earlier: NDArray[np.bool_],
    later: NDArray[np.bool_],
    seed: int,
) -> tuple[HistGradientBoostingClassifier, HistGradientBoostingClassifier]:
    """The model fitted to all rows, and its trial: the one fitted to the earlier rows, by which it is judged."""
    trial = _classifier(seed, early_stopping=True, n_iter_no_change=15)
    trial.fit(_fittable(X[earlier]), y[earlier], X_val=X[later], y_val=y[later])
    return _classifier(seed, early_stopping=False, max_iter=trial.n_iter_).fit(_fittable(X), y), trial


def _importance(
    model: HistGradientBoostingClassifier,
    X: FloatArray,  # noqa: N803
    y: NDArray[np.int8],
    inputs: tuple[str, ...],
    seed: int,
) -> tuple[Importance, ...]:
    """The worth of every input to the model, on a bounded sample of both classes: AUC does not mind their shares."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(y == label))[:_IMPORTANCE_ROWS_PER_CLASS] for label in (0, 1)]
    )
    found = permutation_importance(
        model, _fittable(X[rows]), y[rows], scoring="roc_auc", n_repeats=_IMPORTANCE_REPEATS, random_state=seed
    )
    each = [
        Importance(input=name, loss=round(float(loss), 6), spread=round(float(spread), 6))
        for name, loss, spread in zip(inputs, found.importances_mean, found.importances_std, strict=True)
    ]
    return tuple(sorted(each, key=lambda one: -one.loss))


def _fittable(X: FloatArray) -> FloatArray:  # noqa: N803
    """The same trees, without what scikit-learn's binning cannot take: infinities, and columns that are always null.

    A constant instead of nulls gives no split, so that whatever comes later in such a column changes no score.
    """
    limit = np.finfo(np.float32).max
    finite: FloatArray = np.clip(X, -limit, limit)
    finite[:, np.isnan(finite).all(axis=0)] = 0
    return finite


def _classifier(seed: int, **settings: Any) -> HistGradientBoostingClassifier:
    # Few leaves and a mild penalty: with a rare positive class a leaf soon holds none or nothing but positives.
    defaults = {"learning_rate": 0.08, "max_iter": 300, "max_leaf_nodes": 15, "l2_regularization": 1.0}
    return HistGradientBoostingClassifier(random_state=seed, **(defaults | settings))


def _round_thresholds_down(model: HistGradientBoostingClassifier) -> None:
    """Make each threshold the greatest float32 that is not above it.

    ONNX holds thresholds as float32. For float32 values ``x <= t`` does not change when t is rounded down; rounded to
    nearest, as the converter does, it may step over a value and send it the other way.
    """
    for predictors in model._predictors:  # noqa: SLF001 - the converter reads the trees from there too
        for predictor in predictors:
            exact = predictor.nodes["num_threshold"]
            with np.errstate(over="ignore"):
                rounded = exact.astype(np.float32)
            above = rounded > exact
            rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
            predictor.nodes["num_threshold"] = rounded


def _one_score(converted: onnx.ModelProto, inputs: tuple[str, ...]) -> bytes:
    """The converted classifier with its two outputs (label, [N, 2] probabilities) made one: column 1."""
    graph = helper.make_graph(
        [*converted.graph.node, helper.make_node("Gather", ["probabilities", "positive_class"], [OUTPUT], axis=1)],
        name=OUTPUT,
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(inputs)])],
        outputs=[helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
        initializer=[
            *converted.graph.initializer,
            numpy_helper.from_array(np.array([1], dtype=np.int64), "positive_class"),
        ],
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
