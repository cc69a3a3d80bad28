"""A version's hashes find every change of its files; its identity is the same wherever it is."""

from __future__ import annotations

import hashlib
import json

import pytest

from penstock.errors import PenstockError
from scoring.recipe import Recipe
from scoring.repository import ModelRepository
from scoring.trained_model import read_manifest
from scoring.version_files import HASHES_FILE, content_hash, identity
from tests.scoring.test_repository import trained

FILES = ("baseline.onnx", "drift.json", "model.onnx")


@pytest.fixture
def repository(tmp_path) -> ModelRepository:
    repository = ModelRepository(tmp_path / "models")
    repository.add("fraud", trained(), {"drift.json": "{}"})
    return repository


def test_a_version_as_it_was_written_is_verified(repository):
    assert repository.verified("fraud", 1) == repository.folder("fraud", 1)


@pytest.mark.parametrize("name", ["model.onnx", "baseline.onnx", "drift.json", "manifest.json", "model.py"])
def test_a_changed_file_is_named(repository, name):
    path = repository.folder("fraud", 1) / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(PenstockError, match=f"file {name} of the version has changed"):
        repository.verified("fraud", 1)


def test_a_missing_file_is_named(repository):
    (repository.folder("fraud", 1) / "drift.json").unlink()
    with pytest.raises(PenstockError, match=r"file drift\.json of the version is missing"):
        repository.verified("fraud", 1)


@pytest.mark.parametrize("is_folder", [True, False])
def test_an_added_file_or_folder_is_named(repository, is_folder):
    added = repository.folder("fraud", 1) / "more"
    _ = added.mkdir() if is_folder else added.write_text("more")
    with pytest.raises(PenstockError, match="file more was added to the version"):
        repository.verified("fraud", 1)


def test_what_python_compiles_beside_the_backend_is_no_change(repository):
    (repository.folder("fraud", 1) / "__pycache__").mkdir()
    assert repository.verified("fraud", 1)


@pytest.mark.parametrize("text", [None, "no JSON"])
def test_a_version_without_readable_hashes_is_refused(repository, text):
    path = repository.folder("fraud", 1) / HASHES_FILE
    _ = path.unlink() if text is None else path.write_text(text)
    with pytest.raises(PenstockError, match=r"no readable hashes\.json"):
        repository.verified("fraud", 1)


def test_the_identity_does_not_depend_on_the_number_or_on_the_backend_and_on_all_else(repository):
    repository.add("fraud", trained(), {"drift.json": "{}"})
    first, second = repository.folder("fraud", 1), repository.folder("fraud", 2)
    (second / "model.py").write_text("another Penstock's")
    assert identity(first) == identity(second)
    (second / "drift.json").write_text("{ }")
    assert identity(first) != identity(second)


def test_the_identity_of_a_version_without_a_recipe_is_that_of_the_builds_before(repository):
    folder = repository.folder("fraud", 1)
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    now = identity(folder)
    del content["recipe"]
    path.write_text(json.dumps(content))
    assert identity(folder) == now
    model = read_manifest(content).model_dump(mode="json", exclude={"recipe"})
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    assert now == content_hash({"files": files, "manifest": model})
    recipe = Recipe(definition={}, seed=0, code="c", machine={})
    path.write_text(json.dumps({**content, "recipe": recipe.model_dump(mode="json")}))
    assert identity(folder) != now
