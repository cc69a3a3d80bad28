"""Policies are read from YAML and Python, errors say what is allowed, and differences are said in words."""

from __future__ import annotations

import textwrap
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from scoring.rollout.policy import PublishedPolicy, RolloutPolicy, publish
from scoring.rollout.policy_files import diff, read_policy

YAML = """
pipeline: fraud
mode: canary
salt: fraud/deeper
arms:
  - {name: present, version: 3, role: champion}
  - {name: deeper, version: 4}
steps:
  - {weight: 0.01, least_events: 1000, least_time: 30m, most_time: 1d}
  - {weight: 0.05, least_events: 5000, least_time: 1h, most_time: 2d}
"""
PYTHON = """
from penstock.rollout import Arm, RolloutPolicy, Step

policy = RolloutPolicy(
    pipeline="fraud",
    mode="canary",
    salt="fraud/deeper",
    arms=(Arm(name="deeper", version=4), Arm(name="present", version=3, role="champion")),
    steps=(
        Step(weight=1e-2, least_events=1_000, least_time="30m", most_time="24h"),
        Step(weight=0.05, least_events=5_000, least_time="60m", most_time="2d"),
    ),
)
"""
CANARY = RolloutPolicy.model_validate(yaml.safe_load(YAML))


def write(folder: Path, text: str, name: str = "rollout.yaml") -> Path:
    file = folder / name
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return file


def refusal(file: Path) -> PenstockError:
    with pytest.raises(PenstockError) as refused:
        read_policy(file)
    assert str(file) in str(refused.value.where)
    return refused.value


@pytest.mark.parametrize("name", ["rollout.yaml", "rollout.yml"])
def test_a_policy_is_read_from_yaml(tmp_path: Path, name: str) -> None:
    assert read_policy(write(tmp_path, YAML, name)) == CANARY


def test_the_same_policy_in_python_has_the_same_hash(tmp_path: Path) -> None:
    policy = read_policy(write(tmp_path, PYTHON, "rollout.py"))
    assert (policy, policy.hash) == (CANARY, CANARY.hash)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("mode: canary", "mode: cannary", "mode: must be 'shadow', 'canary', 'blue_green', 'ab' or 'bandit'"),
        ("salt: fraud/deeper\n", "", "salt: the field is required"),
        ("salt:", "sallt:", "sallt: there is no such field; the fields are pipeline, mode, salt, arms,"),
        (", version: 4", ", verson: 4", "arms[1].verson: there is no such field; the fields are name, version, role"),
        ("version: 4", "version: four", "arms[1].version: must be a valid integer"),
        ("weight: 0.05", "weight: 0.01", "steps: weights must rise from step to step, got 0.01, 0.01"),
        ("weight: 0.05", "weight: 0.05005", "steps[1].weight: 0.05005 is no weight: it must be a multiple of 0.0001"),
        ("most_time: 2d", "most_time: 2 days", "steps[1].most_time: '2 days' is not a duration; write a number and"),
        (
            "most_time: 2d",
            "most_time: 3600",
            "steps[1].most_time: 3600 has no unit; write 3600s, 3600m, 3600h",
        ),
        ("most_time: 2d", "most_time: 2.5", "steps[1].most_time: 2.5 is not a duration"),
        ("name: deeper", "name: present", "arms: names must differ, got present, present"),
        ("mode: canary", "mode: shadow", "mode shadow takes 0 candidates, got 1"),
        ("mode: canary", "mode: canary\nmode: ab", "mode is there twice"),
        ("version: 4", "version: 4, version: 5", "version is there twice"),
        ("mode: canary", "mode: [canary", "the file is no YAML"),
    ],
)
def test_an_error_names_the_field_and_what_is_allowed(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in YAML
    error = refusal(write(tmp_path, YAML.replace(before, after, 1)))
    assert message in error.what
    assert error.safe == "no policy was changed"


def test_a_dash_is_yaml_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(YAML.encode())))
    assert read_policy(Path("-")) == CANARY
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"mode: [")))
    with pytest.raises(PenstockError, match="the file is no YAML") as caught:
        read_policy(Path("-"))
    assert caught.value.where == "standard input"


def test_all_errors_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, YAML.replace("mode: canary", "mode: x").replace("version: 4", "version: 0")))
    assert ("mode: must be" in error.what, "arms[1].version: must be greater" in error.what) == (True, True)
    error = refusal(write(tmp_path, YAML.replace("30m", "30").replace("2d", "9")))
    assert ("steps[0].least_time: 30 has" in error.what, "steps[1].most_time: 9 has" in error.what) == (True, True)


@pytest.mark.parametrize("content", ["", "- fraud", "fraud"])
def test_a_file_without_a_policy_says_which_fields_one_has(tmp_path: Path, content: str) -> None:
    error = refusal(write(tmp_path, content))
    assert (error.what, "pipeline, mode, salt" in str(error.next)) == ("the file has no policy", True)


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "rollout.yaml").what == "there is no such file"
    assert ".yaml, .yml or .py, not .toml" in refusal(write(tmp_path, "", "rollout.toml")).what


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("polcy = 1", "the file defines no policy"),
        ("policy = dict()", "the file defines no policy"),
        ("policy = 1 / 0", "ZeroDivisionError"),
        (PYTHON.replace('mode="canary"', 'mode="ab"'), "steps are for mode canary"),
    ],
)
def test_an_error_of_a_python_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(write(tmp_path, text, "rollout.py")).what


def changed(**fields: Any) -> RolloutPolicy:
    return RolloutPolicy.model_validate(CANARY.model_dump() | fields)


CHANGES: dict[str, Any] = {
    "pipeline": "frauds",
    "salt": "fraud/other",
    "shadow": (7, 8),
    "arms": [{"name": "present", "version": 3, "role": "champion"}, {"name": "wider", "version": 4}],
    "steps": CANARY.steps[:1],
    "exploration": {"share": 0.01, "decision": "approve", "salt": "e"},
}


@settings(max_examples=40, deadline=None)
@given(ours=st.sets(st.sampled_from(sorted(CHANGES))), theirs=st.sets(st.sampled_from(sorted(CHANGES))))
def test_there_is_a_difference_if_and_only_if_the_hashes_differ(ours: set[str], theirs: set[str]) -> None:
    one, other = (changed(**{name: CHANGES[name] for name in names}) for names in (ours, theirs))
    assert (diff(publish(one), other) == ()) == (one.hash == other.hash)


def test_weights_that_the_steps_have_moved_are_no_difference() -> None:
    moved = publish(CANARY, publish(CANARY), {"present": 0.95, "deeper": 0.05})
    assert isinstance(moved, PublishedPolicy)
    assert diff(moved, CANARY) == ()


def test_differences_are_said_in_words() -> None:
    file = changed(
        shadow=[7, 8],
        arms=[{"name": "present", "version": 2, "role": "champion"}, {"name": "wider", "version": 4}],
        steps=[CANARY.steps[0].model_copy(update={"most_time": 7_200_000})],
        exploration=CHANGES["exploration"],
    )
    assert diff(publish(CANARY), file) == (
        "shadow is none, and 7, 8 in the file",
        "arm present: version is 3, and 2 in the file",
        "arm deeper is published, and the file has none",
        "step 1: most_time is 1d, and 2h in the file",
        "step 2 is published, and the file has none",
        "arm wider is in the file, and not published",
        "exploration is in the file, and not published",
    )


@pytest.mark.parametrize(
    "salt",
    ["2026-13-01", "!!int a", "!!bool a", "!!timestamp a", "9" * 5_000, "[" * 3_000],
    ids=["month", "int", "bool", "timestamp", "long", "deep"],
)
def test_a_value_that_yaml_cannot_make_sense_of_is_an_error_of_the_file(tmp_path: Path, salt: str) -> None:
    assert "is no YAML" in refusal(write(tmp_path, f"salt: {salt}\n")).what
