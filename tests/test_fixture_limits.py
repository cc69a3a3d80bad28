"""Fixtures that hang or fail: each is ended and named, and set up once only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from penstock.paths import ROOT

CONFTEST = """
import pytest
from tests import fixture_limits

fixture_limits.LIMIT_S = 0.3

def pytest_configure(config):
    config.pluginmanager.register(fixture_limits)

@pytest.fixture(scope="session")
def broken():
    print("set up")
    raise RuntimeError("no port is free")

@pytest.fixture(scope="module")
def endless():
    __import__("time").sleep(60)

@pytest.fixture
def never_ending():
    yield
    __import__("time").sleep(60)
"""


def run(folder: Path, tests: str) -> str:
    """What pytest says of these tests."""
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_one.py").write_text(tests, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "--rootdir", str(folder), "-o", "timeout_func_only=true"]
    command += ["--timeout", "30", str(folder)]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True).stdout


def test_a_shared_fixture_that_failed_is_not_tried_again_and_its_error_is_shown_once(tmp_path: Path) -> None:
    said = run(tmp_path, "def test_one(broken): ...\ndef test_two(broken): ...\ndef test_three(broken): ...\n")
    assert "3 errors" in said
    assert said.count("set up\n") == 1
    assert said.count("E       RuntimeError: no port is free") == 1
    assert said.count("\nfixture broken failed for a test before: no port is free") == 2


def test_a_fixture_that_hangs_is_ended_and_named(tmp_path: Path) -> None:
    said = run(tmp_path, "def test_one(endless): ...\ndef test_two(endless): ...\n")
    assert "fixture endless took longer than 0.3 s" in said
    assert "fixture endless failed for a test before" in said


def test_a_fixture_that_does_not_end_is_ended_and_the_test_before_it_named(tmp_path: Path) -> None:
    said = run(tmp_path, "def test_one(never_ending): ...\n")
    assert "what ends fixtures after test_one took longer than 0.3 s" in said
    assert "1 passed, 1 error" in said


def test_a_test_has_its_own_limit(tmp_path: Path) -> None:
    said = run(tmp_path, "def test_one():\n    __import__('time').sleep(0.8)\n")
    assert "1 passed" in said
