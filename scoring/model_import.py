"""Imports a model from an ONNX file: finds its tensors, checks it with rows whose scores are known, and wraps it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

from penstock.counts import counted
from penstock.errors import PenstockError
from scoring import half_precision
from scoring.onnx_session import open_session
from scoring.onnx_wrapping import (
    ScoreOutput,
    Tensors,
    dtype_of,
    is_flat,
    match_tensors,
    read_model,
    require_nulls,
    score_column,
    wrap,
)
from scoring.trained_model import ImportManifest, TrainedModel
from scoring.training import score_onnx
from scoring.vectors import FloatArray

SCORE = "score"
_TOLERANCE = 1e-5
_READERS = {".parquet": pa.parquet.read_table, ".csv": pa.csv.read_csv, ".jsonl": pa.json.read_json}


@dataclass(frozen=True, eq=False)
class CheckRows:
    """Vectors, float32 [N, inputs] with NaN for null, and the score that the model must give for each, float64 [N].

    A score of NaN says that the model gives no number.
    """

    vectors: FloatArray
    scores: NDArray[np.float64]

    @property
    def sha256(self) -> str:
        """The hash of the vectors and scores."""
        return hashlib.sha256(self.vectors.astype("<f4").tobytes() + self.scores.astype("<f8").tobytes()).hexdigest()


@dataclass(frozen=True)
class ImportRequest:
    """What the user says of a model.

    Args:
        output: Where its score is.
        nulls: What null becomes, for inputs whose tensor has none.
        tolerance: By how much a score may differ from the known one, absolutely or relatively.
        trained_until_ms: Up to which event time it was trained, in epoch ms; None if that is not known.
        fp16: Whether to convert it to FP16. Its scores may then differ by 5e-3 from the known ones.
    """

    output: ScoreOutput = field(default_factory=ScoreOutput)
    nulls: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = _TOLERANCE
    trained_until_ms: int | None = None
    fp16: bool = False


def read_check_rows(path: Path, inputs: Sequence[str]) -> CheckRows:
    """Read rows from a Parquet, CSV or JSON-lines file with a column for each input, and ``score``.

    Raises:
        PenstockError: if the file cannot be read, has no rows, lacks a column, or one holds no numbers.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise _bad_rows(f"files of rows end in {', '.join(_READERS)}", path)
    try:
        table = reader(path)
    except (OSError, pa.ArrowException) as error:
        raise _bad_rows(f"the rows cannot be read: {error}", path) from error
    if missing := [name for name in (*inputs, SCORE) if name not in table.column_names]:
        raise _bad_rows(f"the rows have no column {missing[0]}", path)
    if not table.num_rows:
        raise _bad_rows("there are no rows", path)
    columns = {name: _numbers(table, name, path) for name in (*inputs, SCORE)}
    with np.errstate(over="ignore"):
        vectors = np.stack([columns[name] for name in inputs], axis=1).astype(np.float32)
    return CheckRows(vectors, columns[SCORE])


def import_onnx(
    file: Path, inputs: tuple[str, ...], views: Mapping[str, str], rows: CheckRows, request: ImportRequest
) -> TrainedModel[ImportManifest]:
    """The model in an ONNX file as a version.

    Args:
        file: The file.
        inputs: The inputs of the pipeline's model.
        views: Their views, each with ``version:hash``.
        rows: What it must score.
        request: What the user says of it.

    Raises:
        PenstockError: if the model does not fit the inputs, or does not give the known scores.
    """
    where = str(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise PenstockError(f"the file cannot be read: {error.strerror}", where=where) from error
    fitted = fit_tensors(content, inputs, request.output, request.nulls, rows.vectors, where)
    scores = score_onnx(fitted.onnx, rows.vectors).astype(np.float64)
    _compare(
        scores,
        rows,
        request.tolerance,
        where,
        "check the order of the inputs, --output and --column, or raise --tolerance if the difference is rounding",
    )
    if request.fp16:
        half = half_precision.to_half_precision(content, where)
        fitted = fit_tensors(half, inputs, request.output, request.nulls, rows.vectors, where)
        scores = half_precision.score_rounding(fitted.onnx, rows.vectors, where)
        bound = half_precision.TOLERANCE
        advice = f"import it without --fp16: its scores may differ by {bound:g}, absolutely or relatively"
        _compare(scores, rows, bound, f"{where} in FP16", advice)
    difference = np.abs(scores - rows.scores)
    return TrainedModel(
        fitted.onnx,
        None,
        ImportManifest(
            inputs=inputs,
            views=views,
            libraries={name: library_version(name) for name in ("numpy", "onnx", "onnxruntime")},
            file=file.name,
            sha256=hashlib.sha256(content).hexdigest(),
            producer=fitted.producer,
            output=fitted.output,
            column=fitted.column,
            nulls=dict(request.nulls),
            check_rows=len(rows.scores),
            check_sha256=rows.sha256,
            difference=float(np.nanmax(difference, initial=0.0)),
            trained_until_ms=request.trained_until_ms,
            fp16=request.fp16,
        ),
    )


@dataclass(frozen=True)
class FittedModel:
    """A model with Penstock's tensors, the output and column that its score is, and the program that exported it."""

    onnx: bytes
    output: str
    column: int
    producer: str


def fit_tensors(
    content: bytes,
    inputs: Sequence[str],
    output: ScoreOutput,
    nulls: Mapping[str, float],
    vectors: FloatArray,
    where: str,
) -> FittedModel:
    """Wrap a model, and check that it then scores the vectors as it does alone.

    Args:
        content: The bytes of its ONNX file.
        inputs: The vector's inputs.
        output: Where the score is.
        nulls: What null becomes, for inputs whose tensor has none.
        vectors: Some vectors, float32 [N, inputs].
        where: For messages.

    Raises:
        PenstockError: if the model does not fit the inputs, or cannot score the vectors.
    """
    model = read_model(content, where)
    tensors = match_tensors(model, inputs, where)
    require_nulls(tensors, inputs, nulls, where)
    outputs = _run(content, tensors, inputs, nulls, vectors, where)
    widths = {name: value.reshape(len(value), -1).shape[1] for name, value in outputs.items()}
    name, column = score_column(model, output, widths, where)
    wrapped = wrap(model, tensors, inputs, nulls, name, column)
    alone = outputs[name].reshape(len(vectors), -1)[:, column].astype(np.float64)
    if not np.allclose(score_onnx(wrapped, vectors), alone, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
        raise PenstockError(
            "the model with Penstock's tensors does not score as it does alone: this is a defect of Penstock",
            where=where,
            safe="no version was written",
        )
    return FittedModel(wrapped, name, column, f"{model.producer_name} {model.producer_version}".strip())


def _run(
    content: bytes, tensors: Tensors, inputs: Sequence[str], nulls: Mapping[str, float], vectors: FloatArray, where: str
) -> dict[str, NDArray[Any]]:
    """Run the model as it is; returns those of its outputs that have a row for each vector."""
    filled = vectors.copy()
    for name, value in nulls.items():
        column = filled[:, inputs.index(name)]
        column[np.isnan(column)] = value
    feed: dict[str, NDArray[Any]] = {}
    if tensors.matrix is not None:
        feed[tensors.matrix.name] = filled.astype(dtype_of(tensors.matrix))
    for name, tensor in tensors.of_input.items():
        column = filled[:, inputs.index(name)].astype(dtype_of(tensor))
        feed[tensor.name] = column if is_flat(tensor) else column.reshape(-1, 1)
    try:
        session = open_session(content)
        names = [output.name for output in session.get_outputs()]
        values = session.run(names, feed)
    except Exception as error:
        raise PenstockError(
            f"the model cannot score the {counted(len(vectors), 'row')}: {str(error).strip().splitlines()[0]}",
            where=where,
            safe="no version was written",
            next="export it with a batch of any size, and operators that ONNX Runtime has",
        ) from error
    return {
        name: value
        for name, value in zip(names, values, strict=True)
        if isinstance(value, np.ndarray) and value.ndim and len(value) == len(vectors)
    }


def _compare(scores: NDArray[np.float64], rows: CheckRows, tolerance: float, where: str, advice: str) -> None:
    wrong = ~np.isclose(scores, rows.scores, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not wrong.any():
        return
    first = int(np.flatnonzero(wrong)[0])
    raise PenstockError(
        f"{int(wrong.sum())} of {counted(len(scores), 'row')} have another score than the file says: "
        f"row {first} {scores[first]:.6g} instead of {rows.scores[first]:.6g}",
        where=where,
        safe="no version was written",
        next=advice,
    )


def _numbers(table: pa.Table, name: str, path: Path) -> NDArray[np.float64]:
    """A column as doubles: null is NaN, a boolean 0 or 1."""
    column = table[name]
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    try:
        column = column.cast(pa.float64(), safe=False)
    except pa.ArrowException as error:
        raise _bad_rows(f"column {name} holds no numbers", path) from error
    found: NDArray[np.float64] = column.to_numpy().astype(np.float64)
    return found


def _bad_rows(what: str, path: Path) -> PenstockError:
    return PenstockError(
        what,
        where=str(path),
        safe="no version was written",
        next=f"give a file with a column for each input of Model(inputs=...), and {SCORE}",
    )
