"""One local stack: started in dependency order and in parallel, asked about its health, and taken down by pid."""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from deploy.local.monitoring import write_monitoring
from deploy.local.ports import Ports, owner_of, taken
from deploy.local.services import SERVICES, Layout, Program, Service
from deploy.local.services.triton import shm_prefix
from deploy.local.supervision import ProcessState, Supervision
from penstock.errors import PenstockError
from penstock.paths import DEFAULT_HOME, JARS

PROGRAMS = {service.name: tuple(service.stop_stages) for service in SERVICES.values()}
_STOP_STAGES = {name: stage for service in SERVICES.values() for name, stage in service.stop_stages.items()}
_SERVICE_OF = {program: service for service, programs in PROGRAMS.items() for program in programs}
_POLL_S = 0.2

Progress = Callable[[str, str, str], None]
"""Called with a program's name, its stage (`preparing`, `starting`, `ready`) and a few words."""


@dataclass(frozen=True)
class ProgramStatus:
    """One program of the stack as it is now."""

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
        ports: Its ports; by default those of the last time, else `Ports()`.
    """

    def __init__(self, home: Path | str = DEFAULT_HOME, ports: Ports | None = None) -> None:
        self.home = Path(home).resolve()
        saved = self._saved()
        self.ports = ports or (saved.ports if saved else Ports())
        self._ports_differ = saved is not None and saved.ports != self.ports
        self._layout = Layout(self.home, self.ports, saved.id if saved else secrets.token_hex(4))
        self._supervision = Supervision(self._layout)

    @property
    def running(self) -> bool:
        """Whether the stack's process manager runs."""
        return self._supervision.alive

    def up(
        self, only: Iterable[str] | None = None, *, progress: Progress | None = None, timeout_s: float = 120
    ) -> None:
        """Starts what is not running yet and returns when all of it is well.

        Args:
            only: Names of services to start (`kafka`, `redis`, ...), with those that they need; all by default.
            progress: Told about every step.
            timeout_s: The time that each program has to become ready.

        Raises:
            PenstockError: a port is taken (nothing was started then), a part is missing or does not become well.
        """
        report = progress or (lambda *_: None)
        services = _select(only)
        with self._locked():
            if self._supervision.alive and self._ports_differ:
                raise PenstockError("the stack is running on other ports", where=str(self.home), next=self._cli("down"))
            self._clean_up()
            active = {name for name, state in self._states().items() if state.pid}
            fresh = [service for service in services if not active & set(PROGRAMS[service.name])]
            self._refuse_taken_ports(fresh)
            self._save()
            write_monitoring(self._layout)
            programs = self._prepare(services, fresh, report)
            if not self._supervision.alive:
                self._supervision.start(_SERVICE_OF)
            self._start(programs, report, timeout_s)

    def down(self, *, wipe: bool = False) -> int:
        """Stops everything, leftovers of a killed stack included; returns how many programs or leftovers there were.

        Args:
            wipe: Also delete the stack's folder.
        """
        with self._locked():
            count = 0
            if self._supervision.alive:
                running = {name for name, state in self._states().items() if state.pid}
                count = len(running)
                for stage in sorted(set(_STOP_STAGES.values())):
                    self._supervision.stop_programs({name for name in running if _STOP_STAGES[name] == stage})
            else:
                count = self._supervision.end_leftovers()
            self._supervision.shutdown()
            self._remove_shared_memory()
        if wipe:
            shutil.rmtree(self.home, ignore_errors=True)
        return count

    def status(self) -> list[ProgramStatus]:
        """Every program's state, with the answer of the server itself."""
        states = self._states()
        running = {name for name, state in states.items() if state.pid}
        known = {
            program.name: program
            for service in SERVICES.values()
            if running & set(PROGRAMS[service.name])
            for program in service.programs(self._layout)
        }
        with ThreadPoolExecutor() as pool:
            return list(
                pool.map(lambda name: self._status_of(name, states.get(name), known.get(name)), sorted(_SERVICE_OF))
            )

    def environment(self) -> dict[str, str]:
        """The variables that make every Penstock process use this stack."""
        own = [service.environment(self._layout) for service in SERVICES.values()]
        stack = {"PENSTOCK_STACK_HOME": str(self.home), "PENSTOCK_JARS": str(JARS)}
        return stack | {name: value for variables in own for name, value in variables.items()}

    def pid(self, name: str) -> int:
        """The pid of a running program (`kafka`, `redis`, `jobmanager`, `taskmanager`, ...).

        Raises:
            PenstockError: it does not run.
        """
        state = self._states().get(_known(name))
        if state is None or not state.pid:
            raise PenstockError(f"{name} is not running", where=str(self.home), next=self._cli("up"))
        return state.pid

    def stop(self, name: str) -> None:
        """Stops one program and leaves it stopped."""
        self._supervision.stop_programs([_known(name)])

    def start(self, name: str, *, timeout_s: float = 120) -> None:
        """Starts one program that was stopped and waits until it is well."""
        service = SERVICES[_SERVICE_OF[_known(name)]]
        program = next(program for program in service.programs(self._layout) if program.name == name)
        self._start([program], lambda *_: None, timeout_s)

    def restart(self, name: str, *, timeout_s: float = 120) -> None:
        """Stops and starts one program and waits until it is well."""
        self.stop(name)
        self.start(name, timeout_s=timeout_s)

    def log(self, name: str) -> Path:
        """The log of a program, or of the process manager (`supervisord`)."""
        if name == "flink":
            name = "jobmanager"
        return self._layout.logs / f"{name if name == 'supervisord' else _known(name)}.log"

    def _prepare(self, services: list[Service], fresh: list[Service], report: Progress) -> list[Program]:
        with ThreadPoolExecutor() as pool:
            for service in fresh:
                for program in PROGRAMS[service.name]:
                    report(program, "preparing", "")
            list(pool.map(lambda service: service.prepare(self._layout), fresh))
        return [program for service in services for program in service.programs(self._layout)]

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
                failed.set()  # Ctrl-C included: the other waiters must not hold up the way out
                raise

    def _wait(self, program: Program, timeout_s: float, abort: threading.Event) -> str | None:
        """What the server says when it is well, or None when the start was given up."""
        deadline = time.monotonic() + timeout_s
        problem: Exception | None = None
        while time.monotonic() < deadline and not abort.is_set():
            state = self._supervision.states()[program.name]
            if state.state == "FATAL":
                problem = RuntimeError(state.message)
                break
            try:
                return program.ready()
            except Exception as error:  # noqa: BLE001 - whatever its client raises, the server is not well yet
                problem = error
            time.sleep(_POLL_S)
        if abort.is_set():
            return None
        raise PenstockError(
            f"{program.name} did not become ready: {problem}",
            where=str(self.log(program.name)),
            safe="the other parts keep running and no data was touched",
            next=self._cli("logs", program.name),
        )

    def _status_of(self, name: str, state: ProcessState | None, program: Program | None) -> ProgramStatus:
        healthy, detail = False, state.message if state else ""
        if state and state.pid and program:
            try:
                healthy, detail = True, program.ready()
            except Exception as error:  # noqa: BLE001 - as above
                healthy, detail = False, f"does not answer: {error}"
        elif state is None:
            detail = ""
        service = SERVICES[_SERVICE_OF[name]]
        return ProgramStatus(
            name=name,
            service=service.name,
            # The process manager says "starting" for its first seconds, whatever the server answers.
            state="running" if healthy else (state.state if state else "STOPPED").lower(),
            pid=state.pid if state else 0,
            uptime_s=state.uptime_s if state else 0.0,
            ports={} if name == "taskmanager" else service.ports(self.ports),
            healthy=healthy,
            detail=detail,
        )

    def _states(self) -> dict[str, ProcessState]:
        return self._supervision.states() if self._supervision.alive else {}

    def _clean_up(self) -> None:
        if not self._supervision.alive:
            self._supervision.end_leftovers()
            self._remove_shared_memory()

    def _remove_shared_memory(self) -> None:
        for path in Path("/dev/shm").glob(f"{shm_prefix(self._layout)}*"):  # noqa: S108 - Triton's, by our own prefix
            path.unlink(missing_ok=True)

    def _refuse_taken_ports(self, services: list[Service]) -> None:
        problems = []
        for service in services:
            for name, port in taken(service.ports(self.ports)).items():
                holder = owner_of(port)
                problems.append(f"{name} needs port {port}" + (f", held by {holder}" if holder else ""))
        if problems:
            raise PenstockError(
                f"port taken: {'; '.join(problems)}",
                where="127.0.0.1",
                safe="nothing was started",
                next=f"stop that process, or choose another port: {self._cli('up')} --port NAME=PORT (or --free-ports)",
            )

    def _cli(self, *arguments: str) -> str:
        home = [] if self.home == DEFAULT_HOME else ["--home", str(self.home)]
        return " ".join(["penstock", *arguments, *home])

    def _save(self) -> None:
        text = json.dumps({"id": self._layout.id, "ports": self.ports.as_dict()}, indent=2)
        (self.home / "stack.json").write_text(text + "\n", encoding="utf-8")

    def _saved(self) -> Layout | None:
        try:
            saved = json.loads((self.home / "stack.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Layout(self.home, Ports().with_overrides(saved["ports"]), saved["id"])

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands on one stack take turns."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _select(only: Iterable[str] | None) -> list[Service]:
    names = list(SERVICES) if only is None else list(only)
    unknown = sorted(set(names) - set(SERVICES))
    if unknown:
        raise PenstockError(f"no such service: {', '.join(unknown)}", next=f"use some of {', '.join(SERVICES)}")
    needed = {need for name in names for need in SERVICES[name].needs}
    return [service for name, service in SERVICES.items() if name in needed.union(names)]


def _known(name: str) -> str:
    if name not in _SERVICE_OF:
        raise PenstockError(f"no such program: {name}", next=f"use one of {', '.join(sorted(_SERVICE_OF))}")
    return name
