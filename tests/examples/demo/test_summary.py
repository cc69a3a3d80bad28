"""The demo's summary on the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from examples.demo.rollout_record import Rollouts
from examples.demo.summary import print_summary
from tests.examples.demo.sample_rollouts import rollouts
from tests.examples.demo.sample_run import report


def printed(**of: Rollouts) -> list[str]:
    out = io.StringIO()
    print_summary(report(), of, Console(file=out, width=100), ["report.html"])
    return [" ".join(line.strip("│ ").split()) for line in out.getvalue().splitlines()]


def test_it_says_how_the_rollouts_ended_and_how_many_users_the_bad_candidate_touched() -> None:
    lines = printed(fraud=rollouts())
    assert "promoted after 4,730 events · 26.0 s none tried" in lines
    assert "rolled back after 12 events · 1.5 s none tried" in lines
    assert "users touched by it 1 none tried" in lines


def test_it_says_what_came_of_the_alerts() -> None:
    lines = printed()
    assert "causes concept-drift upstream-fault" in lines
    assert "AUC before · in · after 0.950 · 0.610 · 0.930 n/a" in lines
    assert "alert → recovery 54 s nothing trained" in lines


def test_without_rollouts_it_has_no_lines_for_them() -> None:
    assert not any("rolled back" in line for line in printed())


def test_it_states_the_verdict_and_where_the_full_report_is() -> None:
    lines = printed()
    assert "✓ passed: everything served matches the raw events" in lines
    assert "report.html" in lines[-1]
