"""Imports a model that Triton hosts already: maps vectors to its tensors, and checks it there with known scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as library_version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from penstock.errors import PenstockError
from scoring.hosted_files import files_sha256
from scoring.hosted_model import HostedModel, HostedTensor, Probe
from scoring.hosted_tensors import DTYPES, calls_of
from scoring.model_import import CheckRows, ImportRequest, compare_scores
from scoring.onnx_wrapping import is_flat, match_tensors, require_conversions, score_column
from scoring.servers.hosted import HostedMetadata, HostedModels, TensorMetadata
from scoring.servers.protocol import InferenceError
from scoring.trained_model import HostedVersion, ImportManifest
from scoring.vectors import FloatArray

_PROBE_ROWS = 4
# Another size of batch may give other roundings.
_LEAST_TOLERANCE = 1e-4
_ONNX_TYPES = {"FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE} | {
    name: TensorProto.DataType.Value(name)
    for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")
}


@dataclass(frozen=True)
class HostedReference:
    """Which model: its name in Triton, its version there (None for the highest), and the folder that Triton serves."""

    name: str
    version: int | None
    root: Path


def import_hosted(
    server: HostedModels,
    reference: HostedReference,
    inputs: tuple[str, ...],
    views: Mapping[str, str],
    rows: CheckRows,
    request: ImportRequest,
) -> HostedVersion:
    """A version that calls a model in Triton, which gave every row its score there.

    Args:
        server: The server.
        reference: The model.
        inputs: The inputs of the pipeline's model.
        views: Their views, each with ``version:hash``.
        rows: What it must score.
        request: What the user says of it.

    Raises:
        PenstockError: if it is not ready, does not fit the inputs, or does not give the known scores.
    """
    metadata = server.describe(reference.name, reference.version)
    where = f"model {reference.name} version {metadata.version} at {server.where}"
    hosted = _fit(server, reference.name, metadata, inputs, rows.vectors, request, where)
    scores = server.score(hosted, rows.vectors).astype(np.float64)
    compare_scores(scores, rows, request.tolerance, where)
    server.score(hosted, np.zeros((1, len(inputs)), np.float32))  # as a scorer asks whether it answers at all
    return HostedVersion(
        ImportManifest(
            inputs=inputs,
            views=views,
            libraries={name: library_version(name) for name in ("numpy", "tritonclient")},
            file=f"{reference.name} version {metadata.version} in Triton",
            sha256=files_sha256(reference.root, reference.name, metadata.version, metadata.platform),
            producer=metadata.platform,
            output=hosted.output,
            column=hosted.column,
            nulls=dict(request.conversions.nulls),
            check_rows=len(rows.scores),
            check_sha256=rows.sha256,
            difference=float(np.nanmax(np.abs(scores - rows.scores), initial=0.0)),
            trained_until_ms=request.trained_until_ms,
            hosted=hosted,
        ),
        _probe(server, hosted, rows.vectors, scores, where),
        partial(server.score, hosted),
    )


def _fit(
    server: HostedModels,
    name: str,
    metadata: HostedMetadata,
    inputs: Sequence[str],
    vectors: FloatArray,
    request: ImportRequest,
    where: str,
) -> HostedModel:
    """Match the tensors like those of an ONNX file, of which the model is given the form."""
    for tensor in metadata.inputs:
        if tensor.datatype not in DTYPES:
            raise _misfit(f"tensor {tensor.name} takes {tensor.datatype}, of {', '.join(DTYPES)}", where)
        if tensor.shape[:1] != (-1,):
            raise _misfit(f"tensor {tensor.name} {list(tensor.shape)} does not take any number of rows", where)
    model = _as_onnx(metadata)
    matched = match_tensors(model, inputs, where)
    require_conversions(matched, inputs, (), request.conversions, where)
    datatypes = {tensor.name: tensor.datatype for tensor in metadata.inputs}
    if matched.matrix is not None:
        found = [(matched.matrix, tuple(range(len(inputs))))]
    else:
        found = [(tensor, (list(inputs).index(one),)) for one, tensor in matched.of_input.items()]
    tensors = tuple(
        HostedTensor(name=tensor.name, datatype=datatypes[tensor.name], columns=columns, flat=is_flat(tensor))
        for tensor, columns in found
    )
    hosted = HostedModel(
        name=name,
        version=metadata.version,
        backend=metadata.backend,
        platform=metadata.platform,
        max_rows=metadata.max_rows,
        tensors=tensors,
        nulls=tuple(request.conversions.nulls.get(one) for one in inputs),
        output="",
        width=0,
        column=0,
        tolerance=max(request.tolerance, _LEAST_TOLERANCE),
    )
    widths = _widths(server, hosted, [tensor.name for tensor in metadata.outputs], vectors, where)
    output, column = score_column(model, request.output, widths, where)
    return hosted.model_copy(update={"output": output, "width": widths[output], "column": column})


def _widths(
    server: HostedModels, hosted: HostedModel, outputs: Sequence[str], vectors: FloatArray, where: str
) -> dict[str, int]:
    """How many numbers each output has for a row, as an answer shows; of those that have rows."""
    call = next(calls_of(hosted.model_dump(), vectors))
    rows = len(next(iter(call.values())))
    try:
        answer = server.ask(hosted.name, hosted.version, call, outputs)
    except InferenceError as error:
        raise _misfit(f"the model cannot score the rows: {error}", where) from error
    return {name: values.size // rows for name, values in answer.items() if values.ndim and len(values) == rows}


def _probe(
    server: HostedModels, hosted: HostedModel, vectors: FloatArray, scores: NDArray[np.float64], where: str
) -> Probe:
    """Rows from the least score to the greatest, which the model must score alike by themselves."""
    order = [row for row in np.argsort(scores, kind="stable") if np.isfinite(scores[row])]
    if not order:
        raise _misfit("the model gives a number for none of the rows", where)
    places = np.unique(np.linspace(0, len(order) - 1, _PROBE_ROWS).round().astype(int))
    rows = [order[place] for place in places]
    alone = server.score(hosted, vectors[rows])
    if not np.allclose(alone, scores[rows], rtol=hosted.tolerance, atol=hosted.tolerance):
        raise _misfit("the score of a row depends on the rows that are asked for with it", where)
    return Probe(
        vectors=tuple(tuple(None if np.isnan(x) else float(x) for x in vectors[row]) for row in rows),
        scores=tuple(scores[rows].tolist()),
    )


def _as_onnx(metadata: HostedMetadata) -> ModelProto:
    """The tensors, as an ONNX model that has nothing else."""

    def described(tensor: TensorMetadata) -> object:
        kind = _ONNX_TYPES.get(tensor.datatype, TensorProto.STRING)
        return helper.make_tensor_value_info(tensor.name, kind, [size if size >= 0 else None for size in tensor.shape])

    tensors = [[described(tensor) for tensor in some] for some in (metadata.inputs, metadata.outputs)]
    return helper.make_model(helper.make_graph([], "hosted", *tensors))


def _misfit(what: str, where: str) -> PenstockError:
    return PenstockError(
        what, where=where, safe="no version was written", next="change the model's config.pbtxt, or Model(inputs=...)"
    )
