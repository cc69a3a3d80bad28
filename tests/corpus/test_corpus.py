"""Every case of the corpus by the oracle and by the kernel; ``tests/integration/test_corpus.py`` has the real job."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.testing import Case, read_cases
from streams.definitions.aggregates.spec import SPECS
from streams.inprocess.features_of import features_of
from streams.inprocess.kernel import Kernel
from streams.inprocess.report import failure_text
from streams.inprocess.verdicts import judge
from streams.plan.compiler import compile_plan
from tests.corpus.oracle import assert_same, outcomes_of

CASES = [case for file in sorted(Path(__file__).parent.glob("*.json")) for case in read_cases(file)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_oracle_and_the_kernel_pass_the_case(kernel: Kernel, case: Case) -> None:
    oracle = judge(case, outcomes_of(case.pipeline, case.events))
    assert oracle.passed, f"the oracle\n{failure_text(oracle)}"

    engine = judge(case, features_of(case.pipeline, case.events, kernel=kernel))
    assert engine.passed, f"the kernel\n{failure_text(engine)}"
    assert_same(compile_plan(case.pipeline), engine.outcomes, oracle.outcomes)


def test_names_differ_over_all_files() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


def test_every_aggregate_is_in_the_corpus() -> None:
    (pipeline,) = {id(case.pipeline): case.pipeline for case in CASES}.values()
    expected = {
        name for case in CASES for step in case.steps for view in (step.expect or {}).values() for name in view or {}
    }
    covered = {f.operation for view in compile_plan(pipeline).views for f in view.features if f.name in expected}
    assert covered == set(SPECS)
