"""The verifier must find every way in which a rollout can go wrong, and nothing else."""

from __future__ import annotations

import pytest

from tests.verify.rollout_world import project, rolled_back, write_models
from tests.verify.sabotage.catalogue import Mutant
from tests.verify.sabotage.rollout import ROLLOUT_MUTANTS
from verify.judge import judge
from verify.report import PipelineReport
from verify.run_data import RunData


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    models = tmp_path_factory.mktemp("models")
    write_models(models)
    return rolled_back().run(models)


def judged(run: RunData) -> PipelineReport:
    return judge(project(), run, pii_key=b"")


@pytest.mark.parametrize("mutant", ROLLOUT_MUTANTS, ids=[mutant.name for mutant in ROLLOUT_MUTANTS])
def test_the_verifier_finds(mutant: Mutant, run: RunData) -> None:
    report = judged(mutant.change(project(), run))
    assert [name for name in mutant.found_by if getattr(report, name)], report.failures()
