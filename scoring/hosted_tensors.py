"""The tensors of a model that Triton hosts: what it gets for vectors, and the scores in its answer.

It is copied into each version that calls such a model, beside ``model.py``: so it needs numpy only. What a mapping
has is described at :class:`scoring.hosted_model.HostedModel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

DTYPES = {
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


def calls_of(hosted: Mapping[str, Any], vectors: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """The tensors of each call, by name: the vectors, float32 [N, inputs], in calls that the model takes."""
    nulls = np.array([np.nan if value is None else value for value in hosted["nulls"]], np.float32)
    filled = np.where(np.isnan(vectors), nulls, vectors)
    most = hosted["max_rows"] or len(vectors)
    for begin in range(0, len(vectors), most):
        yield {tensor["name"]: _tensor(tensor, filled[begin : begin + most]) for tensor in hosted["tensors"]}


def scores_of(hosted: Mapping[str, Any], answers: Sequence[Any], rows: int) -> np.ndarray:
    """The scores, float32 [N], in the model's answers to these calls.

    Raises:
        ValueError: if they are not the output that the model had when it was imported.
    """
    width = hosted["width"]
    for answer in answers:
        is_table = isinstance(answer, np.ndarray) and answer.ndim and answer.size == len(answer) * width
        if not is_table or answer.dtype.kind != "f":
            found = f"{answer.dtype} {list(answer.shape)}" if isinstance(answer, np.ndarray) else type(answer).__name__
            raise ValueError(f"output {hosted['output']} is {found}, not {width} floating-point numbers for each row")
    table = np.concatenate([answer.reshape(len(answer), width) for answer in answers])
    if len(table) != rows:
        raise ValueError(f"output {hosted['output']} has {len(table)} rows for {rows}")
    scores: np.ndarray = table[:, hosted["column"]].astype(np.float32)
    return scores


def probed(hosted: Mapping[str, Any], scores: np.ndarray) -> np.ndarray:
    """Cut the scores of the probe rows, which were asked for behind the others.

    Raises:
        ValueError: if they are not those of the import: the model is another one now.
    """
    expected = np.array(hosted["probe"]["scores"], np.float32)
    found, tolerance = scores[len(scores) - len(expected) :], hosted["tolerance"]
    if not np.allclose(found, expected, rtol=tolerance, atol=tolerance):
        raise ValueError(
            "it gives other scores than when it was imported: "
            + ", ".join(f"{one:.6g} instead of {was:.6g}" for one, was in zip(found, expected, strict=True))
        )
    return scores[: len(scores) - len(expected)]


def _tensor(tensor: Mapping[str, Any], filled: np.ndarray) -> np.ndarray:
    # A number that the type cannot hold becomes what the processor makes of it, as in ONNX Runtime.
    with np.errstate(over="ignore", invalid="ignore"):
        values: np.ndarray = filled[:, tensor["columns"]].astype(DTYPES[tensor["datatype"]])
    return np.ascontiguousarray(values[:, 0] if tensor["flat"] else values)
