from __future__ import annotations

from pathlib import Path

import pytest

from scoring.hosted_files import files_sha256
from verify.hosted import _files_hash


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {"3/model.plan": "a", "3/data/words.txt": "b", "4/model.plan": "c", "config.pbtxt": "d"}.items():
        file = tmp_path / "risk" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def hashed(root: Path, platform: str = "tensorrt_plan") -> str:
    return files_sha256(root, "risk", 3, platform)


@pytest.mark.parametrize("name", ["3/model.plan", "3/data/words.txt", "3/new"])
def test_any_change_of_the_versions_files_changes_the_hash(root: Path, name: str) -> None:
    before = hashed(root)
    (root / "risk" / name).write_text("other")
    assert hashed(root) != before


@pytest.mark.parametrize("name", ["4/model.plan", "config.pbtxt", "3/__pycache__/model.pyc"])
def test_other_files_do_not(root: Path, name: str) -> None:
    before = hashed(root)
    file = root / "risk" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("other")
    assert hashed(root) == before


def test_an_ensemble_is_its_configuration(root: Path) -> None:
    before = hashed(root, "ensemble")
    (root / "risk" / "3" / "model.plan").write_text("other")
    assert hashed(root, "ensemble") == before
    (root / "risk" / "config.pbtxt").write_text("other")
    assert hashed(root, "ensemble") != before


def test_a_folder_that_does_not_hold_the_model_gives_none(tmp_path: Path) -> None:
    assert hashed(tmp_path) == hashed(tmp_path, "ensemble") == ""


@pytest.mark.parametrize("platform", ["tensorrt_plan", "ensemble"])
def test_the_verifier_finds_the_same(root: Path, platform: str) -> None:
    assert _files_hash(root, {"name": "risk", "version": 3, "platform": platform}) == hashed(root, platform)
