"""Run by the environment `mlflow`: kills a mirror before and after each call that writes, and mirrors again.

Arguments: the model repository, the model's name, an empty folder. Prints how many kills gave another state than a
mirror that was not killed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from scoring.mlflow_mirror import Request, mirror, mirror_failed
from scoring.overview import overviews
from scoring.repository import ModelRepository
from scoring.trainings import read_trainings

_WRITES = ("create_", "log_", "set_", "delete_")


class Killed(BaseException):
    pass


class KilledClient:
    """Ends at a point: 2n before the nth call that writes, 2n + 1 after it."""

    def __init__(self, client: MlflowClient, point: int) -> None:
        self._client, self._left = client, point

    def __getattr__(self, name: str) -> Any:
        call: Callable[..., Any] = getattr(self._client, name)
        return self._write(call) if name.startswith(_WRITES) else call

    def _write(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **options: Any) -> Any:
            self._step()
            answer = call(*args, **options)
            self._step()
            return answer

        return write

    def _step(self) -> None:
        if self._left == 0:
            raise Killed
        self._left -= 1


def state(client: MlflowClient, model: str) -> Any:
    """All that is in MLflow, without its own ids and times."""
    (experiment,) = client.search_experiments(filter_string=f"name = '{model}'")
    registered = client.get_registered_model(model)
    runs = []
    for run in client.search_runs([experiment.experiment_id]):
        tags = {name: value for name, value in run.data.tags.items() if name.startswith("penstock.")}
        files = sorted(
            each.path for folder in ("", "version") for each in client.list_artifacts(run.info.run_id, folder)
        )
        runs.append((tags.get("penstock.version", ""), tags, run.data.params, run.data.metrics, files, run.info.status))
    versions = [(found.tags, found.version) for found in client.search_model_versions(f"name = '{model}'")]
    order = repr
    return sorted(runs, key=order), sorted(versions, key=order), registered.aliases, registered.tags


def main(repository: ModelRepository, model: str, folder: Path) -> None:
    empty = folder / "empty.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()
    found, trainings = overviews(repository, model), read_trainings(repository, model)

    def write(client: Any, files: str) -> list[Request]:
        requests = mirror(client, repository, model, found, 0.5, files)
        mirror_failed(client, model, trainings)
        return requests

    def run(name: str, point: int | None) -> Any:
        path = folder / f"{name}.db"
        shutil.copyfile(empty, path)
        uri = f"sqlite:///{path}"
        client, files = MlflowClient(uri, uri), (folder / name).as_uri()
        if point is not None:
            try:
                requests = write(KilledClient(client, point), files)
            except Killed:
                requests = write(client, files)
            else:
                return None
        else:
            requests = write(client, files)
        return requests, state(client, model)

    expected, point, wrong = run("plain", None), 0, 0
    assert expected[0] == []
    while (killed := run(f"killed{point}", point)) is not None:
        if killed != expected:
            wrong += 1
            print(point, killed, expected, file=sys.stderr)
        point += 1
    print(f"{wrong} of {point} kills made a difference")


if __name__ == "__main__":
    main(ModelRepository(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3]))
