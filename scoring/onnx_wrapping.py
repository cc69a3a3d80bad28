"""Gives any ONNX model the tensors of Penstock's own: ``features`` FP32 [N, inputs] in, ``score`` FP32 [N, 1] out.

The model itself is not changed. Nodes before it make its tensors of the vector: one matrix, or one tensor for each
input, of the type that it declares. Nodes behind it take the score from its outputs. So scorer, Triton and verifier run
it like a trained model. Pure: no file, no session.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, compose, helper, numpy_helper

from penstock.errors import PenstockError
from scoring.model_metadata import INPUT, OUTPUT

_PREFIX = "imported/"
_DEFAULT_OPSET = 17
# Where appeared then; the other operators below are older.
_LEAST_OPSET = 9
_NUMBERS = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int32",
    TensorProto.BOOL: "bool",
}
_SCORES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_TAKES_NAN = _SCORES


@dataclass(frozen=True)
class ScoreOutput:
    """Where the score is.

    Args:
        name: The output; None for the only one of floating-point numbers.
        column: Its column, such as the class whose probability it is; None for the last of two, or the only one.
    """

    name: str | None = None
    column: int | None = None


@dataclass(frozen=True)
class Tensors:
    """The tensors of a model, as it names them, and the pipeline's inputs that they take.

    ``matrix`` is the one that takes all inputs, or None; ``of_input`` are those that take one input each.
    """

    matrix: ValueInfoProto | None
    of_input: Mapping[str, ValueInfoProto] = field(default_factory=dict)

    def types(self, inputs: Sequence[str]) -> dict[str, int]:
        """The element type that each input becomes."""
        if self.matrix is not None:
            return dict.fromkeys(inputs, self.matrix.type.tensor_type.elem_type)
        return {name: tensor.type.tensor_type.elem_type for name, tensor in self.of_input.items()}


@dataclass(frozen=True)
class Wording:
    """How the user says what a model does not say of itself, for messages."""

    output: str
    column: str
    null: str
    an_output: str
    a_column: str
    a_null: str


OPTIONS = Wording("--output", "--column", "--null", "--output NAME", "--column NUMBER", "--null {name}=0")
ARGUMENTS = Wording(
    "OnnxModel(output=)",
    "OnnxModel(column=)",
    "OnnxModel(nulls=)",
    "OnnxModel(..., output=NAME)",
    "OnnxModel(..., column=NUMBER)",
    'OnnxModel(..., nulls={{"{name}": 0}})',
)


def read_model(content: bytes, where: str) -> ModelProto:
    """The model in the bytes of a file.

    Raises:
        PenstockError: if they are no complete ONNX model.
    """
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except Exception as error:
        raise PenstockError(
            f"not an ONNX model: {str(error).strip().splitlines()[0]}",
            where=where,
            safe="no version was written",
            next="export the model to ONNX in one file, without external data",
        ) from error
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), _DEFAULT_OPSET)
    if opset < _LEAST_OPSET:
        raise PenstockError(
            f"the model has operator set {opset}, at least {_LEAST_OPSET} is needed",
            where=where,
            safe="no version was written",
            next=f"export it with target_opset={_DEFAULT_OPSET}",
        )
    return model


def match_tensors(model: ModelProto, inputs: Sequence[str], where: str) -> Tensors:
    """Find the tensor for each input: one matrix for all, or tensors that are named like the inputs.

    A tensor for ``view.feature`` is named so, or ``view_feature``, or ``feature`` if no other input is called that.

    Raises:
        PenstockError: if the tensors do not fit the inputs.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    tensors = {tensor.name: tensor for tensor in model.graph.input if tensor.name not in constants}
    described = ", ".join(map(_describe, tensors.values())) or "none"
    for tensor in tensors.values():
        if tensor.type.tensor_type.elem_type not in _NUMBERS:
            raise _misfit(f"tensor {_describe(tensor)} takes no numbers", where)
    if len(tensors) == 1:
        (tensor,) = tensors.values()
        shape = _shape(tensor)
        if shape is None or (len(shape) == 2 and shape[1] in (None, len(inputs))):
            return Tensors(tensor)
        if len(inputs) > 1:
            raise _misfit(f"the model takes {described}, the pipeline has {len(inputs)} inputs", where)
    found: dict[str, ValueInfoProto] = {}
    for name in inputs:
        scope, _, short = name.partition(".")
        is_unique = sum(other.partition(".")[2] == short for other in inputs) == 1
        spelled = [name, f"{scope}_{short}", *([short] if is_unique else [])]
        match = next((tensors[one] for one in spelled if one in tensors), None)
        if match is None:
            raise _misfit(f"no tensor is named {' or '.join(spelled)}; the model takes {described}", where)
        found[name] = match
    if unused := [name for name in tensors if name not in {tensor.name for tensor in found.values()}]:
        raise _misfit(f"tensor {unused[0]} is named like no input of the pipeline", where)
    for tensor in found.values():
        shape = _shape(tensor)
        if shape is not None and (len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] not in (None, 1))):
            raise _misfit(f"tensor {_describe(tensor)} takes more than one number for each row", where)
    return Tensors(None, found)


def require_nulls(
    tensors: Tensors, inputs: Sequence[str], nulls: Mapping[str, float], where: str, said: Wording = OPTIONS
) -> None:
    """Check that every input whose tensor has no null has a value for it, which the tensor can have.

    Raises:
        PenstockError: if one has none, or a value is for no input, or is none of its tensor's numbers.
    """
    if unknown := [name for name in nulls if name not in inputs]:
        advice = f"the inputs are {', '.join(inputs)}"
        raise _misfit(f"{said.null} names {unknown[0]}, which is no input of the model", where, advice)
    for name, kind in tensors.types(inputs).items():
        if kind not in _TAKES_NAN and name not in nulls:
            advice = f"say what null becomes: {said.a_null.format(name=name)}"
            raise _misfit(f"the model takes {name} as {_NUMBERS[kind]}, which has no null", where, advice)
        if name in nulls and not _can_be(nulls[name], kind):
            what = f"{said.null}: null of {name} becomes {nulls[name]:g}, which is no {_NUMBERS[kind]}"
            raise _misfit(what, where, f"give a number that it can be, such as {said.a_null.format(name=name)}")


def _can_be(value: float, kind: int) -> bool:
    """Whether a tensor's element can be this number, which a vector has as float32."""
    if not np.isfinite(value):
        return False
    if kind == TensorProto.BOOL:
        return value in (0, 1)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    if kind in _TAKES_NAN:
        return abs(value) <= min(float(np.finfo(dtype).max), float(np.finfo(np.float32).max))
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    return value == int(value) and least <= value < most and float(np.float32(value)) == value


def score_column(
    model: ModelProto, output: ScoreOutput, widths: Mapping[str, int], where: str, said: Wording = OPTIONS
) -> tuple[str, int]:
    """The name of the output with the score, and its column.

    Args:
        model: The model.
        output: What the user says of it.
        widths: How many numbers each of the model's outputs has for a row, from a run of it; others are no tensors.
        where: For messages.
        said: How the user said it.

    Raises:
        PenstockError: if there is no such output, or several could be it.
    """
    outputs = {tensor.name: tensor for tensor in model.graph.output}
    scores = [name for name, one in outputs.items() if one.type.tensor_type.elem_type in _SCORES and name in widths]
    described = ", ".join(map(_describe, outputs.values()))
    name = output.name
    if name is None:
        if len(scores) != 1:
            maps = any(one.type.HasField("sequence_type") for one in outputs.values())
            advice = "export it with zipmap=False, which gives a tensor" if maps else f"name one: {said.an_output}"
            count = "several outputs that can be" if scores else "no output that is"
            raise _misfit(f"the model has {count} the score: {described}", where, advice)
        (name,) = scores
    elif name not in scores:
        advice = f"{said.an_output} names one of: {', '.join(scores) or 'none that can be the score'}"
        raise _misfit(f"output {name} is no tensor of floating-point numbers; the model has {described}", where, advice)
    width = widths[name]
    column = (width - 1 if width <= 2 else None) if output.column is None else output.column
    if column is None:
        raise _misfit(f"output {name} has {width} numbers for each row", where, f"choose one: {said.a_column}, from 0")
    if column not in range(width):
        advice = f"{said.a_column} is from 0 to {width - 1}"
        raise _misfit(f"output {name} has {width} numbers for each row, there is no column {column}", where, advice)
    return name, column


def wrap(
    model: ModelProto, tensors: Tensors, inputs: Sequence[str], nulls: Mapping[str, float], output: str, column: int
) -> bytes:
    """The model between nodes that make its tensors of a vector, and its score a column.

    Args:
        model: The model.
        tensors: Which of its tensors take the inputs.
        inputs: The vector's inputs, in order.
        nulls: What null becomes, for inputs that need it; others are given as NaN.
        output: The name of the output with the score.
        column: Its column.
    """
    inner = compose.add_prefix(model, _PREFIX)
    constants = {
        "flat": np.array([-1], np.int64),
        "rows": np.array([0, -1], np.int64),
        "column": np.array([column], np.int64),
        "nulls": np.array([[nulls.get(name, np.nan) for name in inputs]], np.float32),
        **{f"at/{place}": np.array([place], np.int64) for place in range(len(inputs))},
    }
    nodes = [
        helper.make_node("IsNaN", [INPUT], ["missing"]),
        helper.make_node("Where", ["missing", "nulls", INPUT], ["filled"]),
    ]
    if tensors.matrix is not None:
        nodes.append(_cast("filled", tensors.matrix))
    for name, tensor in tensors.of_input.items():
        part = f"part/{name}"
        nodes.append(helper.make_node("Gather", ["filled", f"at/{list(inputs).index(name)}"], [part], axis=1))
        if is_flat(tensor):
            nodes.append(helper.make_node("Reshape", [part, "flat"], [f"{part}/flat"]))
            part = f"{part}/flat"
        nodes.append(_cast(part, tensor))
    behind = [
        helper.make_node("Cast", [_PREFIX + output], ["plain"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["plain", "rows"], ["columns"]),  # [N] becomes [N, 1]
        helper.make_node("Gather", ["columns", "column"], [OUTPUT], axis=1),
    ]
    all_nodes = [*nodes, *inner.graph.node, *behind]
    used = {name for node in all_nodes for name in node.input}
    graph = helper.make_graph(
        all_nodes,
        name=OUTPUT,
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(inputs)])],
        outputs=[helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
        initializer=[
            *inner.graph.initializer,
            *(numpy_helper.from_array(value, name) for name, value in constants.items() if name in used),
        ],
    )
    graph.sparse_initializer.extend(inner.graph.sparse_initializer)
    opsets = {entry.domain: entry.version for entry in inner.opset_import}
    wrapped = helper.make_model(
        graph,
        producer_name="penstock",
        ir_version=inner.ir_version,
        opset_imports=[helper.make_opsetid(*entry) for entry in ({"": _DEFAULT_OPSET} | opsets).items()],
        functions=list(inner.functions),
    )
    helper.set_model_props(wrapped, {"inputs": json.dumps(list(inputs))})
    onnx.checker.check_model(wrapped)
    return bytes(wrapped.SerializeToString(deterministic=True))


def is_flat(tensor: ValueInfoProto) -> bool:
    """Whether a tensor has one number for each row and no second axis, as far as it says."""
    shape = _shape(tensor)
    return shape is not None and len(shape) == 1


def dtype_of(tensor: ValueInfoProto) -> np.dtype[Any]:
    """The numpy type of a tensor's elements."""
    found: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(tensor.type.tensor_type.elem_type)
    return found


def _cast(part: str, tensor: ValueInfoProto) -> NodeProto:
    return helper.make_node("Cast", [part], [_PREFIX + tensor.name], to=tensor.type.tensor_type.elem_type)


def _shape(tensor: ValueInfoProto) -> list[int | None] | None:
    """The sizes of a tensor, None where it does not say; None if it says nothing."""
    kind = tensor.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim]


def _describe(tensor: ValueInfoProto) -> str:
    if not tensor.type.HasField("tensor_type"):
        return f"{tensor.name} (no tensor)"
    kind = tensor.type.tensor_type.elem_type
    sizes = _shape(tensor)
    shape = "" if sizes is None else f" [{', '.join('N' if size is None else str(size) for size in sizes)}]"
    return f"{tensor.name} {_NUMBERS.get(kind, TensorProto.DataType.Name(kind).lower())}{shape}"


def _misfit(
    what: str, where: str, advice: str = "export the model with these tensors, or change Model(inputs=...)"
) -> PenstockError:
    return PenstockError(what, where=where, safe="no version was written", next=advice)
