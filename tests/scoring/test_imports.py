"""What serves a model starts without the libraries that train one."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["penstock.commands.scorer", "penstock.commands.model.serving", "examples.cli", "scoring.reasons"]
)
def test_the_libraries_of_training_are_imported_by_training_only(module: str) -> None:
    check = f"import sys, {module}; print({{'sklearn', 'skl2onnx', 'onnx'}} & sys.modules.keys() or 'none')"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout == "none\n"
