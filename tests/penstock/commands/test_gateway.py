"""Options of the gateway."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from penstock.commands.gateway import _warn_without_model, gateway
from penstock.errors import PenstockError
from penstock.running.supervisor import Missing
from penstock.settings import Settings


def test_two_pipelines_of_one_name_are_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.commands.gateway.Client", None)
    paths = ["fraud", "examples/fraud/pipeline.py"]
    result = CliRunner().invoke(gateway, ["run", *paths, "--fallback", "approve"])
    assert isinstance(result.exception, PenstockError)
    assert result.exception.what.startswith("two pipelines have the name fraud")
    assert result.exception.where == ", ".join(paths)


NO_MODEL = Missing("model fraud has no version yet", "penstock model train fraud")
WARNING = (
    "warning: model fraud has no version yet: for now, every answer of fraud is the fallback; "
    "next: penstock model train fraud\n"
)


def test_two_topics_of_one_pipeline_are_asked_by_two_clients_and_a_missing_model_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str | None]] = []

    class Opened:
        def __init__(self, *given: Any, **named: Any) -> None:
            asked.append((given[0], named["source"]))
            self.name = f"{given[0]}:{named['source']}"

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    served: list[str] = []
    monkeypatch.setattr("penstock.running.needs.missing_answers", lambda *_: NO_MODEL)
    monkeypatch.setattr("penstock.commands.gateway.REGISTRY", CollectorRegistry())
    monkeypatch.setattr("penstock.commands.gateway.Client", Opened)
    monkeypatch.setattr("penstock.commands.gateway.configure_logging", lambda: None)
    monkeypatch.setattr("penstock.commands.gateway._serve", lambda clients, *_, **__: served.extend(clients))
    monkeypatch.setattr("penstock.commands.gateway.asyncio.run", lambda _: None)
    result = CliRunner().invoke(gateway, ["run", "fraud", "fraud:events.clicks", "--fallback", "approve"])
    assert result.exception is None, result.output
    assert asked == [("fraud", None), ("fraud", "events.clicks")]
    assert served == ["fraud:None", "fraud:events.clicks"]
    assert result.output == WARNING


@pytest.mark.parametrize("found", [None, PenstockError("Triton refuses"), OSError("no such folder")])
def test_what_is_not_known_of_the_model_is_not_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: Exception | None
) -> None:
    def look(*_: object) -> None:
        if found is not None:
            raise found

    monkeypatch.setattr("penstock.running.needs.missing_answers", look)
    _warn_without_model(("fraud",), Settings())
    assert capsys.readouterr().err == ""
