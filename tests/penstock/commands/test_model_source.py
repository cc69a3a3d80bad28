"""The commands for models that read labels take them from an archive, if they are told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from backfill import judging, model_check
from penstock.cli import cli
from penstock.commands.model import cascade, check, making, promotion
from penstock.errors import PenstockError
from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes


@contextmanager
def imported(*_: Any) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--backfill", "{folder}"),
        ("promote", "1", "--backfill", "{folder}"),
        ("compare", "1", "2", "--backfill", "{folder}"),
        ("import", "--onnx", "{file}", "--check-rows", "{file}", "--backfill", "{folder}"),
        ("regret",),
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("source", [None, "/data/archive"])
def test_labels_are_read_from_where_the_command_is_told(
    arguments: tuple[str, ...], source: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, pipeline = define(tmp_path, "source", 1, 'strong="big"')
    repository = ModelRepository(tmp_path / "models")
    for _ in range(2):
        repository.add(pipeline.model.name, TrainedModel(onnx_bytes(), None, manifest_of(pipeline)))
    monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(repository.root))

    def topics_of(_kafka: object, archive: str | None) -> None:
        raise PenstockError(f"read from {archive}")

    def check_version(
        _project: object, _settings: object, _backfill: object, request: model_check.CheckRequest, _tell: object
    ) -> None:
        topics_of(None, request.archive)

    for module in (cascade, check, making, promotion):
        monkeypatch.setattr(module, "read_backfill", lambda _: None)
    for module in (cascade, making):
        monkeypatch.setattr(module, "topics_of", topics_of)
    for name in (judging, model_check):
        monkeypatch.setattr(name, "check_version", check_version)
    monkeypatch.setattr(making, "_imported", imported)
    monkeypatch.setattr("scoring.model_import.read_check_rows", lambda *_: None)
    command, *options = (one.format(folder=tmp_path, file=file) for one in arguments)
    asked = [] if source is None else ["--source", source]
    done = CliRunner().invoke(cli, ["model", command, file, *options, *asked])
    assert f"read from {source}" in str(done.exception or "") + done.output


@pytest.mark.parametrize("archive", [None, "/data/archive"])
def test_a_check_joins_the_labels_of_its_source(archive: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def topics_of(_kafka: object, archive: str | None) -> Any:
        asked.append(archive)
        return SimpleNamespace(read="labels")

    def read(_project: object, read: object, *_: object) -> None:
        assert read == "labels"
        raise PenstockError("read")

    monkeypatch.setattr(model_check, "topics_of", topics_of)
    monkeypatch.setattr(model_check, "read_training_set", read)
    with pytest.raises(PenstockError, match="read"):
        model_check._later(None, Settings(), None, archive, {})  # type: ignore[arg-type]
    assert asked == [archive]
