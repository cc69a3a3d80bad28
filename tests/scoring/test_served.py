"""The versions that score the events of a pipeline, and the servers that have them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.errors import PenstockError
from scoring import served as served_module
from scoring.bands import keep_band
from scoring.cascade import Band
from scoring.cascade_inference import CascadeInference
from scoring.hosted_inference import HostedInference
from scoring.inference import Inference
from scoring.model_metadata import ModelMetadata
from scoring.repository import ModelRepository
from scoring.served import Deadlines, Served, ServedModel, open_versions
from scoring.trained_model import TrainedModel
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
    assert isinstance(ServedModel(FakeServer(), fallback, model, None).inference(1, lambda _: None), kind)


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
