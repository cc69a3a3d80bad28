"""Options of the gateway."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from penstock.commands.gateway import gateway
from penstock.errors import PenstockError


def test_two_pipelines_of_one_name_are_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.commands.gateway.Client", None)
    paths = ["fraud", "examples/fraud/pipeline.py"]
    result = CliRunner().invoke(gateway, ["run", *paths, "--fallback", "approve"])
    assert isinstance(result.exception, PenstockError)
    assert result.exception.what.startswith("two pipelines have the name fraud")
    assert result.exception.where == ", ".join(paths)
