"""The demo's summary on the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from examples.demo.summary import print_summary
from tests.examples.demo.sample_rollouts import rollouts
from tests.examples.demo.sample_run import report


def printed(**changes: object) -> list[str]:
    out = io.StringIO()
    print_summary(report(), changes, Console(file=out, width=140), ["report.html"])
    return [" ".join(line.strip("│ ").split()) for line in out.getvalue().splitlines()]


def test_it_says_how_each_rollout_ended_and_how_many_users_the_candidate_touched() -> None:
    lines = printed(fraud=rollouts())
    assert "fraud: version 2 promoted after 4,730 events, 26.0 s; it decided 430 events of 3 users" in lines
    assert "fraud: version 3 rolled back after 12 events, 1.5 s; it decided 12 events of 1 user" in lines


def test_without_rollouts_it_has_no_line_for_them() -> None:
    assert not any("version" in line for line in printed())
