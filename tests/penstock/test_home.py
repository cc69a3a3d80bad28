"""PENSTOCK_HOME selects the variables of the stack in that folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.home import set_or_correct, stack_environment


def test_without_it_there_are_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_HOME", raising=False)
    assert stack_environment() == {}


def test_the_variables_are_read_from_the_stacks_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    saved = {"id": "x", "ports": {}, "environment": {"PENSTOCK_KAFKA_BOOTSTRAP": "127.0.0.1:1"}}
    (tmp_path / "stack.json").write_text(json.dumps(saved), encoding="utf-8")
    assert stack_environment() == {"PENSTOCK_KAFKA_BOOTSTRAP": "127.0.0.1:1"}


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"environment": []}'])
def test_a_folder_without_a_stack_is_an_error_and_not_the_default_stack(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    if text is not None:
        (tmp_path / "stack.json").write_text(text, encoding="utf-8")
    with pytest.raises(PenstockError, match="no stack in the folder that PENSTOCK_HOME names") as error:
        stack_environment()
    assert "penstock up" in str(error.value)


def test_the_advice_says_what_a_wrong_address_is_set_to_but_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_REDIS_URL", "redis://me:hush@cache:1/0")
    said = set_or_correct("PENSTOCK_REDIS_URL")
    assert said == "correct PENSTOCK_REDIS_URL, which is set to redis://cache:1/0, or unset it"
