"""A home folder outside the repository, and a shell in it that knows nothing of the checkout."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.paths import JARS, ROOT, VENVS, site_packages

WHEEL = "penstock-0.1.0-py3-none-any.whl"
# How packages are reached: where a company has a mirror or a proxy, these say so.
_KEPT = re.compile(r"LANG|TMPDIR|(PIP|UV|SSL|CURL|REQUESTS)_.*|JAVA_HOME|(?i:.*_proxy)")


@dataclass(frozen=True)
class Ran:
    """A command that has ended: what it printed on both outputs, and how long it took."""

    command: str
    code: int
    printed: str
    seconds: float


class CleanShell:
    """A shell that keeps its variables from one command to the next, as a person's does.

    Args:
        home: The home folder, which is empty at first.
        folder: The empty folder in which the reader works.
        variables: More variables.
    """

    def __init__(self, home: Path, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._state = home / ".exported"
        python = Path(sys.base_prefix) / "bin"
        environment = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
        environment |= {"HOME": str(home), "PATH": f"{python}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        # Java takes the home folder of the user's account, whatever HOME says, and Maven keeps its files there.
        environment |= {"MAVEN_OPTS": f"-Duser.home={home}", **(variables or {})}
        self._environment = environment
        _link(Path.home() / ".m2" / "settings.xml", home / ".m2" / "settings.xml")

    def run(self, command: str, *, timeout_s: float = 900) -> Ran:
        """Run a command line, as it is on the page."""
        state, folder = shlex.quote(str(self._state)), shlex.quote(str(self.folder))
        script = f"set -e; [ ! -f {state} ] || . {state}; cd {folder}; {command}\nexport -p > {state}"
        started = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Ran(command, done.returncode, done.stdout, time.monotonic() - started)


def build_wheel(folder: Path) -> Path:
    """Build the wheel, as `make wheel` does."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder / WHEEL


def install_beside_the_locked_packages(wheel: Path, folder: Path) -> None:
    """Make an environment ``.venv`` with the wheel, and what it depends on from the checkout's environment.

    In place of `pip install`, which downloads for minutes. The environment has nothing of the checkout itself.
    """
    packages = site_packages("services")
    assert packages is not None
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")], check=True)
    python = folder / ".venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python)]
    subprocess.run([*uv, str(wheel)], check=True)
    (own,) = (folder / ".venv" / "lib").glob("python3.*/site-packages")
    # A line of a .pth file is a folder; the .pth files in that folder, which name the checkout, are not read.
    (own / "locked.pth").write_text(f"{packages}\n", encoding="utf-8")


def set_up_from_the_checkout(home: Path) -> None:
    """Make ``~/.penstock`` of what `make setup` has installed, in place of `penstock setup`."""
    for name in ("jobs", "triton", "tools"):
        _link(VENVS / name, home / ".penstock" / "environments" / name)
    _link(JARS, home / ".penstock" / "jars")


def _link(target: Path, link: Path) -> None:
    if target.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
