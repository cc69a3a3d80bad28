"""The example files of rollout policies on their page are valid, and show every field."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from scoring.rollout.policy import Arm, Exploration, PublishedPolicy, RolloutPolicy, publish
from scoring.rollout.policy_files import read_policy
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal
from streams.definitions.rollout import DEFAULT_STEPS, Step
from streams.definitions.windows import duration_text
from tests.docs.pages import blocks, page

PAGE = page("concepts/rollout-policy.md")


def _policy(folder: Path, language: str, name: str) -> RolloutPolicy:
    (block,) = blocks(PAGE, language)
    file = folder / name
    file.write_text(block.text, encoding="utf-8")
    return read_policy(file)


def test_the_example_in_yaml_is_a_policy_with_every_field(tmp_path: Path) -> None:
    policy = _policy(tmp_path, "yaml", "rollout.yaml")
    assert policy.model_fields_set == {*RolloutPolicy.model_fields}
    assert publish(policy).weights == {"present": 1.0, "deeper": 0.0}


def test_the_example_in_python_is_a_policy(tmp_path: Path) -> None:
    assert publish(_policy(tmp_path, "python", "rollout.py")).weights == {"present": 0.9, "red": 0.1}


def test_the_hash_of_the_example_is_the_one_that_the_page_says() -> None:
    (block,) = blocks(PAGE, "json")
    content = json.dumps(json.loads(block.text), sort_keys=True, separators=(",", ":")).encode()
    assert PublishedPolicy.model_validate_json(block.text).hash == hashlib.sha256(content).hexdigest()
    assert f"`{hashlib.sha256(content).hexdigest()}`" in PAGE.read_text(encoding="utf-8")


def test_the_page_names_every_field() -> None:
    text = PAGE.read_text(encoding="utf-8")
    kinds = (RolloutPolicy, Arm, Step, Exploration, PolicyChange, Marker, Refusal)
    fields = {name for kind in kinds for name in kind.model_fields}
    assert sorted(name for name in fields if name not in text) == []


def test_the_steps_of_a_canary_are_the_defaults() -> None:
    section = PAGE.read_text(encoding="utf-8").split("\n## The steps of a canary\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        [f"{each.weight:g}", f"{each.least_events:,}", duration_text(each.least_time), duration_text(each.most_time)]
        for each in DEFAULT_STEPS
    ]


def test_the_files_of_the_guide_are_policies(tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page("guides/rollout.md"), "yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block.text, encoding="utf-8")
        assert read_policy(file).champion.version in (3, 4)
