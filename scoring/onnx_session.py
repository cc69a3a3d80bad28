"""Runs ONNX models in this process, on one thread of the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession, SessionOptions

from scoring.model_metadata import INPUT, OUTPUT
from scoring.vectors import FloatArray


def open_session(source: bytes | Path) -> InferenceSession:
    """Open a model, given as bytes or as a file. ONNX Runtime's errors have no common base but Exception."""
    options = SessionOptions()
    # Batches are small, and every process here shares its machine with others.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    content = source if isinstance(source, bytes) else str(source)
    return InferenceSession(content, options, providers=["CPUExecutionProvider"])


def scores_of(session: InferenceSession, vectors: FloatArray) -> FloatArray:
    """Score vectors, float32 [N, inputs], with a model that has Penstock's tensors; returns float32 [N]."""
    result: FloatArray = outputs_of(session, vectors)[:, 0]
    return result


def outputs_of(session: InferenceSession, vectors: FloatArray) -> FloatArray:
    """The same with the outputs that are kept: float32 [N, K], the score first."""
    (result,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(vectors, dtype=np.float32)})
    columns: FloatArray = result
    return columns
