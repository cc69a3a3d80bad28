"""A working copy of an earlier commit, to measure its parts beside those of this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from penstock.errors import PenstockError
from penstock.paths import JARS, ROOT

BEFORE = "e20cb06"
"""The commit that is compared with: the last one whose parts worked record by record."""


def checkout(folder: Path) -> Path:
    """A working copy of the earlier commit, with its kernel; it shares environments and jars with this one.

    Raises:
        PenstockError: if this clone does not have the commit, or the kernel cannot be built.
    """
    tree = folder / "before"
    if not tree.exists():
        _run(["git", "worktree", "prune"], ROOT, "git status")
        _run(["git", "worktree", "add", "--detach", str(tree), BEFORE], ROOT, "git fetch --unshallow")
    (tree / ".venv").unlink(missing_ok=True)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    jars = tree / "build" / "jars"
    jars.mkdir(parents=True, exist_ok=True)
    for one in JARS.iterdir():
        if one.name != "kernel" and not (jars / one.name).exists():
            (jars / one.name).symlink_to(one)
    _run([sys.executable, "-m", "deploy.bootstrap", "kernel"], tree, "make setup")
    return tree


def _run(command: list[str], folder: Path, remedy: str) -> None:
    result = subprocess.run(
        command, cwd=folder, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if result.returncode:
        raise PenstockError(
            f"the earlier commit {BEFORE} cannot be prepared: {' '.join(command)}: {result.stdout.strip()}",
            where=str(folder),
            safe="nothing was measured",
            next=remedy,
        )
