"""The process manager of one stack: its own supervisord, called over a unix socket in the stack's folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

from deploy.local.services.service import Layout, Program, write
from penstock.errors import PenstockError
from penstock.processes import Identity, end, identity_of, marked, of_session

# Every process of a stack has the stack's id in this variable, so that leftovers of a killed supervisord can be found.
MARKER = "PENSTOCK_STACK_PROCESS"

# sun_path holds 108 bytes with the closing zero; supervisord appends its pid while it binds.
_MAX_SOCKET_PATH = 95
# Flink's start scripts lose a signal that arrives before they have become the JVM.
_REPEAT_STOP_S = 5.0
# Longer than supervisord takes to restart a program that has died.
_RESTART_S = 3.0

# Fault codes of supervisord.
_ALREADY_STARTED = 60
_NOT_RUNNING = 70


@dataclass(frozen=True)
class ProcessState:
    """One program as the process manager sees it."""

    name: str
    state: str
    pid: int
    uptime_s: float
    message: str


class Supervision:
    """Starts, queries and ends the supervisord of one stack."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._record = layout.run / "supervisord.json"
        self._config = layout.run / "supervisord.conf"
        self._socket = _socket_path(layout.run)

    @property
    def alive(self) -> bool:
        """Whether this stack's own supervisord runs."""
        identity = self._recorded()
        return identity is not None and identity.alive

    def leftovers(self) -> list[Identity]:
        """Processes of this stack that outlived a supervisord that was killed."""
        return [] if self.alive else self._members()

    def end_leftovers(self) -> int:
        """Ends leftovers; returns how many there were."""
        processes = self.leftovers()
        end(processes, grace_s=10)
        return len(processes)

    def start(self, program_names: Iterable[str]) -> None:
        """Starts supervisord: it knows every program and runs none.

        Raises:
            PenstockError: it does not come up.
        """
        self._layout.logs.mkdir(parents=True, exist_ok=True)
        write(self._config, supervisord_conf(self._layout, program_names, self._socket))
        self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)]
        result = subprocess.run(
            command, env=self._environment(), cwd=self._layout.home, capture_output=True, text=True, check=False
        )
        log = self._layout.logs / "supervisord.log"
        if result.returncode != 0:
            raise PenstockError(f"the process manager did not start: {result.stderr.strip()[-500:]}", where=str(log))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                pid = int(cast("int", self._call("getPID")))
            except (OSError, xmlrpc.client.Error):
                time.sleep(0.05)
                continue
            identity = identity_of(pid)
            if identity is not None:
                write(self._record, json.dumps({"pid": identity.pid, "start_time": identity.start_time}))
                return
        raise PenstockError("the process manager does not answer", where=str(log), next="penstock down")

    def start_program(self, program: Program) -> None:
        """Starts a program from its start script; does nothing if it runs."""
        try:
            self._call("startProcess", program.name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                raise PenstockError(f"{program.name} did not start: {fault.faultString}") from fault

    def stop_programs(self, names: Iterable[str], *, timeout_s: float = 45) -> None:
        """Stops programs together and waits for all of them.

        Raises:
            PenstockError: some still run after `timeout_s`.
        """
        waiting = set(names)
        started = time.monotonic()
        for name in waiting:
            # A program that has just died does not run, but supervisord is about to restart it: stop that one too.
            while not self._request_stop(name) and time.monotonic() - started < _RESTART_S:
                time.sleep(0.05)
        requested = started
        while time.monotonic() - started < timeout_s:
            states = self.states()
            running = [name for name in waiting if states[name].pid]
            if not running:
                return
            if time.monotonic() - requested > _REPEAT_STOP_S:
                requested = time.monotonic()
                for name in running:
                    with contextlib.suppress(xmlrpc.client.Fault):
                        self._call("signalProcess", name, "TERM")
            time.sleep(0.05)
        raise PenstockError(f"still running after {timeout_s:.0f} s: {', '.join(sorted(waiting))}")

    def states(self) -> dict[str, ProcessState]:
        """Every program's state, by name."""
        infos = cast("list[Mapping[str, Any]]", self._call("getAllProcessInfo"))
        return {
            info["name"]: ProcessState(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                uptime_s=float(info["now"] - info["start"]) if info["pid"] else 0.0,
                message=info["spawnerr"] or info["description"],
            )
            for info in infos
        }

    def shutdown(self) -> None:
        """Ends supervisord and every other process of the stack."""
        identity = self._recorded()
        if identity is not None and identity.alive:
            try:
                self._call("shutdown")
            except (OSError, xmlrpc.client.Error):
                end([identity], grace_s=10)
            deadline = time.monotonic() + 60
            while identity.alive and time.monotonic() < deadline:
                time.sleep(0.05)
            end([identity], grace_s=1)
        end(self._members(), grace_s=5)
        self._socket.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def write_script(self, program: Program) -> None:
        """Writes the start script of a program.

        Raises:
            PenstockError: set-up has not installed its server.
        """
        write(self._layout.run / f"{program.name}.sh", program.script(self._layout), executable=True)

    def _request_stop(self, name: str) -> bool:
        """Requests a stop; False if the program has died and supervisord is restarting it."""
        try:
            self._call("stopProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _NOT_RUNNING:
                raise
            return self.states()[name].state in ("STOPPED", "STOPPING", "FATAL")
        return True

    def _members(self) -> list[Identity]:
        # The variable alone would miss Redis, which writes its title over its environment. The session alone would
        # miss a model's Python, which may open a session of its own.
        recorded = self._recorded()
        session = of_session(recorded, self._layout.home) if recorded else []
        members = {*marked(MARKER, self._layout.id), *session}
        return sorted(members - {recorded}, key=lambda member: member.pid)

    def _recorded(self) -> Identity | None:
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            return Identity(record["pid"], record["start_time"])
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def _call(self, method: str, *arguments: object) -> object:
        # A new proxy for each call: threads cannot share one.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _environment(self) -> dict[str, str]:
        # Nothing else of the caller's environment, such as JAVA_TOOL_OPTIONS or FLINK_*, may change the servers.
        kept = {name: os.environ[name] for name in ("HOME", "USER", "TMPDIR") if name in os.environ}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/tmp", **kept, MARKER: self._layout.id}  # noqa: S108


def supervisord_conf(layout: Layout, program_names: Iterable[str], socket: Path) -> str:
    """The configuration of a stack's supervisord: it restarts a program that dies from any signal."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    # supervisord runs in the stack's folder. Relative paths keep a % in its name out of supervisord's interpolation.
    if socket.is_relative_to(layout.home):
        socket = socket.relative_to(layout.home)
    sections = [
        f"""[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisord]
logfile=logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile=run/supervisord.pid
childlogdir=logs
nodaemon=false
minfds={min(hard_limit, 65_536)}
"""
    ]
    if os.geteuid() == 0:
        sections[0] += "user=root\n"
    sections += [
        f"""[program:{name}]
command=/bin/sh run/{name}.sh
autostart=false
autorestart=true
startsecs=2
startretries=10
stopasgroup=true
killasgroup=true
stopwaitsecs=30
redirect_stderr=true
stdout_logfile=logs/{name}.log
stdout_logfile_maxbytes=50MB
stdout_logfile_backups=2
"""
        for name in program_names
    ]
    return "\n".join(sections)


def _socket_path(run: Path) -> Path:
    """In the stack's folder, or in the temporary folder if that path is too long for a unix socket."""
    path = run / "supervisor.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"penstock-{os.geteuid()}" / f"{digest}.sock"
