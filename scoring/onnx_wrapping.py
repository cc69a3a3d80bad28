"""Gives any ONNX model the tensors of Penstock's own: ``features`` FP32 [N, inputs] in, ``score`` FP32 [N, K] out.

The model itself is not changed. Nodes before it make its tensors of the vector: one matrix, or one tensor for each
input, of the type that it declares. Nodes behind it take the score from its outputs, and the outputs that are kept
beside it: the score is the first column. So scorer, Triton and verifier run it like a trained model. Pure: no file, no
session.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, compose, helper, numpy_helper

from penstock.errors import PenstockError
from scoring.encodings import Buckets, Vocabulary
from scoring.import_wording import OPTIONS, Wording
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
_TEXT = TensorProto.STRING
_SCORES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_TAKES_NAN = _SCORES
# Its LabelEncoder looks up numbers and texts; of the first version, trees differ in nothing that is used.
_ML, _LEAST_ML_OPSET = "ai.onnx.ml", 3


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
class Output:
    """A column of a model's output.

    Args:
        name: The output.
        column: Its column.
        label: What the prediction calls it.
    """

    name: str
    column: int
    label: str = OUTPUT


@dataclass(frozen=True)
class Conversions:
    """How the numbers of a vector become what a model takes.

    Args:
        nulls: What null becomes, for inputs whose tensor has none.
        encodings: What the code of each category becomes.
    """

    nulls: Mapping[str, float] = field(default_factory=dict)
    encodings: Mapping[str, Vocabulary | Buckets] = field(default_factory=dict)


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
        if tensor.type.tensor_type.elem_type not in (*_NUMBERS, _TEXT):
            raise _misfit(f"tensor {_describe(tensor)} takes neither numbers nor texts", where)
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
        spelled = [name, f"{scope.replace(':', '_')}_{short}", *([short] if is_unique else [])]
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


def require_conversions(
    tensors: Tensors,
    inputs: Sequence[str],
    categories: Collection[str],
    conversions: Conversions,
    where: str,
    said: Wording = OPTIONS,
) -> None:
    """Check that every input can become what its tensor takes.

    Raises:
        PenstockError: if a category has no encoding, or none that gives texts where the model takes these; if a number
            may be null where the model has no null, or null becomes what is none of its numbers; or if an input is
            named that is none.
    """
    nulls, encodings = conversions.nulls, conversions.encodings
    for option, names in ((said.null, nulls), (said.encoding, encodings)):
        if unknown := [name for name in names if name not in inputs]:
            advice = f"the inputs are {', '.join(inputs)}"
            raise _misfit(f"{option} names {unknown[0]}, which is no input of the model", where, advice)
    for name, kind in tensors.types(inputs).items():
        encoding = encodings.get(name)
        if name in categories:
            _require_encoding(name, kind, encoding, name in nulls, where, said)
            continue
        if encoding is not None or kind == _TEXT:
            what = "the model takes it as text" if kind == _TEXT else f"it cannot have {encoding}"
            raise _misfit(f"{name} is a number, {what}", where, f'name it in Model(categories=("{name}", ...))')
        if kind not in _TAKES_NAN and name not in nulls:
            advice = f"say what null becomes: {said.a_null.format(name=name)}"
            raise _misfit(f"the model takes {name} as {_NUMBERS[kind]}, which has no null", where, advice)
        if name in nulls and not _can_be(nulls[name], kind):
            what = f"{said.null}: null of {name} becomes {nulls[name]:g}, which is no {_NUMBERS[kind]}"
            raise _misfit(what, where, f"give a number that it can be, such as {said.a_null.format(name=name)}")


def _require_encoding(
    name: str, kind: int, encoding: Vocabulary | Buckets | None, has_null: bool, where: str, said: Wording
) -> None:
    vocabulary = said.a_vocabulary.format(name=name)
    if encoding is None:
        raise _misfit(
            f"{name} is a category, and the model takes {'its text' if kind == _TEXT else 'a number for it'}",
            where,
            f"say which texts it knows: {vocabulary}"
            + (
                ""
                if kind == _TEXT
                else f"; or into how many buckets it hashes them: {said.some_buckets.format(name=name)}"
            ),
        )
    if kind == _TEXT and isinstance(encoding, Buckets):
        raise _misfit(f"the model takes {name} as text, which buckets have not", where, vocabulary)
    if has_null:
        raise _misfit(f"null of {name} is {_null_of(encoding)}", where, f"leave {name} out of {said.null}")


def _null_of(encoding: Vocabulary | Buckets) -> str:
    return "bucket 0" if isinstance(encoding, Buckets) else "the first entry of its vocabulary"


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


def kept_columns(
    model: ModelProto, keep: Sequence[str], widths: Mapping[str, int], where: str, said: Wording = OPTIONS
) -> list[Output]:
    """The columns of outputs to keep: ``NAME`` is all of an output, ``NAME:COLUMN`` one of its columns.

    Args:
        model: The model.
        keep: What the user names.
        widths: As for :func:`score_column`.
        where: For messages.
        said: How the user names it.

    Raises:
        PenstockError: if there is no such output or column, or it has no numbers.
    """
    outputs = {tensor.name: tensor for tensor in model.graph.output}
    found: list[Output] = []
    for text in keep:
        name, _, column = (text, "", "") if text in outputs else text.rpartition(":")
        if name not in widths or outputs[name].type.tensor_type.elem_type not in _NUMBERS:
            described = ", ".join(map(_describe, outputs.values()))
            raise _misfit(f"{said.keep} {text}: there is no such output of numbers; the model has {described}", where)
        width = widths[name]
        if column and not (column.isdecimal() and int(column) < width):
            raise _misfit(
                f"{said.keep} {text}: output {name} has {width} numbers for each row, from column 0 on", where
            )
        columns = [int(column)] if column else range(width)
        found += [Output(name, one, name if width == 1 else f"{name}:{one}") for one in columns]
    if len({output.label for output in found}) < len(found):
        raise _misfit(f"{said.keep} names a column twice", where, "name each once")
    return found


def wrap(
    model: ModelProto, tensors: Tensors, inputs: Sequence[str], conversions: Conversions, outputs: Sequence[Output]
) -> bytes:
    """The model between nodes that make its tensors of a vector, and columns of its outputs.

    Args:
        model: The model.
        tensors: Which of its tensors take the inputs.
        inputs: The vector's inputs, in order.
        conversions: How they become what the model takes.
        outputs: What the columns are; the score comes first.
    """
    inner = compose.add_prefix(model, _PREFIX)
    before = _Before(inputs, conversions)
    if tensors.matrix is not None:
        before.make_matrix(tensors.matrix)
    for name, tensor in tensors.of_input.items():
        before.make_tensor(name, tensor)
    behind, more = _columns_of(outputs)
    constants = before.constants | more
    all_nodes = [*before.nodes, *inner.graph.node, *behind]
    used = {name for node in all_nodes for name in node.input}
    graph = helper.make_graph(
        all_nodes,
        name=OUTPUT,
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(inputs)])],
        outputs=[helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, len(outputs)])],
        initializer=[
            *inner.graph.initializer,
            *(numpy_helper.from_array(value, name) for name, value in constants.items() if name in used),
        ],
    )
    graph.sparse_initializer.extend(inner.graph.sparse_initializer)
    opsets = {"": _DEFAULT_OPSET} | {entry.domain: entry.version for entry in inner.opset_import}
    if conversions.encodings:
        opsets[_ML] = max(opsets.get(_ML, 0), _LEAST_ML_OPSET)
    wrapped = helper.make_model(
        graph,
        producer_name="penstock",
        ir_version=inner.ir_version,
        opset_imports=[helper.make_opsetid(*entry) for entry in opsets.items()],
        functions=list(inner.functions),
    )
    helper.set_model_props(wrapped, {"inputs": json.dumps(list(inputs))})
    onnx.checker.check_model(wrapped)
    return bytes(wrapped.SerializeToString(deterministic=True))


class _Before:
    """The nodes before a model, and their constants."""

    def __init__(self, inputs: Sequence[str], conversions: Conversions) -> None:
        self._inputs = list(inputs)
        self._encodings = conversions.encodings
        # No category has the code 0.
        nulls = {**conversions.nulls, **dict.fromkeys(self._encodings, 0.0)}
        self.nodes = [
            helper.make_node("IsNaN", [INPUT], ["missing"]),
            helper.make_node("Where", ["missing", "nulls", INPUT], ["filled"]),
        ]
        self.constants: dict[str, Any] = {
            "flat": np.array([-1], np.int64),
            "nulls": np.array([[nulls.get(name, np.nan) for name in inputs]], np.float32),
        }

    def make_matrix(self, tensor: ValueInfoProto) -> None:
        """One tensor of all inputs."""
        whole = "filled"
        if self._encodings:
            parts = [self._part(name, tensor) for name in self._inputs]
            whole = "encoded"
            self.nodes.append(helper.make_node("Concat", parts, [whole], axis=1))
        self._give(whole, tensor)

    def make_tensor(self, name: str, tensor: ValueInfoProto) -> None:
        """A tensor of one input."""
        part = self._part(name, tensor)
        if is_flat(tensor):
            self.nodes.append(helper.make_node("Reshape", [part, "flat"], [f"{part}/flat"]))
            part = f"{part}/flat"
        self._give(part, tensor)

    def _part(self, name: str, tensor: ValueInfoProto) -> str:
        """The column [N, 1] of an input: numbers, or texts where the tensor takes these."""
        part = f"part/{name}"
        self.constants[f"at/{name}"] = np.array([self._inputs.index(name)], np.int64)
        self.nodes.append(helper.make_node("Gather", ["filled", f"at/{name}"], [part], axis=1))
        encoding = self._encodings.get(name)
        if encoding is None:
            return part
        number = f"{part}/encoded"
        if isinstance(encoding, Buckets):
            self.constants[f"buckets/{name}"] = np.array([encoding.number], np.float32)
            self.nodes.append(helper.make_node("Mod", [part, f"buckets/{name}"], [number], fmod=1))
            return number
        values: dict[str, Any] = {"values_floats": list(map(float, range(len(encoding.values)))), "default_float": 0.0}
        if tensor.type.tensor_type.elem_type == _TEXT:
            values = {"values_strings": list(encoding.values), "default_string": encoding.values[0]}
        lookup = helper.make_node("LabelEncoder", [part], [number], domain=_ML, keys_floats=encoding.codes, **values)
        self.nodes.append(lookup)
        return number

    def _give(self, part: str, tensor: ValueInfoProto) -> None:
        kind, name = tensor.type.tensor_type.elem_type, _PREFIX + tensor.name
        node = "Identity" if kind == _TEXT else "Cast"
        self.nodes.append(helper.make_node(node, [part], [name], **({} if kind == _TEXT else {"to": kind})))


def _columns_of(outputs: Sequence[Output]) -> tuple[list[NodeProto], dict[str, Any]]:
    """The nodes behind a model, which make one matrix of columns of its outputs, and their constants."""
    nodes, constants = [], {"rows": np.array([0, -1], np.int64)}
    for place, output in enumerate(outputs):
        constants[f"column/{place}"] = np.array([output.column], np.int64)
        nodes += [
            helper.make_node("Cast", [_PREFIX + output.name], [f"plain/{place}"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", [f"plain/{place}", "rows"], [f"columns/{place}"]),  # [N] becomes [N, 1]
            helper.make_node("Gather", [f"columns/{place}", f"column/{place}"], [f"output/{place}"], axis=1),
        ]
    nodes.append(helper.make_node("Concat", [f"output/{place}" for place in range(len(outputs))], [OUTPUT], axis=1))
    return nodes, constants


def is_flat(tensor: ValueInfoProto) -> bool:
    """Whether a tensor has one number for each row and no second axis, as far as it says."""
    shape = _shape(tensor)
    return shape is not None and len(shape) == 1


def is_text(tensor: ValueInfoProto) -> bool:
    """Whether a tensor takes texts."""
    return bool(tensor.type.tensor_type.elem_type == _TEXT)


def text_inputs(tensors: Tensors, inputs: Sequence[str]) -> list[str]:
    """The inputs that the model takes as texts."""
    return [name for name, kind in tensors.types(inputs).items() if kind == _TEXT]


def dtype_of(tensor: ValueInfoProto) -> np.dtype[Any]:
    """The numpy type of a tensor's elements."""
    found: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(tensor.type.tensor_type.elem_type)
    return found


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
    named = "text" if kind == _TEXT else _NUMBERS.get(kind, TensorProto.DataType.Name(kind).lower())
    return f"{tensor.name} {named}{shape}"


def _misfit(
    what: str, where: str, advice: str = "export the model with these tensors, or change Model(inputs=...)"
) -> PenstockError:
    return PenstockError(what, where=where, safe="no version was written", next=advice)
