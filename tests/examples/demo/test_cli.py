"""`penstock demo`: the folder that it uses, its messages, and its start-up time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples.cli import FLIGHT_MESSAGES, _demo_parameters, _prepare_folder
from penstock.errors import PenstockError


def test_a_folder_with_other_files_is_refused_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(PenstockError, match="no demo has created it"):
        _prepare_folder(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_the_files_of_an_earlier_demo_are_deleted(tmp_path: Path) -> None:
    folder = _prepare_folder(tmp_path / "demo")
    (folder / "report.json").write_text("{}")
    assert [path.name for path in _prepare_folder(folder).iterdir()] == [".penstock-demo"]


def test_the_full_demo_sends_every_flight_and_every_label() -> None:
    (parameters,) = _demo_parameters(True, 1, ("flights",))
    assert parameters.train + parameters.burst + parameters.live == FLIGHT_MESSAGES


def test_the_command_line_does_not_import_matplotlib() -> None:
    check = "import sys, examples.cli; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "False\n"
