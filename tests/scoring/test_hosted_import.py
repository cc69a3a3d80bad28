"""Models that Triton hosts become versions that call them, or are refused with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.hosted_import import HostedReference, import_hosted
from scoring.model_import import CheckRows, ImportRequest
from scoring.onnx_wrapping import Conversions, ScoreOutput
from scoring.servers.hosted import HostedMetadata, TensorMetadata
from scoring.trained_model import HostedVersion
from tests.scoring.fake_hosted import HOSTED, INPUTS, NULLS, RISK, FakeHosted, Tensors, risk

X = np.array([[n, 2 * n, n % 3] for n in range(250)], np.float32)
X[::5, 1] = np.nan
SCORES = np.nan_to_num(X).astype(np.float64).sum(axis=1) / 10
OUTPUT = ScoreOutput("probabilities")


def attempt(
    server: FakeHosted, root: Path = Path("none"), scores: np.ndarray = SCORES, **request: Any
) -> HostedVersion:
    asked = {"output": OUTPUT, "conversions": Conversions(NULLS), **request}
    rows = CheckRows(X, scores)
    return import_hosted(
        server, HostedReference("risk", None, root), INPUTS, {"activity": "1:ab"}, rows, ImportRequest(**asked)
    )


def refusal(server: FakeHosted, **request: Any) -> str:
    with pytest.raises(PenstockError) as refused:
        attempt(server, **request)
    assert refused.value.where
    return refused.value.what


def with_inputs(*tensors: tuple[str, str, tuple[int, ...]]) -> HostedMetadata:
    return replace(RISK, inputs=tuple(TensorMetadata(*tensor) for tensor in tensors))


def test_a_tensor_for_each_input_is_found_by_its_name_and_the_version_is_pinned(tmp_path: Path) -> None:
    file = tmp_path / "risk" / "3" / "model.py"
    file.parent.mkdir(parents=True)
    file.write_text("x")
    made = attempt(FakeHosted(), tmp_path)
    assert made.manifest.hosted == HOSTED
    assert (made.manifest.file, made.manifest.producer) == ("risk version 3 in Triton", "python")
    assert len(made.manifest.sha256) == 64
    assert (made.manifest.check_rows, made.manifest.difference) == (250, pytest.approx(0, abs=1e-5))
    assert made.score(X) == pytest.approx(SCORES)


def test_a_folder_that_is_not_tritons_gives_no_hash() -> None:
    assert attempt(FakeHosted()).manifest.sha256 == ""


def test_one_matrix_takes_all_inputs_in_order() -> None:
    def sum_of(tensors: Tensors) -> dict[str, np.ndarray]:
        return {"probabilities": (np.nan_to_num(tensors["x"]).sum(axis=1) / 10).astype(np.float32)}

    described = replace(with_inputs(("x", "FP32", (-1, 3))), outputs=(TensorMetadata("probabilities", "FP32", (-1,)),))
    hosted = attempt(FakeHosted(described, sum_of), conversions=Conversions(), output=ScoreOutput()).manifest.hosted
    assert hosted is not None
    assert [(tensor.name, tensor.columns, tensor.flat) for tensor in hosted.tensors] == [("x", (0, 1, 2), False)]
    assert (hosted.width, hosted.column) == (1, 0)


def test_the_probe_rows_range_from_the_least_score_to_the_greatest() -> None:
    probe = attempt(FakeHosted()).probe
    assert len(probe.vectors) == len(probe.scores) == 4
    assert probe.scores == pytest.approx([SCORES.min(), probe.scores[1], probe.scores[2], SCORES.max()])
    assert list(probe.scores) == sorted(probe.scores)


def test_the_files_of_the_version_are_what_triton_runs() -> None:
    files = attempt(FakeHosted()).files()
    assert set(files) == {"model.py", "hosted_tensors.py", "hosted.json"}
    mapping = json.loads(files["hosted.json"])
    assert (mapping["name"], mapping["version"], len(mapping["probe"]["vectors"])) == ("risk", 3, 4)
    assert mapping["nulls"] == [None, 0.0, 0.0]


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (("amount", "BYTES", (-1, 1)), "tensor amount takes BYTES"),
        (("amount", "UINT8", (-1, 1)), "tensor amount takes UINT8"),
        (("amount", "FP32", (8, 1)), "does not take any number of rows"),
        (("amount", "FP32", ()), "does not take any number of rows"),
        (("amount", "FP32", (-1, 2)), "takes more than one number for each row"),
        (("price", "FP32", (-1, 1)), r"no tensor is named event.amount or event_amount or amount"),
    ],
)
def test_tensors_that_do_not_fit_the_inputs_are_refused(tensor: Any, why: str) -> None:
    others = [(one.name, one.datatype, one.shape) for one in RISK.inputs[1:]]
    assert why in refusal(FakeHosted(with_inputs(tensor, *others)))


def test_an_input_without_null_needs_a_value_for_it() -> None:
    assert "activity.count_1h as int64, which has no null" in refusal(FakeHosted(), conversions=Conversions())


def test_of_several_outputs_one_must_be_named() -> None:
    assert "several outputs" in refusal(FakeHosted(), output=ScoreOutput())
    assert "output risk is no tensor" in refusal(FakeHosted(), output=ScoreOutput("risk"))
    assert "there is no column 2" in refusal(FakeHosted(), output=ScoreOutput("probabilities", 2))


def test_a_row_with_another_score_is_named() -> None:
    wrong = SCORES.copy()
    wrong[7] += 0.1
    assert "1 of 250 rows have another score than the file says: row 7" in refusal(FakeHosted(), scores=wrong)


@pytest.mark.parametrize("breaks", [lambda amount: len(amount) > 0, lambda amount: len(amount) == 1 and amount[0] == 0])
def test_a_model_that_fails_on_the_rows_or_on_zeros_is_refused(breaks: Any) -> None:
    def model(tensors: Tensors) -> dict[str, np.ndarray]:
        if breaks(tensors["amount"].ravel()):
            raise ZeroDivisionError
        return risk(tensors)

    assert "the model fails" in refusal(FakeHosted(model=model))


def test_a_model_without_a_number_for_any_row_is_refused() -> None:
    def nothing(tensors: Tensors) -> dict[str, np.ndarray]:
        return {name: values * np.nan for name, values in risk(tensors).items()}

    assert "a number for none of the rows" in refusal(FakeHosted(model=nothing), scores=np.full(250, np.nan))


def test_a_model_whose_scores_depend_on_the_other_rows_is_refused() -> None:
    def ranked(tensors: Tensors) -> dict[str, np.ndarray]:
        score = np.full(len(tensors["amount"]), len(tensors["amount"]) / 100)
        return {"probabilities": np.stack([1 - score, score], axis=1)}

    known = np.repeat([1.0, 1.0, 0.5], [100, 100, 50])
    assert "depends on the rows" in refusal(FakeHosted(model=ranked), scores=known)
