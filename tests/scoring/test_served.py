"""The versions that score the events of a pipeline, and the servers that have them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring import served as served_module
from scoring.bands import keep_band
from scoring.cascade import Band
from scoring.cascade_inference import CascadeInference
from scoring.hosted_inference import HostedInference
from scoring.inference import Inference
from scoring.model_metadata import ModelMetadata, ModelNotLoaded
from scoring.repository import ModelRepository
from scoring.served import Deadlines, Served, ServedModel, Versions, open_versions
from scoring.servers.protocol import ModelLoadError, ModelServerUnavailable, VersionState
from scoring.trained_model import TrainedModel
from scoring.unbacked_inference import NoScoresInTime, UnbackedInference
from scoring.vectors import FloatArray
from streams.definitions.cascade import Cascade
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan
from tests.scoring.fake_server import FakeServer
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes
from tests.scoring.test_bands import CHOSEN
from tests.scoring.test_repository import hosted


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return define(tmp_path, "served", 3)[1]


@pytest.mark.parametrize(("fallback", "kind"), [(FakeServer(), Inference), (None, HostedInference)])
def test_a_version_without_a_fallback_waits_for_its_server(fallback: FakeServer | None, kind: type) -> None:
    model = ModelMetadata("taps", 1, ("event.amount",), {}, 100)
    served = ServedModel(FakeServer(), fallback, model, None)
    assert isinstance(served.inference(1, lambda _: None), kind)


def test_a_version_of_which_a_file_has_changed_is_refused(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = compile_plan(pipeline)
    repository, name = ModelRepository(tmp_path / "models"), pipeline.model.name
    repository.add(name, TrainedModel(onnx_bytes(), None, manifest_of(pipeline)))
    repository.model_file(name, 1).write_bytes(onnx_bytes(scores_all=True))
    server = FakeServer("Triton", described=repository.metadata(name))
    monkeypatch.setattr(served_module, "open_server", lambda *_: server)
    project: Any = SimpleNamespace(pipeline=pipeline, plan=plan, other_views=())
    settings: Any = SimpleNamespace(model_repository=repository.root)
    with pytest.raises(PenstockError, match=r"file model.onnx of the version has changed"):
        current(project, settings)


@pytest.mark.parametrize("is_hosted", [True, False])
def test_only_a_version_with_a_file_is_loaded_as_the_fallback(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_hosted: bool
) -> None:
    plan = compile_plan(pipeline)
    repository, name = ModelRepository(tmp_path / "models"), pipeline.model.name
    views = {view.name: f"{view.version}:{view.hash}" for view in plan.views}
    file = TrainedModel(onnx_bytes(), None, manifest_of(pipeline))
    repository.add(name, hosted(pipeline.model.inputs) if is_hosted else file)
    described = ModelMetadata(name, 1, pipeline.model.inputs, views, 4096)
    servers = {"triton": FakeServer("Triton", described=described), "onnx": FakeServer()}
    monkeypatch.setattr(served_module, "open_server", lambda server, _: servers[server])
    project: Any = SimpleNamespace(pipeline=pipeline, plan=plan, other_views=())
    settings: Any = SimpleNamespace(model_repository=repository.root)
    assert (current(project, settings).model.fallback is None) == is_hosted
    assert (("load", described) in servers["onnx"].calls) != is_hosted


def current(project: Any, settings: Any) -> Served:
    with open_versions(project, settings, 100) as versions:
        return versions.current()


class TwoModels(FakeServer):
    """Describes each model by its name."""

    described_by: dict[str, ModelMetadata]
    failing: str | None = None

    def infer(self, model: str, version: int, vectors: FloatArray, deadline_s: float | None) -> FloatArray:
        self.infers = model != self.failing
        return super().infer(model, version, vectors, deadline_s)

    def metadata(self, model: str) -> ModelMetadata:
        return self.described_by[model]


@pytest.fixture
def cascade(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A pipeline whose fast model is version 2, and whose strong one is version 3."""
    model = pipeline.model.model_copy(update={"cascade": Cascade(strong="big")})
    pipeline = pipeline.model_copy(update={"model": model})
    plan = compile_plan(pipeline)
    views = {view.name: f"{view.version}:{view.hash}" for view in plan.views}
    primary = TwoModels("Triton")
    primary.described_by = {
        name: ModelMetadata(name, version, model.inputs, views, 4096) for name, version in ((model.name, 2), ("big", 3))
    }
    servers = {"triton": primary, "onnx": FakeServer()}
    monkeypatch.setattr(served_module, "open_server", lambda server, _: servers[server])
    repository = ModelRepository(tmp_path / "models")
    (repository.root / model.name).mkdir(parents=True)
    project = SimpleNamespace(pipeline=pipeline, plan=plan, other_views=())
    settings = SimpleNamespace(model_repository=repository.root)
    return SimpleNamespace(
        project=project, settings=settings, repository=repository, name=model.name, described=primary.described_by
    )


def test_of_a_cascade_both_versions_are_served_with_the_band_that_was_chosen_for_them(cascade: SimpleNamespace) -> None:
    keep_band(cascade.repository, cascade.name, CHOSEN)
    served = current(cascade.project, cascade.settings)
    fast, identity = served.model.identity, served.cascade_identity
    assert isinstance(served.inference(Deadlines(1, 2), lambda _: None), CascadeInference)
    assert (fast, identity) == ((cascade.name, "2"), (("big", "3"), Band(CHOSEN.low, CHOSEN.high)))


def test_a_cascade_without_a_band_for_its_versions_is_refused(cascade: SimpleNamespace) -> None:
    keep_band(cascade.repository, cascade.name, CHOSEN.model_copy(update={"fast": 1}))
    with pytest.raises(PenstockError, match="no band was chosen"):
        current(cascade.project, cascade.settings)


def test_models_of_a_cascade_that_keep_other_outputs_are_refused(cascade: SimpleNamespace) -> None:
    keep_band(cascade.repository, cascade.name, CHOSEN)
    described = cascade.described["big"]
    cascade.described["big"] = ModelMetadata(
        "big", 3, described.inputs, described.views, described.max_batch_size, kept=("loss",)
    )
    with pytest.raises(PenstockError, match="the fast one keeps none, the strong loss"):
        current(cascade.project, cascade.settings)


def test_the_next_step_for_a_strong_model_that_is_not_loaded_names_it(cascade: SimpleNamespace) -> None:
    keep_band(cascade.repository, cascade.name, CHOSEN)
    described = cascade.described["big"]
    cascade.described["big"] = ModelMetadata("big", 3, ("event.other",), described.views, described.max_batch_size)
    with pytest.raises(PenstockError) as caught:
        current(cascade.project, cascade.settings)
    assert "PIPELINE:strong" in str(caught.value.next)


class LoadedServer(FakeServer):
    """Has loaded some versions."""

    ready: tuple[int, ...] = (1, 2)

    def versions(self, model: str) -> list[VersionState]:
        super().versions(model)
        return [VersionState(version, "READY", "") for version in self.ready] + [VersionState(9, "LOADING", "")]


@pytest.fixture
def versions(pipeline: Pipeline, tmp_path: Path) -> SimpleNamespace:
    """Two versions, of which the first is the current one, and both are loaded."""
    repository, name = ModelRepository(tmp_path / "models"), pipeline.model.name
    for _ in range(2):
        repository.add(name, TrainedModel(onnx_bytes(), None, manifest_of(pipeline)))
    project: Any = SimpleNamespace(pipeline=pipeline, plan=compile_plan(pipeline), other_views=())
    primary, fallback = LoadedServer("Triton"), FakeServer("the copy")
    made = Versions(project, repository, primary, fallback, 100)
    return SimpleNamespace(made=made, repository=repository, name=name, primary=primary, fallback=fallback)


def test_a_version_that_is_not_the_current_one_is_served_with_its_own_copy(versions: SimpleNamespace) -> None:
    served = versions.made.version(2, is_backed=True)
    assert served.model.identity == (versions.name, "2")
    assert ("load", versions.repository.description(versions.name, 2)) in versions.fallback.calls
    assert (versions.name, 2, 1, 5.0) in versions.primary.calls  # warmed up


@pytest.mark.parametrize("number", [3, 9])
def test_a_version_that_the_server_has_not_ready_is_refused_and_its_copy_is_not_loaded_either(
    versions: SimpleNamespace, number: int
) -> None:
    with pytest.raises(ModelNotLoaded, match="is not loaded in Triton"):
        versions.made.version(number, is_backed=True)
    assert versions.fallback.calls == []


def test_while_the_server_cannot_be_asked_a_version_is_served_with_its_copy(versions: SimpleNamespace) -> None:
    versions.primary.failure = ModelServerUnavailable("Triton does not answer")
    assert versions.made.version(2, is_backed=True).model.identity == (versions.name, "2")


def test_a_version_that_does_not_exist_is_refused(versions: SimpleNamespace) -> None:
    versions.primary.ready = (7,)
    with pytest.raises(PenstockError):
        versions.made.version(7, is_backed=True)


def test_a_version_whose_file_has_changed_since_is_refused(versions: SimpleNamespace) -> None:
    versions.repository.model_file(versions.name, 2).write_bytes(onnx_bytes(scores_all=True))
    with pytest.raises(PenstockError, match="has changed"):
        versions.made.version(2, is_backed=True)


def test_a_version_whose_copy_cannot_be_loaded_is_refused(
    versions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise ModelLoadError("no")

    monkeypatch.setattr(versions.fallback, "load", refuse)
    with pytest.raises(PenstockError, match="cannot be loaded as the fallback"):
        versions.made.version(2, is_backed=True)


def test_a_version_that_needs_no_copy_has_none_loaded(versions: SimpleNamespace) -> None:
    versions.made.version(2, is_backed=False)
    assert versions.fallback.calls == []


def test_without_its_copy_a_version_is_asked_on_the_server_alone(versions: SimpleNamespace) -> None:
    shadow = versions.made.version(2, is_backed=False).unbacked(Deadlines(1, 2))
    assert isinstance(shadow, UnbackedInference)
    versions.primary.infers, versions.fallback.calls = False, []
    with pytest.raises(NoScoresInTime):
        shadow.infer(np.zeros((1, 3), np.float32))
    assert versions.fallback.calls == []


def test_without_copies_both_models_of_a_cascade_have_their_deadlines(cascade: SimpleNamespace) -> None:
    keep_band(cascade.repository, cascade.name, CHOSEN)
    served = current(cascade.project, cascade.settings)
    primary: Any = served.model.primary
    shadow = served.unbacked(Deadlines(1, 2))
    assert isinstance(shadow, CascadeInference)
    primary.calls.clear()
    shadow.infer(np.full((1, 3), CHOSEN.low, np.float32), lambda: ["tap-1"])
    assert primary.calls == [(cascade.name, 2, 1, 1), ("big", 3, 1, 2)]
    primary.failing = "big"
    with pytest.raises(NoScoresInTime):
        shadow.infer(np.full((1, 3), CHOSEN.low, np.float32), lambda: ["tap-1"])
