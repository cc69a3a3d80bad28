"""The demo deletes only what a demo has made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples.cli import FLIGHT_MESSAGES, _emptied, _scripts
from penstock.errors import PenstockError


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(PenstockError, match="not that of a demo"):
        _emptied(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_what_an_earlier_demo_left_is_cleared_away(tmp_path: Path) -> None:
    folder = _emptied(tmp_path / "demo")
    (folder / "report.json").write_text("{}")
    assert [path.name for path in _emptied(folder).iterdir()] == [".penstock-demo"]


def test_the_full_demo_plays_every_flight_and_every_label() -> None:
    (script,) = _scripts(True, 1, ("flights",))
    assert script.train + script.burst + script.live == FLIGHT_MESSAGES


def test_the_command_line_does_not_wait_for_the_plotting_library() -> None:
    check = "import sys, examples.cli; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "False\n"
