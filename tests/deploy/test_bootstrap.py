"""Set-up skips steps that are done, and reports missing packages in one message with the command to install them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import bootstrap


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
