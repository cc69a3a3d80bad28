"""The registry in a real MLflow server: complete, the same after every kill, and never moved by hand.

MLflow has an environment of its own: `python3 -m deploy.bootstrap mlflow`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.errors import PenstockError
from penstock.paths import ROOT, venv_python
from scoring.alias_history import Cause, record_configured
from scoring.gates.report import Basis, Report
from scoring.gates.stored_reports import store
from scoring.repository import ModelRepository
from scoring.trained_model import Provenance, TrainedModel
from scoring.trainings import recorded
from scoring.version_files import identity
from scoring.version_loading import load_version
from tests.scoring.fake_server import FakeServer
from tests.scoring.gates.test_report import REPORT
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes
from tests.scoring.test_trainings import training

PYTHON = venv_python("mlflow")
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="needs: python3 -m deploy.bootstrap mlflow")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tmp_path, free_port = tmp_path_factory.mktemp("mlflow"), _free_port()
    url = f"http://127.0.0.1:{free_port}"
    store_uri, files = f"sqlite:///{tmp_path / 'server.db'}", str(tmp_path / "files")
    command = [str(PYTHON.with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(free_port)]
    command += ["--backend-store-uri", store_uri, "--artifacts-destination", files, "--workers", "1"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True)
    try:
        transport = httpx.HTTPTransport(retries=8)  # with a pause that doubles: half a minute in all
        while True:
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            try:
                httpx.Client(transport=transport).get(f"{url}/health").raise_for_status()
                break
            except httpx.TransportError:
                continue
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


class Registry:
    """Two versions of a model, of which the second is served and was judged."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.file, pipeline = define(folder, suffix, partitions=1)
        self.name, self.repository = pipeline.model.name, ModelRepository(folder / "models")
        for seed in range(2):
            made = Provenance(made_ms=1_772_366_400_000, author="ada", penstock="1", environment="e")
            manifest = manifest_of(pipeline).model_copy(update={"seed": seed, "provenance": made})
            self.repository.add(self.name, TrainedModel(onnx_bytes(), None, manifest), {"environment.txt": "onnx==1\n"})
        record_configured(self.repository, self.name, Cause("train"))
        own = identity(self.repository.folder(self.name, 2))
        basis = Basis(own, None, "l", "b", "h", 0.5, 0, "1")
        report = Report(self.name, 2, 1, 9, REPORT.results, basis=basis)
        cause = Cause("promote", store(self.repository, report, 5), "the old one is broken")
        load_version(self.repository, FakeServer(), self.name, 2, cause=cause)
        with suppress(PenstockError), recorded(self.repository, self.name, training(), lambda: 2_000):
            raise PenstockError("no event has a label yet")

    def mirror(self, uri: str) -> str:
        done = self._run("-m", "penstock", "model", "mirror", self.file, "--tracking-uri", uri)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def kills(self) -> str:
        done = self._run("-m", "tests.integration.mirror_kills", str(self.repository.root), self.name, str(self.folder))
        return done.stdout + done.stderr[-4_000:]

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PENSTOCK_MODEL_REPOSITORY": str(self.repository.root), "PYTHONPATH": str(ROOT)}
        command = [str(PYTHON), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=self.folder)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path, uuid.uuid4().hex[:8])


def get(url: str, path: str, /, **params: str) -> Any:
    return httpx.get(f"{url}/api/2.0/mlflow/{path}", params=params).raise_for_status().json()


def aliases(url: str, name: str) -> dict[str, str]:
    found = get(url, "registered-models/get", name=name)["registered_model"].get("aliases", [])
    return {one["alias"]: one["version"] for one in found}


def test_a_server_has_every_version_with_its_metrics_files_and_aliases(server: str, registry: Registry) -> None:
    assert "2 versions" in registry.mirror(server)
    assert registry.mirror(server).count("\n") == 1  # and nothing was asked for by hand
    versions = get(server, "model-versions/search", filter=f"name = '{registry.name}'")["model_versions"]
    assert sorted(one["version"] for one in versions) == ["1", "2"]
    (second,) = (one for one in versions if one["version"] == "2")
    run = get(server, "runs/get", run_id=second["run_id"])["run"]
    data = {kind: {one["key"]: one["value"] for one in run["data"][kind]} for kind in ("params", "metrics", "tags")}
    assert data["params"]["seed"] == "1"
    assert data["metrics"]["auc"] == 0.5
    assert data["tags"]["penstock.override"] == "the old one is broken"
    assert data["tags"]["penstock.gates"] == "fail"
    listed = [
        file["path"]
        for folder in ("", "version")
        for file in get(server, "artifacts/list", run_id=second["run_id"], path=folder)["files"]
    ]
    assert {"card.html", "version/model.onnx", "version/manifest.json", "version/environment.txt"} <= set(listed)
    assert aliases(server, registry.name) == {"champion": "2", "previous": "1"}


def test_a_server_has_a_failed_run_for_each_training_that_failed(server: str, registry: Registry) -> None:
    for _ in range(2):
        registry.mirror(server)
    experiment = get(server, "experiments/get-by-name", experiment_name=registry.name)["experiment"]["experiment_id"]
    search = {"experiment_ids": [experiment], "filter": "attributes.status = 'FAILED'"}
    (run,) = httpx.post(f"{server}/api/2.0/mlflow/runs/search", json=search).raise_for_status().json()["runs"]
    tags = {one["key"]: one["value"] for one in run["data"]["tags"]}
    assert tags["penstock.error"] == "no event has a label yet"
    assert {"key": "seed", "value": "7"} in run["data"]["params"]


def test_an_alias_that_was_moved_by_hand_is_reported_and_put_back(server: str, registry: Registry) -> None:
    registry.mirror(server)
    moved = {"name": registry.name, "alias": "champion", "version": "1"}
    httpx.post(f"{server}/api/2.0/mlflow/registered-models/alias", json=moved).raise_for_status()
    said = registry.mirror(server)
    assert "alias champion was moved to version 1 in MLflow by hand" in said
    assert f"penstock model promote {registry.file} 1 --backfill FOLDER" in said
    assert aliases(server, registry.name)["champion"] == "2"


def test_a_mirror_that_is_killed_anywhere_and_run_again_gives_the_same(registry: Registry) -> None:
    assert registry.kills().startswith("0 of ")
