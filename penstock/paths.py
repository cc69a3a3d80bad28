"""Folders of the set-up. Standard library only: `deploy.bootstrap` imports this before packages are installed.

In a checkout, `make setup` writes into the checkout. An installed Penstock has no folder of its own that it may write
to: `penstock setup` writes into the folder that PENSTOCK_SETUP names, by default ``~/.penstock``.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IS_CHECKOUT = (ROOT / "pyproject.toml").is_file()
SETUP_VARIABLE = "PENSTOCK_SETUP"
# Not Path.home(), which fails for the user of a container that has no entry in /etc/passwd.
_SETUP = Path(os.environ.get(SETUP_VARIABLE) or Path(os.environ.get("HOME", "/"), ".penstock")).absolute()
SETUP_COMMAND = "make setup" if IS_CHECKOUT else "penstock setup"
"""What installs something that is missing."""
VENVS = ROOT / ".venv" if IS_CHECKOUT else _SETUP / "environments"
BUILD = ROOT / "build" if IS_CHECKOUT else _SETUP
JARS = BUILD / "jars"
DEFAULT_HOME = BUILD / "stack"
# hatch_build.py puts the kernel into the wheel, so that it is of one version with the Python code.
PACKAGED_KERNEL = ROOT / "streams" / "inprocess" / "penstock-kernel.jar"
KERNEL_JAR = PACKAGED_KERNEL if PACKAGED_KERNEL.is_file() else JARS / "kernel" / PACKAGED_KERNEL.name
KERNEL_ARCHIVE = JARS / "kernel" / "penstock-kernel.jsa"

# Behind the reference of a pipeline: the strong model of its cascade in the place of the fast one.
STRONG = ":strong"

# Cassandra 5.0 runs on 11 and 17 only, Flink 2.2 on 11, 17 and 21: only 17 works for both.
JAVA_MAJOR = 17


def as_typed(path: Path) -> str:
    """A path as a user would type it: relative to the working directory if it lies below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def venv_python(name: str) -> Path:
    """The interpreter of an environment, as :mod:`deploy.bootstrap` names it: `services`, `jobs`, `peers`, ..."""
    return VENVS / name / "bin" / "python"


def jobs_python() -> Path:
    """The interpreter that submits jobs: this one if it has PyFlink (as in the image), else that of `jobs`."""
    return Path(sys.executable) if importlib.util.find_spec("pyflink") else venv_python("jobs")


def code_folder() -> Path:
    """The folder from which other environments import Penstock, and nothing else.

    The site-packages of an installed Penstock also have what it depends on, of other versions than the environment of
    jobs has. So a folder of links is made, one for each place where Penstock is installed.
    """
    if IS_CHECKOUT or jobs_python() == Path(sys.executable):
        return ROOT
    folder = _SETUP / "code" / hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    folder.mkdir(parents=True, exist_ok=True)
    for package in {file.parts[0] for file in importlib.metadata.files("penstock") or () if file.suffix == ".py"}:
        with contextlib.suppress(FileExistsError):
            (folder / package).symlink_to(ROOT / package)
    return folder


def site_packages(name: str) -> Path | None:
    """The site-packages folder of an environment, or None when the environment is not there."""
    return next(iter(sorted((VENVS / name / "lib").glob("python3.*/site-packages"))), None)


def java_home() -> Path | None:
    """The home of a JDK 17: JAVA_HOME if it is one, else the usual places, else the `java` on PATH."""
    candidates = [Path(value) for value in (os.environ.get("JAVA_HOME"),) if value]
    candidates += sorted(Path("/usr/lib/jvm").glob(f"java-{JAVA_MAJOR}-*"))
    candidates += sorted(Path("/usr/lib/jvm").glob(f"*{JAVA_MAJOR}*"))
    on_path = shutil.which("java")
    if on_path:
        candidates.append(Path(on_path).resolve().parents[1])
    return next((home for home in candidates if _major(home) == JAVA_MAJOR), None)


def _major(home: Path) -> int | None:
    """The major version of the Java at `home`, from its release file, or else from ``java -version``."""
    java = home / "bin" / "java"
    if not java.exists():
        return None
    release = home / "release"
    if release.exists():
        text = release.read_text(encoding="utf-8", errors="replace")
    else:
        text = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False).stderr
    for word in text.replace('"', " ").replace("=", " ").split():
        head = word.split(".", maxsplit=1)[0]
        if head.isdigit():
            return int(head)
    return None
