"""The definition of a service of the local stack: its ports, files, programs, and its clients' settings."""

from __future__ import annotations

import enum
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.errors import PenstockError
from penstock.paths import JARS, SETUP_COMMAND, java_home, site_packages

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Layout:
    """The folders and ports of one stack; `id` is unique per home and names files outside of it.

    A `brief` stack runs for minutes: its servers start faster, and are slower once a longer run would have tuned them.
    """

    home: Path
    ports: Mapping[str, int]
    id: str
    brief: bool = False

    @property
    def run(self) -> Path:
        """The folder of sockets, pid files and start scripts, which may be deleted while the stack is down."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """The folder of the logs, one per program, rotated."""
        return self.home / "logs"

    @property
    def models(self) -> Path:
        """Triton's model repository."""
        return self.home / "models"

    def data(self, service: str) -> Path:
        """The data folder of one service."""
        return self.home / service


class StopPhase(enum.IntEnum):
    """When a program stops: all programs of a phase stop together, one phase after the other."""

    WRITERS = 1
    """Programs that write to other services."""
    STORES = 2
    LOGS = 3
    """Programs that the others need until they have stopped."""


def _no_variables(_: Layout) -> Mapping[str, str]:
    return {}


def _do_nothing(_: Layout) -> None:
    pass


@dataclass(frozen=True)
class Program:
    """One process of a service.

    Args:
        name: Unique in the stack.
        command: The command line. Raises a PenstockError if set-up has not installed the server.
        ready: Asks the server itself; returns a few words (a version) when healthy, raises any exception when not.
        stops: When it stops.
        environment: Variables it needs beside PATH, HOME and the like.
        after: Programs that must be ready first; their services start with this one.
    """

    name: str
    command: Callable[[Layout], Sequence[str]]
    ready: Callable[[Layout], str]
    stops: StopPhase
    environment: Callable[[Layout], Mapping[str, str]] = _no_variables
    after: tuple[str, ...] = ()

    def script(self, layout: Layout) -> str:
        """The start script: the process manager runs it, and a person can run it by hand."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.environment(layout).items()]
        return "\n".join(["#!/bin/sh", *exports, f"exec {shlex.join(self.command(layout))}", ""])


@dataclass(frozen=True)
class Service:
    """One service of the stack. To add one, write a module with a `Service` and add it to `SERVICES`.

    Args:
        name: As `penstock up --only` takes it; also the name of its folder.
        ports: Its ports, with their defaults. Names are unique in the stack.
        programs: Its processes. `penstock status` shows the ports with the first one.
        prepare: Writes its files before the first start; runs again before later ones.
        address: How `penstock up` prints where it is; None for a service that no client uses directly.
        client_environment: The PENSTOCK_* variables that tell Penstock's processes where it is.
        metrics: The ports that Prometheus scrapes.
        versions: How to find the installed version of each server and wheel, by name; None if it is not installed.
        clean_up: Removes what the service leaves outside the stack's folder. Runs while it is down.
    """

    name: str
    ports: Mapping[str, int]
    programs: tuple[Program, ...]
    prepare: Callable[[Layout], None]
    address: Callable[[Mapping[str, int]], str] | None = None
    client_environment: Callable[[Layout], Mapping[str, str]] = _no_variables
    metrics: tuple[str, ...] = ()
    versions: Mapping[str, Callable[[], str | None]] = field(default_factory=dict)
    clean_up: Callable[[Layout], None] = _do_nothing


def java() -> str:
    """The path of a Java 17.

    Raises:
        PenstockError: there is none.
    """
    home = java_home()
    if home is None:
        raise PenstockError("Java 17 is missing", next=SETUP_COMMAND)
    return str(home / "bin" / "java")


def compiler_options(layout: Layout) -> list[str]:
    """Options of a server's JVM. In its first minutes, the optimising compiler takes more CPU than it saves."""
    return ["-XX:TieredStopAtLevel=1"] if layout.brief else []


def jars(folder: Path, title: str) -> str:
    """A class path of every jar of a folder.

    Raises:
        PenstockError: set-up has not put any there.
    """
    if not any(folder.glob("*.jar")):
        raise PenstockError(f"the jars of {title} are missing", where=str(folder), next=SETUP_COMMAND)
    return f"{folder}/*"


def jar_version(profile: str, pattern: str) -> str | None:
    """The version in the file name of a jar that set-up fetched; None if it is not there.

    Args:
        profile: The folder in set-up's jars.
        pattern: Regular expression of the whole file name; its group is the version.
    """
    found = (re.fullmatch(pattern, jar.name) for jar in (JARS / profile).glob("*.jar"))
    return next((match[1] for match in found if match), None)


def wheel_version(package: str, environment: str) -> str | None:
    """The version of a package in one of set-up's environments; None if it is not there."""
    packages = site_packages(environment)
    found = packages.glob(f"{package}-*.dist-info") if packages else ()
    return next((info.name.removeprefix(f"{package}-").removesuffix(".dist-info") for info in found), None)


def printed_version(command: Sequence[str], pattern: str) -> str | None:
    """The first group of ``pattern`` in what a command prints about itself; None if the program is not installed."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(pattern, done.stdout + done.stderr)
    return match[1] if match else None


def write(path: Path, text: str, *, executable: bool = False) -> None:
    """Writes a file of the stack, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if executable:
        path.chmod(0o755)
