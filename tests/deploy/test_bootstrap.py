"""Set-up skips steps that are done, and reports missing packages in one message with the command to install them."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy import bootstrap
from penstock.paths import JARS


@pytest.fixture
def no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda _: None)


def test_missing_packages_without_root_end_in_one_message_with_the_command(
    no_root: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "java_home", lambda: None)
    assert bootstrap.main(["system"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("setup stopped: missing on this machine: openjdk-17-jdk-headless maven redis-server")
    assert "sudo apt-get install -y openjdk-17-jdk-headless maven redis-server && make setup" in message


def test_a_step_is_skipped_while_its_inputs_are_the_same(tmp_path: Path) -> None:
    done: list[str] = []
    stamp = tmp_path / "stamp"
    for digest in ("one", "one", "two", "two"):
        bootstrap._step("work", stamp, digest, lambda digest=digest: done.append(digest))  # type: ignore[misc]
    assert done == ["one", "two"]


def test_a_step_that_failed_is_done_again(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"

    def fail() -> None:
        raise bootstrap.SetupError("no")

    with pytest.raises(bootstrap.SetupError):
        bootstrap._step("work", stamp, "one", fail)
    assert not stamp.exists()


@pytest.fixture
def archive_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that write the archive of the kernel's classes, in a set-up that is complete."""
    jar, flink = tmp_path / "kernel.jar", tmp_path / "pyflink" / "lib" / "flink-dist-2.jar"
    flink.parent.mkdir(parents=True)
    (tmp_path / "lib").mkdir()
    for file in (jar, jar.with_suffix(".stamp"), flink, tmp_path / "lib" / "modules", tmp_path / "python"):
        file.write_text("")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "KERNEL_JAR", jar)
    monkeypatch.setattr(bootstrap, "KERNEL_ARCHIVE", jar.with_suffix(".jsa"))
    monkeypatch.setattr(bootstrap, "java_home", lambda: tmp_path)
    monkeypatch.setattr(bootstrap, "site_packages", lambda _: tmp_path)
    monkeypatch.setattr(bootstrap, "venv_python", lambda _: tmp_path / "python")
    runs: list[list[str]] = []

    def run(command: list[str]) -> None:
        runs.append(command)
        jar.with_suffix(".jsa").write_text("")

    monkeypatch.setattr(bootstrap, "_run", run)
    return runs


def test_the_archive_of_the_kernels_classes_is_written_anew_only_if_a_jar_has_changed(
    archive_runs: list[list[str]], tmp_path: Path
) -> None:
    for _ in range(2):
        bootstrap._class_archive()
    assert [run[1:] for run in archive_runs] == [["-m", "streams.inprocess.class_archive"]]
    os.utime(tmp_path / "pyflink" / "lib" / "flink-dist-2.jar", (1, 1))
    bootstrap._class_archive()
    assert len(archive_runs) == 2


def test_without_the_environments_there_is_no_archive_of_the_kernels_classes(
    archive_runs: list[list[str]], tmp_path: Path
) -> None:
    (tmp_path / "python").unlink()
    bootstrap._class_archive()
    assert archive_runs == []


def test_locks_contain_hashes_and_no_index_address() -> None:
    for name in bootstrap._LOCKED:
        text = (bootstrap.LOCKS / f"{name}.txt").read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "--index" not in text


def test_the_image_lock_agrees_with_the_lock_that_tests_run_on() -> None:
    def pins(name: str) -> set[str]:
        lines = (bootstrap.LOCKS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        return {line.rstrip("\\ ") for line in lines if "==" in line and not line.startswith((" ", "#"))}

    assert pins("image") < pins("services")


@pytest.fixture
def locked_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A class path ``stack`` of two jars, and a lock beside a copy of the script that names them."""
    script = tmp_path / "java" / "check-jars.sh"
    for folder in ("java", "locks", "stack"):
        (tmp_path / folder).mkdir()
    script.write_bytes(bootstrap.CHECK_JARS.read_bytes())
    lines = ["# a comment", f"{hashlib.sha256(b'x').hexdigest()}  another/a-1.jar"]
    for name in ("a-1.jar", "b-2.jar"):
        (tmp_path / "stack" / name).write_bytes(name.encode())
        lines.append(f"{hashlib.sha256(name.encode()).hexdigest()}  stack/{name}")
    (tmp_path / "locks" / "jars.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(bootstrap, "CHECK_JARS", script)
    return tmp_path / "stack"


def test_jars_that_are_those_of_the_lock_pass(locked_jars: Path) -> None:
    bootstrap._check_jars("stack", locked_jars)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (lambda folder: (folder / "a-1.jar").write_bytes(b"other"), ["locked .*a-1.jar", "found .*a-1.jar"]),
        (lambda folder: (folder / "c-3.jar").write_bytes(b"new"), ["found .*c-3.jar"]),
        (lambda folder: (folder / "b-2.jar").unlink(), ["locked .*b-2.jar"]),
        (lambda folder: [jar.unlink() for jar in folder.iterdir()], ["locked .*a-1.jar", "locked .*b-2.jar"]),
    ],
    ids=["changed", "added", "missing", "all missing"],
)
def test_a_jar_that_differs_from_the_lock_stops_set_up_and_is_not_installed(
    locked_jars: Path, change: Any, shown: list[str]
) -> None:
    change(locked_jars)
    with pytest.raises(bootstrap.SetupError, match="the jars of stack are not those of deploy/locks/") as stopped:
        bootstrap._check_jars("stack", locked_jars)
    assert re.findall(r"(?:locked|found) .*\.jar", str(stopped.value)) == [
        line for pattern in shown for line in re.findall(pattern, str(stopped.value))
    ]
    assert "make lock ARGS=jars" in str(stopped.value)
    assert not locked_jars.exists()


@pytest.mark.parametrize("group", bootstrap.JAR_PROFILES)
def test_the_installed_jars_are_those_of_the_lock(group: str, tmp_path: Path) -> None:
    copied = tmp_path / group  # links: a folder that differs is deleted
    copied.mkdir()
    for jar in (JARS / group).glob("*.jar"):
        (copied / jar.name).symlink_to(jar)
    bootstrap._check_jars(group, copied)


def test_the_lock_of_jars_has_every_class_path() -> None:
    lines = bootstrap.JARS_LOCK.read_text(encoding="utf-8").splitlines()[1:]
    assert all(re.fullmatch(r"[0-9a-f]{64}  [\w-]+/[\w.+-]+\.jar", line) for line in lines)
    groups = {line.split()[1].partition("/")[0] for line in lines}
    assert groups == {*bootstrap.JAR_PROFILES, *bootstrap.IMAGE_JAR_PROFILES, "kernel"}


def test_uv_and_what_builds_the_project_are_installed_by_their_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "VENVS", tmp_path)
    monkeypatch.setattr(bootstrap, "venv_python", lambda name: tmp_path / name / "bin" / "python")
    monkeypatch.setattr(bootstrap, "_run", commands.append)
    (tmp_path / "tools").mkdir()
    bootstrap.environment("services")
    installs = [command for command in commands if "install" in command or "sync" in command]
    assert [command[0] for command in installs[1:]] == [str(tmp_path / "tools" / "bin" / "uv")] * 2
    of_uv, of_lock, of_project = installs
    assert of_uv[-3:] == ["--require-hashes", "--requirement", str(bootstrap.LOCKS / "tools.txt")]
    assert "--require-hashes" in of_lock
    assert of_project[of_project.index("--build-constraint") + 1] == str(bootstrap.LOCKS / "build.txt")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set-up as of an installed Penstock."""
    monkeypatch.setattr(bootstrap, "IS_CHECKOUT", False)
    monkeypatch.setattr(bootstrap, "VENVS", tmp_path / "set-up" / "environments")


def test_an_installed_penstock_sets_up_all_but_what_developers_need(
    installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in bootstrap._SETUP:
        monkeypatch.setitem(bootstrap._SETUP, name, lambda name=name: done.append(name))
    bootstrap.set_up()
    assert done == ["system", "jobs", "triton", "jars", "kernel"]


def test_a_wheel_that_was_built_without_the_kernel_says_so(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "PACKAGED_KERNEL", tmp_path / "kernel.jar")
    with pytest.raises(bootstrap.SetupError, match=r"built without the kernel\n  next: .*make wheel"):
        bootstrap.kernel()


def test_an_installed_penstock_installs_what_the_lock_names_with_its_own_interpreter_and_not_itself(
    installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "venv_python", lambda name: bootstrap.VENVS / name / "bin" / "python")
    monkeypatch.setattr(bootstrap, "_run", commands.append)
    monkeypatch.setattr(bootstrap, "tools", lambda: "uv")
    bootstrap.environment("jobs")
    made, synced = commands
    assert made[made.index("--python") + 1] == sys.executable
    assert synced[-1] == str(bootstrap.LOCKS / "jobs.txt")
