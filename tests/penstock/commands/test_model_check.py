"""`penstock model check`: its exit code is the verdict, and a file of gates that is none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from backfill import judging
from penstock.cli import cli
from penstock.commands.model import check as command
from penstock.errors import PenstockError
from scoring.gates.gates import Limits, Result, Verdict
from scoring.gates.report import Report
from scoring.gates.statistics import Interval


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.PASS, 0), (Verdict.FAIL, 10), (Verdict.INCONCLUSIVE, 11)])
@pytest.mark.parametrize("form", [(), ("--json",), ("--junit",), ("--markdown",)])
def test_the_exit_code_is_the_verdict(
    verdict: Verdict, code: int, form: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Result("quality", "all events", verdict, 9, "loss", Interval(1, 0, 2), "at most 3")
    monkeypatch.setattr(judging, "judge_version", lambda *_: (Report("fraud", 2, 1, 9, (result,)), "hash"))
    monkeypatch.setattr(command, "read_backfill", lambda _: None)
    done = CliRunner().invoke(cli, ["model", "check", "fraud", "--backfill", str(tmp_path), *form])
    assert done.exit_code == code
    assert "quality" in done.output


def test_a_file_of_gates_has_the_fields_of_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    path.write_text('slices = 7\ngroups = ["event.country"]\nslope = [0.9, 1.1]\n', encoding="utf-8")
    assert command.limits_in(path) == Limits(slices=7, groups=("event.country",), slope=(0.9, 1.1))
    assert command.limits_in(None) == Limits()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slices = [", "no TOML"),
        ("slice = 7", "slice: there is no such field"),
        ("alpha = 2.0", "alpha: must be less than 0.5"),
        ("slices = 0", "slices: must be at least 1"),
        ("slices = 2.5", "slices: must be a whole number"),
        ('alpha = "x"', "alpha: must be a number"),
        ("margin = inf", "margin: must be a number"),
        ("slope = [1.25, 0.8]", "slope: must be the lower and the upper bound"),
        ("slope = [0.8, inf]", r"slope\.1: must be a number"),
        ("slope = [0.8]", r"slope\.1: must be two numbers"),
        ("slope = 0.8", "slope: must be a list in brackets"),
        ("groups = [1]", r"groups\.0: must be a text in quotes"),
        ('loss = "auc"', "loss: must be 'brier' or 'log'"),
        ('skip = ["robustness"]', r"skip\.0: must be 'quality', "),
        ("false_positive_cost = 0\nfalse_negative_cost = 0", "both 0: to leave them out"),
    ],
)
def test_a_file_that_is_no_file_of_gates_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PenstockError, match=says):
        command.limits_in(path)


def test_without_costs_the_gate_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    path.write_text('false_positive_cost = 0\nfalse_negative_cost = 0\nskip = ["cost"]\n', encoding="utf-8")
    assert command.limits_in(path).skip == ("cost",)


def test_a_card_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    page = tmp_path / "nowhere" / "card.html"
    done = CliRunner().invoke(cli, ["model", "card", "fraud", "1", "--out", str(page)])
    assert done.exit_code == 2
    assert f"Invalid value for '--out': Folder {str(page.parent)!r} does not exist." in done.output
