"""Imports a model from an ONNX file: finds its tensors, checks it with rows whose scores are known, and wraps it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
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
from onnx import ValueInfoProto

from penstock.counts import counted
from penstock.errors import PenstockError
from schemas.categories import cached_codes, category
from scoring import half_precision
from scoring.encodings import Vocabulary, encoded
from scoring.import_wording import OPTIONS, Wording
from scoring.onnx_session import open_session, outputs_of
from scoring.onnx_wrapping import (
    Conversions,
    Output,
    ScoreOutput,
    Tensors,
    dtype_of,
    is_flat,
    is_text,
    kept_columns,
    match_tensors,
    read_model,
    require_conversions,
    score_column,
    wrap,
)
from scoring.trained_model import ImportManifest, TrainedModel
from scoring.training import score_onnx
from scoring.vectors import FloatArray

SCORE = "score"
_TOLERANCE = 1e-5
_ADVICE = "check the order of the inputs, --output and --column, or raise --tolerance if the difference is rounding"
_READERS = {".parquet": pa.parquet.read_table, ".csv": pa.csv.read_csv, ".jsonl": pa.json.read_json}


@dataclass(frozen=True, eq=False)
class CheckRows:
    """Vectors, float32 [N, inputs] with NaN for null, and the score that the model must give for each, float64 [N].

    A score of NaN says that the model gives no number.
    """

    vectors: FloatArray
    scores: NDArray[np.float64]

    def without_null(self, inputs: Sequence[str], nulls: Iterable[str]) -> list[str]:
        """Those of the inputs with a value for null that is checked by no row: none has null there."""
        return [name for name in nulls if not np.isnan(self.vectors[:, inputs.index(name)]).any()]

    @property
    def sha256(self) -> str:
        """The hash of the vectors and scores."""
        return hashlib.sha256(self.vectors.astype("<f4").tobytes() + self.scores.astype("<f8").tobytes()).hexdigest()


@dataclass(frozen=True)
class ImportRequest:
    """What the user says of a model.

    Args:
        output: Where its score is.
        conversions: How the vector becomes what it takes.
        keep: Outputs that predictions have beside the score.
        tolerance: By how much a score may differ from the known one, absolutely or relatively.
        trained_until_ms: Up to which event time it was trained, in epoch ms; None if that is not known.
        fp16: Whether to convert it to FP16. Its scores may then differ by 5e-3 from the known ones.
    """

    output: ScoreOutput = field(default_factory=ScoreOutput)
    conversions: Conversions = field(default_factory=Conversions)
    keep: Sequence[str] = ()
    tolerance: float = _TOLERANCE
    trained_until_ms: int | None = None
    fp16: bool = False


def read_check_rows(path: Path, inputs: Sequence[str], categories: Collection[str] = ()) -> CheckRows:
    """Read rows from a Parquet, CSV or JSON-lines file with a column for each input, and ``score``.

    The columns of categories have their texts or integers.

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
    if nulls := table[SCORE].null_count:
        what = f"{counted(nulls, 'row')} without a {SCORE}; Parquet can say NaN, if the model gives no number"
        raise _bad_rows(what, path)
    columns = {
        name: _codes(table, name) if name in categories else _numbers(table, name, path) for name in (*inputs, SCORE)
    }
    with np.errstate(over="ignore"):
        vectors = np.stack([columns[name] for name in inputs], axis=1).astype(np.float32)
    return CheckRows(vectors, columns[SCORE])


def import_onnx(
    file: Path,
    inputs: tuple[str, ...],
    views: Mapping[str, str],
    rows: CheckRows,
    request: ImportRequest,
    categories: tuple[str, ...] = (),
) -> TrainedModel[ImportManifest]:
    """The model in an ONNX file as a version.

    Args:
        file: The file.
        inputs: The inputs of the pipeline's model.
        views: Their views, each with ``version:hash``.
        rows: What it must score.
        request: What the user says of it.
        categories: Those of the inputs that are categories.

    Raises:
        PenstockError: if the model does not fit the inputs, or does not give the known scores.
    """
    where = str(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise PenstockError(f"the file cannot be read: {error.strerror}", where=where) from error
    fitting = Fitting(inputs, categories, request.output, request.conversions, request.keep)
    fitted = fit_tensors(content, fitting, rows.vectors, where)
    scores = score_onnx(fitted.onnx, rows.vectors).astype(np.float64)
    compare_scores(scores, rows, request.tolerance, where)
    if request.fp16:
        half = half_precision.to_half_precision(content, where)
        fitted = fit_tensors(half, fitting, rows.vectors, where)
        scores = half_precision.score_rounding(fitted.onnx, rows.vectors, where)
        bound = half_precision.TOLERANCE
        advice = f"import it without --fp16: its scores may differ by {bound:g}, absolutely or relatively"
        compare_scores(scores, rows, bound, f"{where} in FP16", advice)
    difference = np.abs(scores - rows.scores)
    return TrainedModel(
        fitted.onnx,
        None,
        ImportManifest(
            inputs=inputs,
            categories=categories,
            encodings=dict(request.conversions.encodings),
            kept=fitted.kept,
            views=views,
            libraries={name: library_version(name) for name in ("numpy", "onnx", "onnxruntime")},
            file=file.name,
            sha256=hashlib.sha256(content).hexdigest(),
            producer=fitted.producer,
            output=fitted.output,
            column=fitted.column,
            nulls=dict(request.conversions.nulls),
            check_rows=len(rows.scores),
            check_sha256=rows.sha256,
            difference=float(np.nanmax(difference, initial=0.0)),
            trained_until_ms=request.trained_until_ms,
            fp16=request.fp16,
        ),
    )


@dataclass(frozen=True)
class Fitting:
    """What a model must fit, and what is known of it.

    Args:
        inputs: The vector's inputs, and ``categories`` those that are categories.
        output: Where the score is.
        conversions: How the vector becomes what the model takes.
        keep: Outputs that predictions have beside the score.
        said: How the user said all that.
    """

    inputs: Sequence[str]
    categories: Sequence[str]
    output: ScoreOutput
    conversions: Conversions
    keep: Sequence[str] = ()
    said: Wording = OPTIONS


@dataclass(frozen=True)
class FittedModel:
    """A model with Penstock's tensors, and the program that exported it.

    ``output`` and ``column`` are where its score is, ``kept`` the labels of the other columns.
    """

    onnx: bytes
    output: str
    column: int
    kept: tuple[str, ...]
    producer: str


def fit_tensors(content: bytes, fitting: Fitting, vectors: FloatArray, where: str) -> FittedModel:
    """Wrap a model, and check that it then returns for the vectors what it returns alone.

    Args:
        content: The bytes of its ONNX file.
        fitting: What it must fit.
        vectors: Some vectors, float32 [N, inputs].
        where: For messages.

    Raises:
        PenstockError: if the model does not fit the inputs, or cannot score the vectors.
    """
    model, inputs = read_model(content, where), fitting.inputs
    tensors = match_tensors(model, inputs, where)
    require_conversions(tensors, inputs, fitting.categories, fitting.conversions, where, fitting.said)
    values = _run(content, tensors, inputs, fitting.conversions, vectors, where)
    by_column = {name: value.reshape(len(value), -1) for name, value in values.items()}
    widths = {name: columns.shape[1] for name, columns in by_column.items()}
    score = Output(*score_column(model, fitting.output, widths, where, fitting.said))
    outputs = [score, *kept_columns(model, fitting.keep, widths, where, fitting.said)]
    wrapped = wrap(model, tensors, inputs, fitting.conversions, outputs)
    alone = np.stack([by_column[output.name][:, output.column] for output in outputs], axis=1).astype(np.float64)
    found = outputs_of(open_session(wrapped), vectors)
    if not np.allclose(found, alone, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
        raise PenstockError(
            "the model with Penstock's tensors does not score as it does alone: this is a defect of Penstock",
            where=where,
            safe="no version was written",
        )
    labels = tuple(output.label for output in outputs[1:])
    return FittedModel(
        wrapped, score.name, score.column, labels, f"{model.producer_name} {model.producer_version}".strip()
    )


def _run(
    content: bytes,
    tensors: Tensors,
    inputs: Sequence[str],
    conversions: Conversions,
    vectors: FloatArray,
    where: str,
) -> dict[str, NDArray[Any]]:
    """Run the model as it is; returns those of its outputs that have a row for each vector."""
    filled = encoded(vectors, inputs, conversions.encodings)
    for name, value in conversions.nulls.items():
        column = filled[:, inputs.index(name)]
        column[np.isnan(column)] = value

    def taken(name: str, tensor: ValueInfoProto) -> NDArray[Any]:
        column, encoding = filled[:, inputs.index(name)], conversions.encodings.get(name)
        if is_text(tensor) and isinstance(encoding, Vocabulary):
            return np.array([encoding.values[int(number)] for number in column.tolist()], dtype=object)
        return column.astype(dtype_of(tensor))

    feed: dict[str, NDArray[Any]] = {}
    if tensors.matrix is not None:
        matrix = tensors.matrix
        feed[matrix.name] = np.stack([taken(name, matrix) for name in inputs], axis=1)
    for name, tensor in tensors.of_input.items():
        column = taken(name, tensor)
        feed[tensor.name] = column if is_flat(tensor) else column.reshape(-1, 1)
    try:
        session = open_session(content)
        names = [output.name for output in session.get_outputs()]
        values = session.run(names, feed)
    except Exception as error:
        what = f"the model cannot score the {counted(len(vectors), 'row')}"
        raise PenstockError(
            f"{what}: {str(error).strip().splitlines()[0]}",
            where=where,
            safe="no version was written",
            next="export it with a batch of any size, and operators that ONNX Runtime has",
            kept=what,
        ) from error
    return {
        name: value
        for name, value in zip(names, values, strict=True)
        if isinstance(value, np.ndarray) and value.ndim and len(value) == len(vectors)
    }


def compare_scores(
    scores: NDArray[np.float64], rows: CheckRows, tolerance: float, where: str, advice: str = _ADVICE
) -> None:
    """Check the scores of the rows.

    Raises:
        PenstockError: if one is not the known score; ``advice`` says what to do then.
    """
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


def _codes(table: pa.Table, name: str) -> NDArray[np.float64]:
    """The codes of a category; NaN for null."""
    code = cached_codes()
    values = table[name].to_pylist()
    return np.array([code(None if value is None else category(value)) for value in values])


def _bad_rows(what: str, path: Path) -> PenstockError:
    return PenstockError(
        what,
        where=str(path),
        safe="no version was written",
        next=f"give a file with a column for each input of Model(inputs=...), and {SCORE}",
    )
