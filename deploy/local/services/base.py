"""What a server of the stack is: ports, files, programs and a health check."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.ports import Ports
from penstock.errors import PenstockError
from penstock.paths import java_home

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Layout:
    """The folders and ports of one stack; `id` is unique per home and names what must live outside of it."""

    home: Path
    ports: Ports
    id: str

    @property
    def run(self) -> Path:
        """Sockets, pid files and start scripts: what may be deleted while the stack is down."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """One log per program, rotated."""
        return self.home / "logs"

    @property
    def models(self) -> Path:
        """Triton's model repository."""
        return self.home / "models"

    def data(self, service: str) -> Path:
        """The folder of one service."""
        return self.home / service


@dataclass(frozen=True)
class Program:
    """One process of a service.

    Args:
        name: Unique in the stack.
        command: The command line.
        environment: Variables it needs beside PATH, HOME and the like.
        ready: Asks the server itself; returns a few words (a version) when well, raises anything when not.
        after: Programs that must be ready first.
        stop_wait_s: How long a stop may take before the process is killed.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], str]
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    stop_wait_s: int = 20

    def script(self) -> str:
        """The start script: what the process manager runs, and what a person can run by hand."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return "\n".join(["#!/bin/sh", *exports, f"exec {shlex.join(self.command)}", ""])


@dataclass(frozen=True)
class Service:
    """A server of the stack, and everything that the stack knows of it.

    Args:
        name: Its name on the command line.
        title: Its name for people.
        port_names: The ports that it takes, of :class:`deploy.local.ports.Ports`.
        prepare: Writes its files.
        programs: Its programs.
        stop_stages: The names of its programs, each with the stage of `down` that stops it: 0 for those that write to
            others, the highest for those that everything else needs.
        environment: The variables that make Penstock's processes use it.
        needs: The services that must be ready before it starts.
    """

    name: str
    title: str
    port_names: tuple[str, ...]
    prepare: Callable[[Layout], None]
    programs: Callable[[Layout], list[Program]]
    stop_stages: Mapping[str, int]
    environment: Callable[[Layout], dict[str, str]]
    needs: tuple[str, ...] = ()

    def ports(self, ports: Ports) -> dict[str, int]:
        """The service's own ports, by name."""
        return {name: getattr(ports, name) for name in self.port_names}


def java() -> str:
    """The path of a Java 17.

    Raises:
        PenstockError: there is none.
    """
    home = java_home()
    if home is None:
        raise PenstockError("Java 17 is missing", next="make setup")
    return str(home / "bin" / "java")


def jars(folder: Path, title: str) -> str:
    """A class path of every jar of a folder.

    Raises:
        PenstockError: set-up has not put any there.
    """
    if not any(folder.glob("*.jar")):
        raise PenstockError(f"the jars of {title} are missing", where=str(folder), next="make setup")
    return f"{folder}/*"


def write(path: Path, text: str, *, executable: bool = False) -> None:
    """Writes a file of the stack, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if executable:
        path.chmod(0o755)
