"""One local stack: starts its programs in parallel and in dependency order, reports their health, stops them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import Ports, owner_of, taken
from deploy.local.prometheus_config import write_prometheus_config
from deploy.local.services import PROGRAMS, SERVICES, Layout, Program, Service
from deploy.local.services.service import StopPhase
from deploy.local.supervision import ProcessState, Supervision
from penstock.errors import PenstockError
from penstock.home import HOME_VARIABLE, STACK_FILE
from penstock.paths import DEFAULT_HOME

_SERVICE_OF = {program.name: service for service in SERVICES.values() for program in service.programs}
_POLL_S = 0.2

Progress = Callable[[str, str, str], None]
"""Called with a program's name, its stage (`preparing`, `starting`, `ready`) and a short text."""


@dataclass(frozen=True)
class ProgramStatus:
    """The present state of one program of the stack."""

    name: str
    service: str
    state: str
    pid: int
    uptime_s: float
    ports: dict[str, int]
    healthy: bool
    detail: str


class Stack:
    """A stack in one folder.

    Args:
        home: The folder of everything the stack writes. Stacks in
            different folders with different ports run side by side.
        ports: Its ports; by default those of the last start, else `Ports()`.
        brief: Whether it runs for minutes only, see `Layout`.
    """

    def __init__(self, home: Path | str = DEFAULT_HOME, ports: Ports | None = None, *, brief: bool = False) -> None:
        self.home = Path(home).resolve()
        saved = self._saved()
        self.ports = ports or Ports(saved.ports if saved else None)
        self._ports_differ = saved is not None and saved.ports != self.ports
        self._layout = Layout(self.home, self.ports, saved.id if saved else secrets.token_hex(4), brief)
        self._supervision = Supervision(self._layout)

    @property
    def running(self) -> bool:
        """Whether the stack's process manager runs."""
        return self._supervision.alive

    def up(
        self, only: Iterable[str] | None = None, *, progress: Progress | None = None, timeout_s: float = 120
    ) -> None:
        """Starts what is not running yet and returns when all of it is healthy.

        Args:
            only: Names of services to start (`kafka`, `redis`, ...), with those that they need; all by default.
            progress: Called at every step.
            timeout_s: The time that each program has to become ready.

        Raises:
            PenstockError: a port is taken or a server is not installed (nothing was started then), or a program does
                not become healthy.
        """
        report = progress or (lambda *_: None)
        services = select_services(only)
        with self._locked():
            if self._supervision.alive and self._ports_differ:
                raise PenstockError(
                    "the stack is running on other ports", where=str(self.home), next=self.command("down")
                )
            self._clean_up()
            active = {name for name, state in self._states().items() if state.pid}
            fresh = [service for service in services if not active & {program.name for program in service.programs}]
            self._refuse_taken_ports(fresh)
            self._save()
            write_prometheus_config(self._layout)
            programs = self._prepare(services, fresh, report)
            if not self._supervision.alive:
                self._supervision.start(PROGRAMS)
            self._start(programs, report, timeout_s)

    def down(self, *, wipe: bool = False) -> int:
        """Stops everything, including what a killed stack left running; returns how many processes that were.

        Args:
            wipe: Also delete the stack's folder.
        """
        with self._locked():
            count = 0
            if self._supervision.alive:
                running = {name for name, state in self._states().items() if state.pid}
                count = len(running)
                for phase in StopPhase:
                    self._supervision.stop_programs(name for name in running if PROGRAMS[name].stops == phase)
            else:
                count = self._supervision.end_leftovers()
            self._supervision.shutdown()
            self._clean_up_services()
        if wipe:
            shutil.rmtree(self.home, ignore_errors=True)
        return count

    def status(self) -> list[ProgramStatus]:
        """Every program's state, with the result of its server's health check."""
        states = self._states()
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda name: self._status_of(PROGRAMS[name], states.get(name)), sorted(PROGRAMS)))

    def environment(self) -> dict[str, str]:
        """The variables that make every Penstock process use this stack."""
        return {HOME_VARIABLE: str(self.home), **self._client_environment()}

    def command(self, *arguments: str) -> str:
        """`penstock ARGUMENTS` for this stack, as a user would type it."""
        home = [] if self.home == DEFAULT_HOME else ["--home", str(self.home)]
        return shlex.join(["penstock", *arguments, *home])

    def pid(self, name: str) -> int:
        """The pid of a running program (`kafka`, `redis`, `jobmanager`, `taskmanager`, ...).

        Raises:
            PenstockError: it does not run.
        """
        state = self._states().get(_known(name))
        if state is None or not state.pid:
            raise PenstockError(f"{name} is not running", where=str(self.home), next=self.command("up"))
        return state.pid

    def stop(self, name: str) -> None:
        """Stops one program and leaves it stopped."""
        self._supervision.stop_programs([_known(name)])

    def start(self, name: str, *, timeout_s: float = 120) -> None:
        """Starts one program that was stopped and waits until it is healthy."""
        program = PROGRAMS[_known(name)]
        self._supervision.write_script(program)
        self._start([program], lambda *_: None, timeout_s)

    def restart(self, name: str, *, timeout_s: float = 120) -> None:
        """Stops and starts one program and waits until it is healthy."""
        self.stop(name)
        self.start(name, timeout_s=timeout_s)

    def log(self, name: str) -> Path:
        """The log of a program, or of the process manager (`supervisord`)."""
        return self._layout.logs / f"{name if name == 'supervisord' else _known(name)}.log"

    def _prepare(self, services: list[Service], fresh: list[Service], report: Progress) -> list[Program]:
        with ThreadPoolExecutor() as pool:
            for service in fresh:
                for program in service.programs:
                    report(program.name, "preparing", "")
            list(pool.map(lambda service: service.prepare(self._layout), fresh))
        programs = [program for service in services for program in service.programs]
        for program in programs:
            self._supervision.write_script(program)
        return programs

    def _start(self, programs: list[Program], report: Progress, timeout_s: float) -> None:
        ready = {program.name: threading.Event() for program in programs}
        failed = threading.Event()

        def run(program: Program) -> None:
            try:
                for name in program.after:
                    while name in ready and not ready[name].wait(_POLL_S):
                        if failed.is_set():
                            return
                report(program.name, "starting", "")
                self._supervision.start_program(program)
                detail = self._wait(program, timeout_s, failed)
                if detail is not None:
                    ready[program.name].set()
                    report(program.name, "ready", detail)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(max_workers=len(programs) or 1) as pool:
            futures = [pool.submit(run, program) for program in programs]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                failed.set()  # on Ctrl-C too, so that the other threads stop waiting
                raise

    def _wait(self, program: Program, timeout_s: float, abort: threading.Event) -> str | None:
        """Waits until the server is healthy; returns what it says, or None if another program failed meanwhile."""
        deadline = time.monotonic() + timeout_s
        problem: Exception | None = None
        longer = f"the same command with --timeout {2 * timeout_s:g}, which leaves what runs as it is; or look why: "
        while time.monotonic() < deadline and not abort.is_set():
            state = self._supervision.states()[program.name]
            if state.state == "FATAL":
                problem, longer = RuntimeError(state.message), ""
                break
            try:
                return program.ready(self._layout)
            except Exception as error:  # noqa: BLE001 - whatever its client raises, the server is not healthy yet
                problem = error
            time.sleep(_POLL_S)
        if abort.is_set():
            return None
        raise PenstockError(
            f"{program.name} did not become ready: {problem}",
            where=str(self.log(program.name)),
            safe="the other services keep running and no data was touched",
            next=longer + self.command("logs", program.name),
        )

    def _status_of(self, program: Program, state: ProcessState | None) -> ProgramStatus:
        service = _SERVICE_OF[program.name]
        healthy, detail = False, state.message if state else ""
        if state and state.pid:
            try:
                healthy, detail = True, program.ready(self._layout)
            except Exception as error:  # noqa: BLE001 - as above
                detail = f"does not answer: {error}"
        return ProgramStatus(
            name=program.name,
            service=service.name,
            # The process manager says "starting" for its first seconds, whatever the server answers.
            state="running" if healthy else (state.state if state else "STOPPED").lower(),
            pid=state.pid if state else 0,
            uptime_s=state.uptime_s if state else 0.0,
            ports=self._ports_of(service) if program is service.programs[0] else {},
            healthy=healthy,
            detail=detail,
        )

    def _ports_of(self, service: Service) -> dict[str, int]:
        return {name: self.ports[name] for name in service.ports}

    def _client_environment(self) -> dict[str, str]:
        variables = (service.client_environment(self._layout) for service in SERVICES.values())
        return {name: value for found in variables for name, value in found.items()}

    def _states(self) -> dict[str, ProcessState]:
        return self._supervision.states() if self._supervision.alive else {}

    def _clean_up(self) -> None:
        if not self._supervision.alive:
            self._supervision.end_leftovers()
            self._clean_up_services()

    def _clean_up_services(self) -> None:
        for service in SERVICES.values():
            service.clean_up(self._layout)

    def _refuse_taken_ports(self, services: list[Service]) -> None:
        problems = []
        for service in services:
            for name, port in taken(self._ports_of(service)).items():
                holder = owner_of(port)
                problems.append(f"  {name:<20} {port:>5}  {f'held by {holder}' if holder else ''}".rstrip())
        if problems:
            raise PenstockError(
                "\n".join(["ports that the stack needs are taken:", *problems]),
                where="127.0.0.1",
                safe="nothing was started",
                next=f"{self.command('up')} --free-ports, or with --port NAME=PORT for each name above, "
                "or stop those processes",
            )

    def _save(self) -> None:
        stack = {"id": self._layout.id, "ports": dict(self.ports), "environment": self._client_environment()}
        (self.home / STACK_FILE).write_text(json.dumps(stack, indent=2) + "\n", encoding="utf-8")

    def _saved(self) -> Layout | None:
        try:
            saved = json.loads((self.home / STACK_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Layout(self.home, Ports(saved["ports"]), saved["id"])

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Makes other commands on this stack wait."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def select_services(only: Iterable[str] | None) -> list[Service]:
    """The services of these names (None: all) and those that they need, in the order of `SERVICES`.

    Raises:
        PenstockError: if there is no service of a name.
    """
    names = list(SERVICES) if only is None else list(only)
    unknown = sorted(set(names) - set(SERVICES))
    if unknown:
        raise PenstockError(f"no such service: {', '.join(unknown)}", next=f"use some of {', '.join(SERVICES)}")
    selected = set(names)
    while needed := {other for name in selected for other in _needs(SERVICES[name])} - selected:
        selected |= needed
    return [service for name, service in SERVICES.items() if name in selected]


def _needs(service: Service) -> set[str]:
    return {_SERVICE_OF[first].name for program in service.programs for first in program.after}


def _known(name: str) -> str:
    if name not in PROGRAMS:
        raise PenstockError(f"no such program: {name}", next=f"use one of {', '.join(sorted(PROGRAMS))}")
    return name
