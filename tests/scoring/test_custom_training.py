"""A user's training function: it gets the training set as a table, and its model becomes a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from penstock.errors import PenstockError
from scoring.custom_training import find_function, table_of, train_with
from scoring.trained_model import OnnxModel
from scoring.training import score_onnx
from tests.streams.drift.test_training_reference import INPUTS, ROWS, training_set  # noqa: F401 - a fixture


def forest(table: pa.Table, seed: int) -> OnnxModel:
    """What a user writes: scikit-learn's forest, exported to ONNX."""
    X = np.stack([table[name].to_numpy() for name in INPUTS], axis=1)  # noqa: N806
    model = RandomForestClassifier(20, max_depth=4, random_state=seed).fit(np.nan_to_num(X), table["label"].to_numpy())
    return OnnxModel(to_onnx(model, X[:1], options={"zipmap": False}), nulls=dict.fromkeys(INPUTS, 0.0))


def test_the_function_trains_on_the_earlier_rows_for_validation_and_then_on_all(training_set: Any) -> None:  # noqa: F811
    tables: list[pa.Table] = []

    def train(table: pa.Table, seed: int) -> OnnxModel:
        tables.append(table)
        return forest(table, seed)

    trained = train_with(train, "mine:train", training_set, seed=3)
    assert [table.num_rows for table in tables] == [ROWS - trained.manifest.validation.rows, ROWS]
    assert tables[0]["event_time"].to_pylist()[-1] < tables[1]["event_time"].to_pylist()[-1]
    assert trained.manifest.trainer == "mine:train"
    assert trained.manifest.validation.auc > 0.9
    assert trained.manifest.importance[0].input == INPUTS[0]
    assert score_onnx(trained.onnx, training_set.X).mean() == pytest.approx(training_set.y.mean(), abs=0.05)
    again = train_with(forest, "mine:train", training_set, seed=3)
    assert (again.manifest, again.validated.tolist()) == (trained.manifest, trained.validated.tolist())


def test_the_table_has_the_inputs_in_order_with_nulls_and_the_label(training_set: Any) -> None:  # noqa: F811
    table = table_of(training_set)
    assert table.column_names == [*INPUTS, "label", "event_time", "event_id"]
    assert table[INPUTS[1]].null_count == np.isnan(training_set.X[:, 1]).sum()
    assert [str(table.schema.field(name).type) for name in ("label", "event_time")] == ["int8", "timestamp[ms, tz=UTC]"]


def logistic(table: pa.Table, _seed: int) -> bytes:
    """A model that takes no nulls."""
    X = np.stack([table[name].to_numpy() for name in INPUTS], axis=1)  # noqa: N806
    model = LogisticRegression().fit(np.nan_to_num(X), table["label"].to_numpy())
    content: bytes = to_onnx(model, X[:1], options={"zipmap": False}).SerializeToString()
    return content


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda *_: "model", "the training function returned str"),
        (lambda *_: b"model", "not an ONNX model"),
        (logistic, "gives no number for some of the events"),
    ],
)
def test_what_is_no_model_of_the_inputs_is_refused(function: Any, says: str, training_set: Any) -> None:  # noqa: F811
    with pytest.raises(PenstockError, match=says):
        train_with(function, "mine:train", training_set, seed=1)


def test_a_function_is_found_in_a_file_and_in_a_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def train(table, seed):\n    return seed\n", encoding="utf-8")
    assert find_function(f"{tmp_path / 'mine.py'}:train")(None, 7) == 7  # type: ignore[arg-type]
    assert find_function("tests.scoring.test_custom_training:forest").__name__ == "forest"


def test_a_file_that_is_no_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def train(:\n", encoding="utf-8")
    with pytest.raises(PenstockError, match="cannot be imported: SyntaxError: invalid syntax"):
        find_function(f"{tmp_path / 'broken.py'}:train")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nowhere.at_all:train", "cannot be imported"),
        ("nothing.py:train", "the file of the training function does not exist"),
        ("train", "names no function"),
        ("json:", "names no function"),
        ("json:nothing", "json has no function nothing"),
        ("json:__name__", "__name__ of json exists, but cannot be called: it is str"),
    ],
)
def test_a_function_that_is_not_there_is_named(reference: str, says: str) -> None:
    with pytest.raises(PenstockError, match=says):
        find_function(reference)


FAILING = """
def load(table):
    return table["no such column"]


def train(table, seed):
    return load(table)
"""


def test_what_the_function_raises_is_said_with_its_lines(training_set: Any, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "failing.py").write_text(FAILING, encoding="utf-8")
    reference = f"{tmp_path / 'failing.py'}:train"
    with pytest.raises(PenstockError, match="the training function failed: KeyError: ") as failed:
        train_with(find_function(reference), reference, training_set, seed=1)
    assert failed.value.where is not None
    named, outer, inner, *_ = failed.value.where.splitlines()
    assert named == reference
    assert outer.endswith("failing.py:7, in train")
    assert inner.endswith("failing.py:3, in load")
    assert failed.value.next == "mend the function, then run the command again"


def test_what_the_file_of_the_function_raises_is_said_with_its_lines(tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text("\nraise KeyError('x')\n", encoding="utf-8")
    with pytest.raises(PenstockError, match="cannot be imported: KeyError: 'x'") as failed:
        find_function(f"{tmp_path / 'raising.py'}:train")
    assert failed.value.where is not None
    assert failed.value.where.endswith("raising.py:2, in <module>")


def test_advice_about_a_model_that_a_function_returned_names_no_option(training_set: Any) -> None:  # noqa: F811
    def several(table: pa.Table, seed: int) -> OnnxModel:
        found = forest(table, seed)
        return OnnxModel(found.onnx, nulls={"nothing": 0.0})

    with pytest.raises(PenstockError, match=r"OnnxModel\(nulls=\) names nothing, which is no input"):
        train_with(several, "mine:train", training_set, seed=1)
