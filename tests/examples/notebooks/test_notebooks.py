"""The notebooks in the repository show what their cells give, and name commands that exist."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from pathlib import Path
from typing import Any

import click
import pytest

from examples.notebooks.execute import execute
from examples.notebooks.make_data import make_data
from penstock.errors import PenstockError
from penstock.paths import ROOT
from tests.deploy.commands import parse

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
_COMMAND = re.compile(r"`penstock ([^`]+)`")
_RENEW = "python -m examples.notebooks.execute examples/notebooks/*.ipynb"


def read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def without_images(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with an empty image in the place of each: their bytes depend on the machine's fonts."""
    result = copy.deepcopy(notebook)
    for cell in result["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = ""
    return result


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_outputs_are_those_of_the_cells(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stored = read(path)
    assert without_images(execute(stored, path.name)) == without_images(stored), _RENEW


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_no_output_names_a_place_of_this_machine(path: Path) -> None:
    text = json.dumps([cell.get("outputs") for cell in without_images(read(path))["cells"]])
    assert re.findall(r"(?<![\w.<])/[a-z]\w*/\w+", text) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_command_in_the_text_exists(path: Path) -> None:
    values = {"FOLDER": "examples", "T": "2026-01-01"}
    texts = ["".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "markdown"]
    for command in _COMMAND.findall("\n".join(texts)):
        words = [values.get(word, word) for word in command.split()]
        # A text may name a command without its arguments.
        with contextlib.suppress(click.exceptions.Exit):
            parse(words if len(words) > 2 else [*words, "--help"])


def test_data_of_an_earlier_run_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="there already"):
        make_data(tmp_path)
    assert list(tmp_path.iterdir()) == []
