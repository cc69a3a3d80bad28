"""Training by a function of the user's: it gets the training set as an Arrow table and returns an ONNX model.

What it returns is validated, wrapped and described like a model that Penstock trains.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from onnx import ModelProto

from penstock.errors import PenstockError
from scoring.encodings import Buckets, Vocabulary, encodings_of
from scoring.import_wording import ARGUMENTS
from scoring.model_import import FittedModel, Fitting, fit_tensors
from scoring.onnx_session import open_session, scores_of
from scoring.onnx_wrapping import Conversions, ScoreOutput, match_tensors, read_model, text_inputs
from scoring.trained_model import ModelManifest, OnnxModel, TrainedModel
from scoring.training import describe, permuted_importance
from scoring.training_set import TrainingSet
from scoring.training_split import split
from scoring.vectors import FloatArray
from streams.definitions import importing
from streams.definitions.importing import import_file

LABEL = "label"

_NOT_THE_USERS = (__file__, importing.__file__)
_MOST_FRAMES = 8

TrainingFunction = Callable[[pa.Table, int], OnnxModel | ModelProto | bytes]
"""Gets the training set and a seed. Called twice: with the earlier rows, for validation, and with all."""


def find_function(reference: str) -> TrainingFunction:
    """The function that ``module:function`` or ``file.py:function`` names.

    Raises:
        PenstockError: if there is none.
    """
    place, _, name = reference.rpartition(":")
    advice = "name it as module:function, or as file.py:function"
    if not (place and name):
        raise PenstockError(f"{reference!r} names no function", where="--with", next=advice)
    file = Path(place).resolve() if place.endswith(".py") else None
    if file is not None and not file.is_file():
        raise PenstockError("the file of the training function does not exist", where=str(file), next=advice)
    try:
        module = importlib.import_module(place) if file is None else import_file(file)
    except PenstockError:
        raise
    except Exception as error:
        raise _failed("the training function cannot be imported", error, reference, advice) from error
    if not hasattr(module, name):
        raise PenstockError(f"{place} has no function {name}", where=reference, next=advice)
    function = getattr(module, name)
    if not callable(function):
        what = f"{name} of {place} exists, but cannot be called: it is {type(function).__name__}"
        raise PenstockError(what, where=reference, next=advice)
    found: TrainingFunction = function
    return found


def table_of(training_set: TrainingSet, rows: NDArray[np.bool_] | None = None) -> pa.Table:
    """The training set as a table, or those of its rows.

    It has a column for each input, in order: float32, and text for a category; null for a missing value. Then follow
    ``label`` (0 or 1, the value of a regression, or the class as text), ``event_time`` and ``event_id``. Rows are in
    order of (event time, event id).
    """
    chosen = training_set if rows is None else training_set.rows(rows)
    columns = {}
    for name, values in zip(chosen.inputs, chosen.X.T, strict=True):
        texts = chosen.texts.get(name)
        columns[name] = (
            pa.array(values, mask=np.isnan(values))
            if texts is None
            else pa.array([texts.get(code) for code in values.tolist()], pa.string())
        )
    labels = [chosen.classes[place] for place in chosen.y.tolist()] if chosen.task == "multiclass" else chosen.y
    times = pa.array(chosen.event_times).cast(pa.timestamp("ms", tz="UTC"))
    return pa.table({**columns, LABEL: pa.array(labels), "event_time": times, "event_id": list(chosen.event_ids)})


def train_with(
    function: TrainingFunction, reference: str, training_set: TrainingSet, seed: int
) -> TrainedModel[ModelManifest]:
    """Validate on the latest fifth a model trained on the rest, then train on all rows, both by the function.

    Args:
        function: Trains.
        reference: How the user named it; the manifest has it.
        training_set: The labelled events.
        seed: For the function, and for the importance.

    Raises:
        PenstockError: if there are too few labels, the function raises an error, or what it returns is no model of
            these inputs.
    """
    earlier, later = split(training_set)
    inputs, X = training_set.inputs, training_set.X  # noqa: N806 - the matrix, as everywhere

    def fit(rows: NDArray[np.bool_] | None) -> tuple[FittedModel, Conversions]:
        try:
            found = function(table_of(training_set, rows), seed)
        except PenstockError:
            raise
        except Exception as error:
            advice = "mend the function, then run the command again"
            raise _failed("the training function failed", error, reference, advice) from error
        model = found if isinstance(found, OnnxModel) else OnnxModel(found)
        content = model.onnx.SerializeToString() if isinstance(model.onnx, ModelProto) else model.onnx
        if not isinstance(content, bytes):
            raise PenstockError(
                f"the training function returned {type(found).__name__}",
                where=reference,
                safe="no version was written",
                next="return an ONNX model, its bytes, or penstock.offline.OnnxModel",
            )
        conversions = Conversions(model.nulls, _encodings(model, training_set, content, reference))
        fitting = Fitting(
            inputs, training_set.categories, ScoreOutput(model.output, model.column), conversions, model.keep, ARGUMENTS
        )
        return fit_tensors(content, fitting, X, reference), conversions

    trial = open_session(fit(earlier)[0].onnx)

    def score(rows: FloatArray) -> NDArray[np.float64]:
        return scores_of(trial, rows).astype(np.float64)

    validated = score(X[later])
    if not np.isfinite(validated).all():
        raise PenstockError(
            "the model gives no number for some of the events that it was not trained on",
            where=reference,
            safe="no version was written",
            next="let the model take nulls, or return OnnxModel(..., nulls={input: number})",
        )
    importance = permuted_importance(score, training_set.rows(later), seed)
    manifest = describe(training_set, later, validated, None, seed, importance, ("numpy", "onnx", "onnxruntime"))
    fitted, conversions = fit(None)
    own = {"trainer": reference, "encodings": dict(conversions.encodings), "kept": fitted.kept}
    return TrainedModel(fitted.onnx, None, manifest.model_copy(update=own), validated)


def _encodings(
    model: OnnxModel, training_set: TrainingSet, content: bytes, reference: str
) -> dict[str, Vocabulary | Buckets]:
    """The encodings that the function names; where the model takes a text and it names none, all texts of the set."""
    given = encodings_of(model.vocabularies, model.buckets, reference)
    tensors = match_tensors(read_model(content, reference), training_set.inputs, reference)
    for name in text_inputs(tensors, training_set.inputs):
        if name in training_set.texts and name not in given:
            texts = sorted({*training_set.texts[name].values()} - {""})
            given |= encodings_of({name: ("", *texts)}, {}, reference)
    return given


def _failed(what: str, error: Exception, reference: str, advice: str) -> PenstockError:
    """What the user's code raised, with the lines of it that were running."""
    frames = [
        f"{frame.filename}:{frame.lineno}, in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in _NOT_THE_USERS and "importlib" not in frame.filename
    ]
    return PenstockError(
        f"{what}: {type(error).__name__}: {error}",
        where="\n         ".join([reference, *frames[-_MOST_FRAMES:]]),
        safe="no version was written",
        next=advice,
        kept=f"{what}: {type(error).__name__}",
    )
