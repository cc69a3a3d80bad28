"""The examples of orchestration are well formed, and every command in them exists. No orchestrator is installed."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from penstock.paths import ROOT
from tests.deploy.commands import parse

FOLDER = ROOT / "examples" / "orchestration"
_EXIT_99 = ("archive run", "archive compact", "backfill run", "training-set build")
"""What exits with 99 where there was nothing to do."""
_TAKES_99 = "[ $? -eq 99 ]"


def _module(name: str) -> tuple[ast.Module, dict[str, str]]:
    """A Python example, and its texts that are assigned to a name, filled in."""
    tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"))
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                names[node.targets[0].id] = _text(node.value, names)
            except ValueError:
                continue
    return tree, names


def _text(node: ast.expr, names: dict[str, str]) -> str:
    """The text that an expression of constants and names is; times of a Dagster window are a day."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value, names) for value in values)
        case ast.FormattedValue(value=value):
            return _text(value, names)
        case ast.Name(id="begin" | "end"):
            return "2026-01-01"
        case ast.Name(id=name) if name in names:
            return names[name]
    raise ValueError(ast.unparse(node))


def _filled(text: str) -> str:
    """A command line with a day in the place of what an orchestrator fills in."""
    text = re.sub(r"\$\(date .*?\)", "2026-01-01", text)
    return re.sub(r"\{\{.*?\}\}", "2026-01-01", text)


def _airflow() -> Iterator[tuple[str, bool]]:
    tree, names = _module("airflow_dag.py")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "BashOperator":
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            skips = given.get("skip_on_exit_code")
            command, _, otherwise = _text(given["bash_command"], names).partition("||")
            is_skipped = isinstance(skips, ast.Constant) and skips.value == 99
            yield command, is_skipped or otherwise.strip() == _TAKES_99


def _dagster() -> Iterator[tuple[str, bool]]:
    tree, names = _module("dagster_assets.py")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "penstock":
            words: list[ast.expr] = []
            for argument in node.args[1:]:
                nested = argument.value if isinstance(argument, ast.Starred) else None
                words += nested.elts if isinstance(nested, ast.Tuple) else [argument]
            # Its function takes 99 for a success, whatever the command.
            yield shlex.join(["penstock", *(_text(word, names) for word in words)]), True


def _argo() -> Iterator[tuple[str, bool]]:
    spec = yaml.safe_load((FOLDER / "argo.yaml").read_text(encoding="utf-8"))["spec"]["workflowSpec"]
    for template in spec["templates"]:
        if "container" in template:
            command, _, otherwise = template["container"]["args"][0].partition("||")
            yield command, otherwise.strip() == _TAKES_99


_ALL = [
    pytest.param(command, takes_99, id=f"{kind}-{number}")
    for kind, commands in (("airflow", _airflow()), ("dagster", _dagster()), ("argo", _argo()))
    for number, (command, takes_99) in enumerate(commands)
]


def test_there_are_commands_of_all_three() -> None:
    assert {parameter.id.partition("-")[0] for parameter in _ALL if parameter.id} == {"airflow", "dagster", "argo"}
    assert len(_ALL) > 12


@pytest.mark.parametrize(("command", "takes_99"), _ALL)
def test_every_command_exists_with_its_options_and_99_is_no_failure_where_it_may_come(
    command: str, takes_99: bool, tmp_path: Path
) -> None:
    program, *words = shlex.split(_filled(command))
    assert program == "penstock"
    # The folders are there by then.
    name = parse([str(tmp_path) if word.startswith("/data/") else word for word in words])
    assert takes_99 or name not in _EXIT_99


@pytest.mark.parametrize("command", _EXIT_99)
def test_what_exits_with_99_says_so_in_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit):
        parse([*command.split(), "--help"])
    assert "99" in capsys.readouterr().out


def test_tasks_that_cannot_be_run_twice_are_not_retried() -> None:
    tree, _ = _module("airflow_dag.py")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "BashOperator"]
    given = [{keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords} for call in calls]
    makers = [task for task in given if "model train" in task["bash_command"]]
    assert [task["retries"] for task in makers] == ["0"]


def test_the_workflow_of_argo_names_templates_images_and_secrets_that_exist() -> None:
    spec: dict[str, Any] = yaml.safe_load((FOLDER / "argo.yaml").read_text(encoding="utf-8"))["spec"]["workflowSpec"]
    templates = {template["name"]: template for template in spec["templates"]}
    tasks = templates[spec["entrypoint"]]["dag"]["tasks"]
    assert {task["template"] for task in tasks} == set(templates) - {spec["entrypoint"]}
    names = {task["name"] for task in tasks}
    assert {task["depends"] for task in tasks if "depends" in task} <= names
    manifests = [path.read_text(encoding="utf-8") for path in (ROOT / "deploy" / "kubernetes").rglob("*.yaml")]
    volumes = {volume["name"] for volume in spec["volumes"]}
    for template in templates.values():
        container = template.get("container", {})
        assert not container or any(f"image: {container['image']}" in text for text in manifests)
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
