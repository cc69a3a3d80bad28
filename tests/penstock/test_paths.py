"""Where an installed Penstock keeps what set-up installs, and what other environments import it from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock import paths

_SHOW = "from penstock import paths as p; print(p.IS_CHECKOUT, p.VENVS, p.DEFAULT_HOME, p.KERNEL_JAR, p.SETUP_COMMAND)"


@pytest.mark.parametrize(
    ("variables", "folder"), [({"HOME": "/home/ada"}, "/home/ada/.penstock"), ({"PENSTOCK_SETUP": "/opt/p"}, "/opt/p")]
)
def test_an_installed_penstock_keeps_what_it_sets_up_in_the_home_or_where_a_variable_says(
    variables: dict[str, str], folder: str, tmp_path: Path
) -> None:
    (tmp_path / "penstock").mkdir()
    for name in ("__init__.py", "paths.py"):
        text = Path(paths.__file__).read_text(encoding="utf-8") if name == "paths.py" else ""
        (tmp_path / "penstock" / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", _SHOW]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
    jar = f"{folder}/jars/kernel/penstock-kernel.jar"
    assert done.stdout.strip() == f"False {folder}/environments {folder}/stack {jar} penstock setup"


def test_a_checkout_keeps_it_in_the_checkout() -> None:
    assert paths.IS_CHECKOUT
    assert paths.VENVS == paths.ROOT / ".venv"
    assert paths.code_folder() == paths.ROOT


def test_other_environments_import_an_installed_penstock_and_none_of_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "site-packages"
    for name in ("penstock", "schemas", "numpy", "penstock-0.1.0.dist-info"):
        (packages / name).mkdir(parents=True)
    files = [Path("penstock/a.py"), Path("schemas/b.py"), Path("penstock-0.1.0.dist-info/RECORD")]
    monkeypatch.setattr(paths.importlib.metadata, "files", lambda _: files)
    monkeypatch.setattr(paths, "IS_CHECKOUT", False)
    monkeypatch.setattr(paths, "ROOT", packages)
    monkeypatch.setattr(paths, "_SETUP", tmp_path / "set-up")
    for _ in range(2):
        folder = paths.code_folder()
        assert {link.name: link.resolve() for link in folder.iterdir()} == {
            name: packages / name for name in ("penstock", "schemas")
        }
