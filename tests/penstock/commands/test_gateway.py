"""Options of the gateway."""

from __future__ import annotations

from typing import Any

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


def test_two_topics_of_one_pipeline_are_asked_by_two_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    class Opened:
        def __init__(self, *given: Any, **named: Any) -> None:
            asked.append((given[0], named["source"]))
            self.name = f"{given[0]}:{named['source']}"

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    served: list[str] = []
    monkeypatch.setattr("penstock.commands.gateway.Client", Opened)
    monkeypatch.setattr("penstock.commands.gateway.configure_logging", lambda: None)
    monkeypatch.setattr("penstock.commands.gateway._serve", lambda clients, *_, **__: served.extend(clients))
    monkeypatch.setattr("penstock.commands.gateway.asyncio.run", lambda _: None)
    result = CliRunner().invoke(gateway, ["run", "fraud", "fraud:events.clicks", "--fallback", "approve"])
    assert result.exception is None, result.output
    assert asked == [("fraud", None), ("fraud", "events.clicks")]
    assert served == ["fraud:None", "fraud:events.clicks"]
