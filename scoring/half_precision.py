"""Converts a neural network's ONNX model to FP16, in which a GPU computes several times as fast. Pure: no file."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from penstock.errors import PenstockError
from scoring.model_metadata import INPUT, OUTPUT
from scoring.vectors import FloatArray

# Values are rounded to 11 bits, by 5e-4 relatively: ten of these roundings.
TOLERANCE = 5e-3
_CLASSICAL = "ai.onnx.ml"


def to_half_precision(content: bytes, where: str) -> bytes:
    """The model with weights and computations in float16; its tensors keep their types.

    Args:
        content: The bytes of its ONNX file, of a valid model.
        where: For messages.

    Raises:
        PenstockError: if it is no network, or has no float32 weights.
    """
    model = onnx.load_model_from_string(content)
    if classical := sorted({node.op_type for node in model.graph.node if node.domain == _CLASSICAL}):
        raise _refused(f"the model has {', '.join(classical)}: FP16 is for neural networks, trees gain nothing", where)
    if not any(tensor.data_type == TensorProto.FLOAT for tensor in model.graph.initializer):
        raise _refused("the model has no float32 weights that FP16 could make smaller", where)
    # The conversion appends its nodes at the end of the graph.
    converted = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    converted.topological_sort()
    onnx.checker.check_model(converted.model)
    return bytes(converted.model.SerializeToString(deterministic=True))


def score_rounding(content: bytes, vectors: FloatArray, where: str) -> NDArray[np.float64]:
    """Score vectors, float32 [N, inputs], with a model that has Penstock's tensors, and round after every operator.

    ONNX Runtime does not on a CPU: it computes in float32 and drops the conversions between, so that it finds no
    number too large for FP16. ONNX's reference implementation rounds each result, sums too, so a GPU is no worse.

    Raises:
        PenstockError: if the reference implementation lacks an operator of the model.
    """
    try:
        with np.errstate(all="ignore"):
            (scores,) = ReferenceEvaluator(onnx.load_model_from_string(content)).run([OUTPUT], {INPUT: vectors})
    except Exception as error:  # its errors have no common base but Exception
        raise _refused(f"FP16 cannot be checked for this model: {str(error).splitlines()[0]}", where) from error
    rounded: NDArray[np.float64] = scores[:, 0].astype(np.float64)
    return rounded


def _refused(what: str, where: str) -> PenstockError:
    return PenstockError(what, where=where, safe="no version was written", next="import it without --fp16")
