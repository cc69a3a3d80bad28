"""The images agree with the local stack, are pinned, run unprivileged, and contain what their commands need."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from deploy.local.ports import Ports
from deploy.local.services import Layout
from deploy.local.services.flink import LOG4J, flink_settings
from penstock.cli import COMMANDS
from penstock.paths import ROOT, jobs_python, venv_python
from tests.deploy.commands import JOBS_COMMANDS

_IMAGES = ROOT / "deploy" / "images"
_DOCKERFILES = sorted(_IMAGES.glob("*.Dockerfile"))
_OURS = [path for path in _DOCKERFILES if path.stem != "triton"]


def _ids(path: Path) -> str:
    return path.stem


def _instructions(path: Path) -> list[tuple[str, str]]:
    """Instructions in order, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


@pytest.mark.parametrize("path", _DOCKERFILES, ids=_ids)
def test_every_base_is_pinned_to_one_release(path: Path) -> None:
    stages: set[str] = set()
    for word, rest in _instructions(path):
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            assert base in stages or re.search(r":\d+\.\d+(\.\d+)?(-|$)", base), base
            assert not re.match(r"python:3\.\d+-", base), "a Python release has three numbers"
            stages.add(stage)


@pytest.mark.parametrize("path", _DOCKERFILES, ids=_ids)
def test_the_last_user_of_an_image_is_unprivileged(path: Path) -> None:
    users = [rest for word, rest in _instructions(path) if word == "USER"]
    # By number: Kubernetes can tell that it is not root.
    assert users[-1] == "10001:10001"


@pytest.mark.parametrize("path", _DOCKERFILES, ids=_ids)
def test_every_package_is_installed_by_its_hash(path: Path) -> None:
    installs = [rest for word, rest in _instructions(path) if word == "RUN" and re.search(r"\b(pip|uv) ", rest)]
    for command in (part for rest in installs for part in rest.split("&&")):
        if "install" in command or "sync" in command or "uv build" in command:
            assert "--require-hashes" in command or "--no-index" in command, command


def test_jars_are_compared_with_the_lock_before_they_are_used() -> None:
    commands = [rest for word, rest in _instructions(_IMAGES / "jobs.Dockerfile") if word == "RUN" and "mvn" in rest]
    copied = re.findall(r"dependency:copy-dependencies\s+-DoutputDirectory=(\S+)", " ".join(commands))
    checked = re.findall(r"deploy/java/check-jars.sh \S+ (\S+)", " ".join(commands))
    assert copied == checked == ["/jars/flink", "/plugins/s3-fs-presto", "/tmp/kernel"]
    (build,) = [
        rest for word, rest in _instructions(_IMAGES / "services.Dockerfile") if word == "RUN" and "mvn" in rest
    ]
    # The second copy is of those that were compared.
    assert re.findall(r"dependency:copy-dependencies -DoutputDirectory=(\S+)", build) == [
        "/tmp/kernel",
        "/jars/kernel/flink",
    ]
    assert build.index("check-jars.sh kernel /tmp/kernel") < build.index("package")


@pytest.mark.parametrize("path", _OURS, ids=_ids)
def test_locks_that_an_image_copies_exist(path: Path) -> None:
    copied = {name for word, rest in _instructions(path) if word == "COPY" for name in rest.split() if ".txt" in name}
    assert copied
    assert all((ROOT / name).is_file() for name in copied)


def test_flink_in_containers_is_configured_as_in_the_local_stack() -> None:
    container = yaml.safe_load((_IMAGES / "flink-config.yaml").read_text(encoding="utf-8"))
    local = flink_settings(Layout(Path("/data"), Ports(), "x"))
    places = ("address", "host", "reporter.prom.factory", ".port", "quorum", "executable", "tmp.dirs", "tmpdir")
    for name, value in local.items():
        if not any(place in name for place in places):
            assert container[name] == value, name


def test_flink_in_containers_logs_as_in_the_local_stack_but_only_to_the_console() -> None:
    assert (_IMAGES / "log4j-console.properties").read_text(encoding="utf-8") == LOG4J
    quiet = LOG4J.replace("level = INFO", "level = WARN")
    assert (_IMAGES / "log4j-cli.properties").read_text(encoding="utf-8") == quiet
    assert "RollingFile" not in LOG4J


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that .dockerignore lets into a build."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"  # excludes everything; the other rules are exceptions
    folder = tmp_path_factory.mktemp("context")
    excluded = [rule for rule in rules[1:] if not rule.startswith("!")]

    def ignored(directory: str, names: list[str]) -> set[str]:
        inside = Path(directory).relative_to(ROOT)
        return {
            name for name in names for rule in excluded if (inside / name).match(rule.removeprefix("**/"))
        }  # fmt: skip

    for name in (rule[1:] for rule in rules if rule.startswith("!")):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as images build it, with the same pinned tool."""
    out = tmp_path_factory.mktemp("wheel")
    done = _build_wheel(context, out, {"PENSTOCK_WHEEL_KERNEL": "none"})
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def _build_wheel(context: Path, out: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    return subprocess.run(
        build, cwd=context, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


def test_the_build_context_has_all_that_dockerfiles_copy_and_no_secrets_or_build_outputs(context: Path) -> None:
    for path in _OURS:
        copied = [rest.split()[:-1] for word, rest in _instructions(path) if word == "COPY" and "--from" not in rest]
        assert all((context / name).exists() for names in copied for name in names), path
    unwanted = {".git", ".venv", "build", "target", "__pycache__", "tests"}
    assert not unwanted & {part for path in context.rglob("*") for part in path.relative_to(context).parts}


def test_the_wheel_has_every_module_and_schema_and_no_java(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    packages = ("penstock/", "schemas/", "streams/", "scoring/", "sinks/", "backfill/", "deploy/", "examples/")
    wanted = {name for name in listed if name.startswith(packages) and name.endswith((".py", ".avsc", "py.typed"))}
    assert wanted - held == set()
    assert not any(name.endswith((".java", "Dockerfile")) for name in held)


def test_a_wheel_without_the_kernel_is_built_only_where_that_is_asked_for(context: Path, tmp_path: Path) -> None:
    done = _build_wheel(context, tmp_path, {})
    assert done.returncode != 0
    assert "the kernel is not built" in done.stderr
    assert "next: make wheel" in done.stderr
    assert [*tmp_path.iterdir()] == []
    builds = [rest for path in _OURS for word, rest in _instructions(path) if word == "RUN" and "uv build" in rest]
    assert all(rest.startswith("PENSTOCK_WHEEL_KERNEL=none ") for rest in builds)
    assert len(builds) == 2


def test_an_installed_wheel_runs_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    show = "import penstock; from penstock.cli import main; print(penstock.__file__); main()"
    done = subprocess.run(
        [sys.executable, "-c", show, "topics", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def test_the_image_of_jobs_has_what_its_commands_import_and_submits_with_its_own_interpreter() -> None:
    modules = [COMMANDS[name].target.partition(":")[0] for name in sorted(JOBS_COMMANDS)]
    code = (
        f"import {', '.join(modules)}, streams.flink.job_graph; "
        "from penstock.paths import jobs_python; print(jobs_python())"
    )
    python = venv_python("jobs")
    done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == python


def test_outside_the_image_jobs_are_submitted_by_the_environment_of_jobs() -> None:
    assert importlib.util.find_spec("pyflink") is None
    assert jobs_python() == venv_python("jobs")
