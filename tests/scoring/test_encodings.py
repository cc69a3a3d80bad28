"""What a model makes of categories: the numbers, and that ONNX nodes give the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from penstock.errors import PenstockError
from schemas.categories import code_of
from scoring.encodings import OTHERS, Buckets, Vocabulary, encodings_of, learned
from scoring.model_import import Fitting, fit_tensors
from scoring.onnx_session import open_session, outputs_of
from scoring.onnx_wrapping import Conversions, ScoreOutput

COUNTRIES = Vocabulary(values=("?", "DE", "FR", "Åland", ""))
NAN = float("nan")


def codes(*texts: str | None) -> np.ndarray:
    return np.array([NAN if text is None else code_of(text.encode()) for text in texts], np.float32)


def test_a_text_is_its_place_in_the_vocabulary_and_all_others_are_the_first() -> None:
    assert COUNTRIES.numbers(codes("DE", "Åland", "", "XX", None, "?")).tolist() == [1, 3, 4, 0, 0, 0]


def test_a_text_is_its_code_modulo_the_number_of_buckets_and_null_is_bucket_0() -> None:
    found = Buckets(number=7).numbers(codes("DE", None)).tolist()
    assert found == [int(code_of(b"DE")) % 7, 0]


@pytest.mark.parametrize(
    ("vocabularies", "buckets", "says"),
    [
        ({"a": ("x", "y", "x")}, {}, "'x' is named twice"),
        ({"a": ()}, {}, "at least 1 item"),
        ({}, {"a": 1}, "greater than or equal to 2"),
        ({"a": ("x",)}, {"a": 5}, "both a vocabulary and buckets"),
    ],
)
def test_what_is_no_encoding_is_refused_with_the_input(vocabularies: Any, buckets: Any, says: str) -> None:
    with pytest.raises(PenstockError, match=f"a cannot be encoded: .*{says}"):
        encodings_of(vocabularies, buckets, "there")


def test_two_texts_of_one_code_cannot_be_in_one_vocabulary() -> None:
    seen: dict[float, str] = {}
    for number in range(100_000):  # a pair is met after some 5,000
        text = str(number)
        other = seen.setdefault(code_of(text.encode()), text)
        if other != text:
            with pytest.raises(ValueError, match=f"'{text}' has the code of '{other}'"):
                Vocabulary(values=("?", other, text))
            return
    pytest.fail("codes of 24 bits do not collide")


def test_training_learns_the_frequent_texts_in_order_of_their_share_of_positives() -> None:
    texts = ["bad"] * 50 + ["good"] * 50 + ["mixed"] * 50 + ["rare"] * 3
    labels = np.array([1] * 45 + [0] * 5 + [0] * 50 + [1, 0] * 25 + [1] * 3, np.int8)
    by_code = {code_of(text.encode()): text for text in texts}
    found = learned(codes(*texts), labels, by_code, most=10, least_rows=20)
    assert found.values == (OTHERS, "good", "mixed", "bad")
    assert learned(codes(*texts), labels, by_code, most=1, least_rows=60).values == (OTHERS,)


def network(tensors: dict[str, int], shape: list[Any]) -> bytes:
    """A model that returns its two inputs: numbers as they are, a text by its first entry that equals one of ours."""
    nodes, names = [], []
    for name, kind in tensors.items():
        number = f"{name}/number"
        names.append(f"{name}/column")
        if kind == TensorProto.STRING:
            lookup = {"keys_strings": list(COUNTRIES.values), "values_floats": [0.0, 1.0, 2.0, 3.0, 4.0]}
            nodes.append(helper.make_node("LabelEncoder", [name], [number], domain="ai.onnx.ml", **lookup))
        else:
            nodes.append(helper.make_node("Cast", [name], [number], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [number, "column"], [names[-1]]))
    nodes.append(helper.make_node("Concat", names, ["y"], axis=1))
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind in tensors.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", len(tensors)])],
        initializer=[helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return content


INPUTS = ("event.country", "event.amount")


def fitted(content: bytes, vectors: np.ndarray, encoding: Any, **options: Any) -> np.ndarray:
    encodings = {} if encoding is None else {"event.country": encoding}
    conversions = Conversions({"event.amount": -1.0}, encodings)
    fitting = Fitting(INPUTS, ("event.country",), ScoreOutput("y", 0), conversions, ("y:1",), **options)
    found = fit_tensors(content, fitting, vectors, "here")
    assert found.kept == ("y:1",)
    return outputs_of(open_session(found.onnx), vectors)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    texts=st.lists(
        st.none() | st.sampled_from([*COUNTRIES.values, "XX"]) | st.text(max_size=8), min_size=1, max_size=9
    ),
    kind=st.sampled_from([TensorProto.STRING, TensorProto.INT64, TensorProto.FLOAT]),
    shape=st.sampled_from([["N"], ["N", 1]]),
    encoding=st.sampled_from([COUNTRIES, Buckets(number=97)]),
)
def test_the_nodes_before_a_model_encode_as_this_module_does(
    texts: list[str | None], kind: int, shape: list[Any], encoding: Vocabulary | Buckets
) -> None:
    vectors = np.stack([codes(*texts), np.arange(len(texts), dtype=np.float32)], axis=1)
    content = network({"country": kind, "amount": TensorProto.FLOAT}, shape)
    if kind == TensorProto.STRING and isinstance(encoding, Buckets):
        with pytest.raises(PenstockError, match="as text, which buckets have not"):
            fitted(content, vectors, encoding)
        return
    found = fitted(content, vectors, encoding)
    assert found[:, 0].tolist() == encoding.numbers(vectors[:, 0]).tolist()
    assert found[:, 1].tolist() == vectors[:, 1].tolist()


def test_a_matrix_has_the_numbers_of_its_categories() -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    vectors = np.stack([codes("FR", "XX", None), np.array([5.0, NAN, 7.0], np.float32)], axis=1)
    assert fitted(content, vectors, COUNTRIES).tolist() == [[2, 5], [0, -1], [0, 7]]


@pytest.mark.parametrize(
    ("conversions", "keep", "says"),
    [
        (Conversions(), (), "event.country is a category, and the model takes a number for it"),
        (Conversions({"event.country": 1.0}, {"event.country": COUNTRIES}), (), "null of event.country is the first"),
        (Conversions({}, {"event.country": COUNTRIES, "event.amount": COUNTRIES}), (), "event.amount is a number"),
        (Conversions({}, {"event.city": COUNTRIES}), (), "names event.city, which is no input"),
        (Conversions({}, {"event.country": COUNTRIES}), ("z",), "--keep z: there is no such output"),
        (Conversions({}, {"event.country": COUNTRIES}), ("y:2",), "has 2 numbers for each row, from column 0 on"),
        (Conversions({}, {"event.country": COUNTRIES}), ("y", "y:1"), "names a column twice"),
    ],
)
def test_what_does_not_fit_is_refused(conversions: Conversions, keep: tuple[str, ...], says: str) -> None:
    content = network({"country": TensorProto.FLOAT, "amount": TensorProto.FLOAT}, ["N"])
    fitting = Fitting(INPUTS, ("event.country",), ScoreOutput("y", 0), conversions, keep)
    with pytest.raises(PenstockError, match=says):
        fit_tensors(content, fitting, np.zeros((1, 2), np.float32), "here")
