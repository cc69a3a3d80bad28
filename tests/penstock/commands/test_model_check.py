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
@pytest.mark.parametrize("form", ["text", "json", "junit", "markdown"])
def test_the_exit_code_is_the_verdict(
    verdict: Verdict, code: int, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Result("quality", "all events", verdict, 9, "loss", Interval(1, 0, 2), "at most 3")
    monkeypatch.setattr(judging, "judge_version", lambda *_: (Report("fraud", 2, 1, 9, (result,)), "hash"))
    monkeypatch.setattr(command, "read_backfill", lambda _: None)
    done = CliRunner().invoke(cli, ["model", "check", "fraud", "--backfill", str(tmp_path), "--format", form])
    assert done.exit_code == code
    assert "quality" in done.output


def test_a_file_of_gates_has_the_fields_of_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    path.write_text('slices = 7\ngroups = ["event.country"]\nslope = [0.9, 1.1]\n', encoding="utf-8")
    assert command.limits_in(path) == Limits(slices=7, groups=("event.country",), slope=(0.9, 1.1))
    assert command.limits_in(None) == Limits()


@pytest.mark.parametrize(
    ("text", "says"),
    [("slices = [", "no TOML"), ("slice = 7", "slice: Extra inputs"), ("alpha = 2.0", "alpha: Input should be less")],
)
def test_a_file_that_is_no_file_of_gates_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PenstockError, match=says):
        command.limits_in(path)
