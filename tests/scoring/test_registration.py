"""A version of another repository is added if it is as it was written, and fits."""

from __future__ import annotations

import pytest

from penstock.errors import PenstockError
from scoring.registration import register
from scoring.repository import ModelRepository
from scoring.version_files import identity, write_hashes
from tests.scoring.scorer_bench import onnx_bytes
from tests.scoring.test_repository import INPUTS, trained

VIEWS = {"card": "1:abcd"}


@pytest.fixture
def made(tmp_path):
    """The second version of another repository."""
    elsewhere = ModelRepository(tmp_path / "elsewhere")
    for _ in range(2):
        content = trained(content=onnx_bytes(), checkpoint=b"\xff")
        elsewhere.add("fraud", content, {"drift.json": "{}", "reasons.onnx": b"\xff\x00"})
    return elsewhere.folder("fraud", 2)


@pytest.fixture
def repository(tmp_path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


def add(repository, folder, model="fraud", inputs=INPUTS, views=VIEWS):
    return register(repository, folder, model, inputs, views)


def test_a_registered_version_has_its_own_number_and_the_same_identity(repository, made):
    assert add(repository, made) == 1
    folder = repository.verified("fraud", 1)
    assert identity(folder) == identity(made)
    assert (folder / "drift.json").read_text() == "{}"
    assert (folder / "reasons.onnx").read_bytes() == b"\xff\x00"
    assert (folder / "checkpoint.tl").read_bytes() == b"\xff"
    assert repository.manifest("fraud", 1) == trained().manifest


def test_the_same_version_twice_is_refused_with_its_number(repository, made):
    add(repository, made)
    with pytest.raises(PenstockError, match="has this very version, as version 1"):
        add(repository, made)


def test_a_changed_file_is_refused_by_its_name(repository, made):
    (made / "drift.json").write_text("other")
    with pytest.raises(PenstockError, match=r"drift\.json of the version has changed"):
        add(repository, made)


def test_the_backend_of_another_repository_is_not_taken(repository, made):
    (made / "model.py").write_text("import os")
    write_hashes(made)
    add(repository, made)
    assert "class TritonPythonModel" in (repository.folder("fraud", 1) / "model.py").read_text()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"model": "ads"}, "a version of model fraud, not of ads"),
        ({"inputs": INPUTS[::-1]}, "another order"),
        ({"inputs": (*INPUTS, "card.max_1h")}, r"not the pipeline's: card\.max_1h"),
        ({"views": {"card": "2:ffff"}}, "view card is 1:abcd there and 2:ffff in the pipeline"),
    ],
)
def test_a_version_that_does_not_fit_is_refused(repository, made, other, says):
    with pytest.raises(PenstockError, match=says):
        add(repository, made, **other)
    assert repository.versions("fraud") == []


def test_a_model_that_cannot_score_is_refused(repository, made):
    (made / "model.onnx").write_bytes(b"no model")
    write_hashes(made)
    with pytest.raises(PenstockError, match="cannot score vectors of 3 inputs"):
        add(repository, made)


def test_a_folder_that_is_no_version_is_refused(repository, tmp_path):
    with pytest.raises(PenstockError, match=r"no readable hashes\.json"):
        add(repository, tmp_path)
    write_hashes(tmp_path)
    with pytest.raises(PenstockError, match=r"no version of a model|was added|missing"):
        add(repository, tmp_path)
