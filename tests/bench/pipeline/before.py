"""A working copy of an earlier commit, to measure its parts beside those of this one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from penstock.paths import JARS, ROOT

BEFORE = "e20cb06"
"""The commit that is compared with: the last one whose parts worked record by record."""


def checkout(folder: Path) -> Path:
    """A working copy of the earlier commit, with its kernel; it shares environments and jars with this one."""
    tree = folder / "before"
    if not tree.exists():
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), BEFORE], cwd=ROOT, check=True)
    (tree / ".venv").unlink(missing_ok=True)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    jars = tree / "build" / "jars"
    jars.mkdir(parents=True, exist_ok=True)
    for one in JARS.iterdir():
        if one.name != "kernel" and not (jars / one.name).exists():
            (jars / one.name).symlink_to(one)
    subprocess.run(["python3", "-m", "deploy.bootstrap", "kernel"], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    return tree
