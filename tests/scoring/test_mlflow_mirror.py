"""A training that failed is a failed run in MLflow: one run, however often and wherever a mirror is killed.

The rest of the mirror needs MLflow itself: ``tests/integration/test_mlflow_mirror.py``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from scoring.mlflow_mirror import mirror_failed
from tests.scoring.test_trainings import training

FAILED = training("t1", ended_ms=2_500, error="no label", data_hash="00ff")
OTHERS = [training("t2", ended_ms=2_500, version=1), training("t3")]
RUN: dict[str, Any] = {
    "name": "m, failed",
    "began": 1_000,
    "ended": 2_500,
    "status": "FAILED",
    "tags": {"penstock.training": "t1", "penstock.error": "no label", "penstock.author": "ada"},
    "params": {
        "seed": "7",
        "until_ms": "900",
        "backfill": "march",
        "with_defaults": "False",
        "data_hash": "00ff",
        "penstock": "1",
        "environment": "e",
        "trainer": "mine:train",
    },
}


class Killed(BaseException):
    pass


class FakeClient:
    """MLflow's runs; ``left`` is how many calls it takes before the mirror is killed."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.left = 1_000

    def _step(self) -> None:
        if not self.left:
            raise Killed
        self.left -= 1

    def get_experiment_by_name(self, name: str) -> Any:
        assert name == "m"
        return SimpleNamespace(experiment_id="1")

    def search_runs(self, experiments: list[str], filter_string: str) -> list[Any]:
        assert experiments == ["1"]
        return [
            SimpleNamespace(info=SimpleNamespace(run_id=number, status=run["status"]))
            for number, run in enumerate(self.runs)
            if filter_string == f"tags.`penstock.training` = '{run['tags']['penstock.training']}'"
        ]

    def create_run(self, _experiment: str, began: int, tags: dict[str, str], name: str) -> Any:
        self._step()
        self.runs.append({"name": name, "began": began, "status": "RUNNING", "tags": tags, "params": {}})
        return SimpleNamespace(info=SimpleNamespace(run_id=len(self.runs) - 1, status="RUNNING"))

    def log_param(self, run: int, name: str, value: str) -> None:
        self._step()
        self.runs[run]["params"][name] = value

    def set_terminated(self, run: int, status: str, ended: int) -> None:
        self._step()
        self.runs[run] |= {"status": status, "ended": ended}


def test_only_a_training_that_failed_has_a_run_of_its_own() -> None:
    client = FakeClient()
    mirror_failed(client, "m", [FAILED, *OTHERS])
    assert client.runs == [RUN]


def test_a_mirror_that_is_killed_at_any_call_and_run_again_gives_the_same() -> None:
    for left in range(2 + len(RUN["params"])):
        client = FakeClient()
        client.left = left
        try:
            mirror_failed(client, "m", [FAILED])
        except Killed:
            client.left = 1_000
            mirror_failed(client, "m", [FAILED])
        mirror_failed(client, "m", [FAILED])
        assert client.runs == [RUN]
