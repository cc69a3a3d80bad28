"""Every command of the tutorial runs from the wheel, outside the repository, and prints what the page shows.

`make tutorial` runs all of it, with nothing installed before (PENSTOCK_TUTORIAL=1): it downloads some 600 MB and takes
four to seven minutes. Otherwise, what needs no server is run, beside the packages of the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import zipfile
from itertools import takewhile
from pathlib import Path

import pytest

from deploy.local.ports import Ports
from penstock.paths import BUILD
from tests.docs.pages import page
from tests.tutorial.clean import (
    WHEEL,
    CleanShell,
    Ran,
    build_wheel,
    install_beside_the_locked_packages,
    set_up_from_the_checkout,
)
from tests.tutorial.steps import Step, missing, steps_of

_STEPS = steps_of(page("start/tutorial.md"))
# What is shown may come some seconds later: these commands only look, and are repeated.
_LOOKS = ("penstock quality show", "penstock features get", "penstock topics show")
_LOOK_S = 120
_VERSIONS = """python -c '
import json, platform
from importlib.metadata import version
from deploy.local.versions import server_versions
print(json.dumps({"penstock": version("penstock"), "python": platform.python_version(), **server_versions()}))'"""
_MADE = ("make_payments.py", "payments.csv", "frauds.csv", "new-payments.csv", "new-frauds.csv", "shop", "history")
_MADE += ("ask.py", "features.html", "model.html")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reader's empty folder, in an empty home."""
    folder = tmp_path / "home" / "empty"
    folder.mkdir(parents=True)
    return folder


def test_the_wheel_has_what_set_up_and_the_local_stack_read(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    locks = {f"deploy/locks/{name}.txt" for name in ("jobs", "triton", "tools", "jars")}
    assert {name for name in held if name.startswith("deploy/locks/")} == locks
    files = {"streams/inprocess/penstock-kernel.jar", "deploy/java/pom.xml", "deploy/java/check-jars.sh"}
    assert files | {"deploy/monitoring/alerts.yml", "deploy/monitoring/prometheus.yml"} <= held


def test_the_steps_that_need_no_server_run_from_the_wheel(wheel: Path, folder: Path) -> None:
    install_beside_the_locked_packages(wheel, folder)
    set_up_from_the_checkout(folder.parent)
    shell = CleanShell(folder.parent, folder)
    assert shell.run(". .venv/bin/activate").code == 0
    own = shell.run("python -c 'import penstock, examples; print(penstock.__file__, examples.__file__)'").printed
    assert own.count(f"{folder}/.venv/") == 2, own
    begins = next(number for number, step in enumerate(_STEPS) if step.name)
    without = [*takewhile(lambda step: "penstock up" not in step.commands, _STEPS[begins:])]
    assert len(without) > 6
    for step in without:
        _do(shell, step)
    assert not (folder / ".penstock").exists()


@pytest.mark.skipif("PENSTOCK_TUTORIAL" not in os.environ, reason="make tutorial runs it")
@pytest.mark.timeout(3600)
def test_the_whole_tutorial_runs_from_the_wheel(wheel: Path, folder: Path) -> None:
    shutil.copy(wheel, folder / WHEEL)
    ports = ",".join(f"{name}={port}" for name, port in Ports.free().items())
    shell = CleanShell(folder.parent, folder, {"PENSTOCK_PORTS": ports})
    done: list[Ran] = []
    try:
        for step in _STEPS:
            for ran in _do(shell, step):
                done.append(ran)
                sys.stderr.write(f"{ran.seconds:7.1f} s  {ran.command}\n")
        left = {path.name for path in folder.iterdir()}
    finally:
        shell.run("penstock stop shop/pipeline.py; penstock down --wipe")
        _write(done, shell.run(_VERSIONS).printed)
    assert left <= {*_MADE, ".venv", ".pytest_cache", WHEEL}


def _do(shell: CleanShell, step: Step) -> list[Ran]:
    """Do a step and hold what it printed against the page."""
    if step.name:
        path = shell.folder / step.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.text, encoding="utf-8")
        return []
    done = []
    for command in step.commands:
        done.append(shell.run(command))
        assert done[-1].code == 0 or command.startswith(_LOOKS), f"{step.place}: $ {command}\n{done[-1].printed}"
    deadline = time.monotonic() + _LOOK_S
    while _differs(step, done) and done[-1].command.startswith(_LOOKS) and time.monotonic() < deadline:
        time.sleep(2)
        done[-1] = shell.run(done[-1].command)
    wrong = _differs(step, done)
    assert wrong == [], f"{step.place}:\n{_printed(done)}"
    return done


def _differs(step: Step, done: list[Ran]) -> list[str]:
    failed = [f"exit code {ran.code} of {ran.command}" for ran in done if ran.code]
    return failed or missing(step.shown, "\n".join(ran.printed for ran in done))


def _printed(done: list[Ran]) -> str:
    return "\n".join(f"$ {ran.command}\n{ran.printed}" for ran in done)


def _write(done: list[Ran], versions: str) -> None:
    result = {
        "steps": [{"command": ran.command, "seconds": round(ran.seconds, 1)} for ran in done],
        "total_seconds": round(sum(ran.seconds for ran in done), 1),
        "versions": json.loads(versions),
    }
    BUILD.mkdir(exist_ok=True)
    (BUILD / "tutorial.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
