"""Files of feature tests: refused files and their messages, and the command that runs the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from penstock.cli import cli
from penstock.errors import PenstockError
from penstock.testing import check_case, read_cases

PIPELINE = str(Path(__file__).parents[2] / "corpus" / "pipeline.py")
GOOD = {"event": {"time": 1000}, "expect": {"edges": {"count_10s": 1}}}


def write_file(folder: Path, *events: Any, **parts: Any) -> Path:
    file = folder / "f.json"
    content = {"pipeline": PIPELINE, "defaults": {"k": "a"}, "cases": [{"name": "c", "events": events}]}
    file.write_text(json.dumps(content | parts), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"event": {"time": 1}}, "no event has an expectation"),
        ({"event": {"time": 1}, "raw": "x"}, "either event"),
        ({"expect": {"edges": None}}, "either event"),
        (GOOD | {"duplicate": True}, "give only one of"),
        (GOOD | {"message": "x"}, "together with refused"),
        ({"event": {}, "refused": "Invalid"}, "InvalidField"),
        (GOOD | {"expected": 1}, "expected"),
        ({"event": {"time": 1}, "expect": {"edge": {"count_10s": 1}}}, "no view 'edge'"),
        ({"event": {"time": 1}, "expect": {"edges": {"count_11s": 1}}}, "count_11s"),
        ({"event": {"time": 1}, "expect": {"event": {"halve": 1}}}, "halve"),
        (GOOD | {"received": "noon"}, "received"),
        (GOOD | {"event": {"tim": 1000}}, "the event has tim, which contract .* has not: did you mean time"),
        (GOOD | {"event": {"time": 1000, "zzz": 1}}, "the event has zzz, which contract .* has not: it has "),
        (GOOD | {"source": "none"}, "no source of 'none'"),
    ],
)
def test_an_invalid_file_is_refused_with_the_reason(tmp_path: Path, event: Any, message: str) -> None:
    with pytest.raises(PenstockError, match=message):
        read_cases(write_file(tmp_path, event))


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="cannot be read"):
        read_cases(tmp_path / "none.json")
    (tmp_path / "f.json").write_text("pipeline: fraud", encoding="utf-8")
    with pytest.raises(PenstockError, match="cannot be read"):
        read_cases(tmp_path / "f.json")
    with pytest.raises(PenstockError, match="no pipeline 'none'"):
        read_cases(write_file(tmp_path, GOOD, pipeline="none"))
    twice = [{"name": "c", "events": [GOOD]}] * 2
    with pytest.raises(PenstockError, match="several cases have the name c"):
        read_cases(write_file(tmp_path, cases=twice))


def test_a_default_that_no_contract_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="the event has kk, which contract") as refused:
        read_cases(write_file(tmp_path, GOOD, defaults={"kk": "a"}))
    assert str(refused.value.where).endswith("f.json, defaults")


def test_a_raw_event_may_have_fields_that_the_contract_has_not(tmp_path: Path) -> None:
    raw = {"raw": '{"id": "a", "time": 1000, "k": "a", "zzz": 1}', "expect": {"edges": {"count_10s": 1}}}
    (case,) = read_cases(write_file(tmp_path, raw))
    check_case(case)


def test_defaults_fill_the_fields_that_an_event_does_not_set(tmp_path: Path) -> None:
    one, other = {"event": {"time": 1}}, {"event": {"time": 1, "k": None}, "expect": {"edges": None}}
    (case,) = read_cases(write_file(tmp_path, one, other))
    assert [event.value for event in case.events] == [{"k": "a", "time": 1}, {"k": None, "time": 1}]


def test_check_case_raises_for_a_failed_case(tmp_path: Path) -> None:
    good, bad = read_cases(
        write_file(
            tmp_path,
            cases=[
                {"name": "good", "events": [GOOD]},
                {"name": "bad", "events": [GOOD, GOOD]},
            ],
        )
    )
    check_case(good)
    with pytest.raises(AssertionError, match=r"event 2(.|\n)*count_10s +1 +2"):
        check_case(bad)


def test_the_command_exits_with_0_if_every_case_passes(tmp_path: Path) -> None:
    bad = {"event": {"time": 1000}, "expect": {"edges": {"count_10s": 2}}}
    cases = [{"name": "good", "events": [GOOD]}, {"name": "bad", "events": [bad]}]
    file = str(write_file(tmp_path, cases=cases))

    all_of_them = CliRunner().invoke(cli, ["features", "test", file])
    assert all_of_them.exit_code == 3
    assert "✓ good" in all_of_them.output
    assert "✗ bad" in all_of_them.output
    assert "1 failed, 1 passed" in all_of_them.output

    assert CliRunner().invoke(cli, ["features", "test", file, "-k", "good"]).exit_code == 0
    nothing = CliRunner().invoke(cli, ["features", "test", file, "-k", "nothing"])
    assert nothing.exit_code == 3, "a run without any case must fail"
