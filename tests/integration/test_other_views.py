"""A model takes inputs from a view of another pipeline: fresh, stale, expired and missing ones, and Redis away."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np
import pytest

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from streams.plan.project import Project
from tests.integration.other_views_run import record_run
from tests.verify.sabotage.catalogue import Mutant
from tests.verify.sabotage.other_views import OTHER_VIEW_MUTANTS
from verify.check_other_views import check_other_views
from verify.judge import judge
from verify.run_data import RunData

NULL = pytest.approx(float("nan"), nan_ok=True)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, RunData]]:
    """The run, on a stack of its own, whose Redis is stopped."""
    folder = tmp_path_factory.mktemp("other-views")
    stack = Stack(folder / "stack", Ports.free())
    try:
        stack.up(["kafka", "flink", "redis", "triton"])
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**stack.environment(), "PENSTOCK_PIPELINES": str(folder)}.items():
                patch.setenv(name, value)
            yield record_run(stack, folder, secrets.token_hex(4))
    finally:
        stack.down()


def test_each_prediction_has_what_was_served_or_the_default_and_says_which(recorded: tuple[Project, RunData]) -> None:
    found = []
    for prediction in recorded[1].predictions[:9]:
        value = prediction.value
        _, minute, hour = np.frombuffer(value["vector"], "<f4").tolist()
        reasons = [one["reason"] for one in value["defaulted"]]
        served = [(view["entity"], view["seq"]) for view in value["views"] if ":" in view["view"]]
        found.append((minute, hour, *reasons, *served))
    assert found == [
        (3, 3, ("a", 3)),
        (1, 1, ("b", 1)),
        (0, 3, ("a", 3)),
        (0, NULL, "EXPIRED"),
        (0, NULL, "MISSING"),
        (0, NULL, "NO_ENTITY"),
        *[(0, NULL, "UNREACHABLE")] * 3,
    ]


def test_when_redis_is_back_vectors_are_served_again(recorded: tuple[Project, RunData]) -> None:
    last = recorded[1].predictions[-1].value
    assert np.frombuffer(last["vector"], "<f4").tolist()[1:] == [1, 1]
    assert last["defaulted"] == []


def test_the_verifier_finds_nothing_wrong(recorded: tuple[Project, RunData]) -> None:
    project, run = recorded
    report = judge(project, run, pii_key=b"")
    assert (report.prediction_mismatches, report.prediction_gaps, report.prediction_duplicates) == (0, 0, 0)
    findings = check_other_views(project.pipeline.model, project.other_views, run.features, run.predictions, run.others)
    assert (findings.served, findings.unchecked) == (4, [])


@pytest.mark.parametrize("mutant", OTHER_VIEW_MUTANTS, ids=[mutant.name for mutant in OTHER_VIEW_MUTANTS])
def test_the_verifier_finds(mutant: Mutant, recorded: tuple[Project, RunData]) -> None:
    project, run = recorded
    report = judge(project, mutant.change(project, run), pii_key=b"")
    assert any(getattr(report, name) for name in mutant.found_by), report.failures()
