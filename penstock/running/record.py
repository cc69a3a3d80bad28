"""What is known on this machine of a running pipeline: a folder with its record, its lock and its logs.

The lock is held for as long as the supervisor lives, and the system takes it back however that ends. So there is one
supervisor for each pipeline and stack, and a record without a held lock is one of a run that is over; unless somebody
has deleted the folder: then the record, which comes back, names a supervisor that lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import PenstockError
from penstock.home import HOME_VARIABLE, home_folder
from penstock.paths import DEFAULT_HOME
from penstock.processes import Identity, started_with

MARK = "PENSTOCK_RUN"
"""The variable by which processes of a run are known, also those that outlive its supervisor."""

State = Literal["waiting", "running", "pausing", "given up", "stopping", "stopped"]
_LOCK_ATTEMPTS = 5
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class PartRecord(BaseModel):
    """A part, as its supervisor knows it.

    Args:
        name: Its name.
        state: ``waiting`` for what it needs, ``running``, ``pausing`` before the next start, ``given up``, ``stopping``
            or ``stopped``.
        since_ms: Since when (epoch ms).
        pid: Its process.
        port: Of its metrics.
        restarts: How often it was started again.
        reason: Why it waits, or has ended last.
        next: What to do about that.
        ready: Whether it says that it takes records.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    state: State
    since_ms: int
    pid: int | None = None
    port: int | None = None
    restarts: int = 0
    reason: str | None = None
    next: str | None = None
    ready: bool = False


class RunRecord(BaseModel):
    """A run of a pipeline: its supervisor, and the parts.

    Args:
        pipeline: The pipeline's name.
        reference: The pipeline as it was typed.
        cwd: Where it was typed.
        mark: The value of :data:`MARK` of its processes.
        boot: Which boot of the machine the process numbers are of.
        pid: The supervisor.
        start_time: Its start, as :class:`~penstock.processes.Identity` has it.
        began_ms: Since when it runs (epoch ms).
        parts: The parts.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    pipeline: str
    reference: str
    cwd: str
    mark: str
    boot: str
    pid: int
    start_time: int
    began_ms: int
    parts: tuple[PartRecord, ...] = ()

    @property
    def supervisor(self) -> Identity:
        """The supervisor's process."""
        return Identity(self.pid, self.start_time)

    @property
    def is_of_this_boot(self) -> bool:
        """Whether its process numbers mean anything."""
        return self.boot == boot_id()


class RunFolder:
    """The folder of a pipeline's run, which need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, pipeline: str) -> RunFolder:
        """That of a pipeline, with the local stack that this process uses."""
        return cls(_runs() / pipeline)

    def log(self, part: str) -> Path:
        """The log of a part."""
        return self.path / f"{part}.log"

    def logs(self) -> dict[str, Path]:
        """The logs that exist, by the name of their part."""
        return {path.stem: path for path in sorted(self.path.glob("*.log"))}

    def read(self) -> RunRecord | None:
        """The record of the last run; None if there is none that this release can read."""
        try:
            return RunRecord.model_validate_json((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return None

    def write(self, record: RunRecord) -> None:
        """Replace the record, all at once.

        Raises:
            OSError: if the disk is full, or the folder is gone.
        """
        partial = self.path / ".run.json"
        partial.write_text(record.model_dump_json(indent=1), encoding="utf-8")
        partial.replace(self.path / "run.json")

    @property
    def is_held(self) -> bool:
        """Whether a supervisor lives."""
        with contextlib.suppress(FileNotFoundError):
            try:
                with (self.path / "lock").open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return self._names_another()

    def _names_another(self) -> bool:
        """Whether the record names a process that lives, other than this one."""
        record = self.read()
        if record is None or not record.is_of_this_boot or record.pid == os.getpid():
            return False
        return record.supervisor.alive

    def await_end(self, timeout_s: float) -> bool:
        """Wait until no supervisor lives; whether that is so."""
        deadline = time.monotonic() + timeout_s
        while self.is_held:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    @contextmanager
    def held(self, reference: str) -> Iterator[None]:
        """Be the pipeline's supervisor during the block.

        Raises:
            PenstockError: if another one lives.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("ab") as lock:
            if not _lock(lock) or self._names_another():
                raise PenstockError(
                    "the pipeline runs already",
                    where=str(self.path),
                    safe="nothing was started",
                    next=f"penstock top {reference}; penstock stop {reference}",
                )
            yield


def run_folders() -> list[RunFolder]:
    """The folders of all pipelines that were run with the local stack that this process uses, by name."""
    return [RunFolder(path.parent) for path in sorted(_runs().glob("*/run.json"))]


class OtherRun(NamedTuple):
    """A run with another stack, or one whose folder was deleted a moment ago: its pipeline, supervisor and stack."""

    pipeline: str
    pid: int
    home: str


def other_runs() -> list[OtherRun]:
    """The runs on this machine that have no record where this process looks, by name and pid.

    Their parts are known by their mark, and have the environment of their supervisor.
    """
    known = {record.mark for folder in run_folders() if (record := folder.read()) is not None}
    found = set()
    for parent, environment in started_with(MARK):
        mark = environment[MARK]
        pipeline, pid = mark.rpartition("-")[0].rpartition("-")[::2]
        # Not those that have outlived their supervisor.
        if mark not in known and pid == str(parent):
            home = Path(environment.get("PWD", "/"), environment.get(HOME_VARIABLE) or DEFAULT_HOME)
            found.add(OtherRun(pipeline, parent, str(home)))
    return sorted(found)


def boot_id() -> str:
    """Which boot of the machine this is; empty if the system does not say."""
    with contextlib.suppress(OSError):
        return _BOOT.read_text(encoding="ascii").strip()
    return ""


def new_mark(pipeline: str) -> str:
    """A mark that no other run has."""
    return f"{pipeline}-{os.getpid()}-{time.time_ns()}"


def _lock(file: IO[bytes]) -> bool:
    """Lock a file, unless a process holds it for longer than to look whether it is locked."""
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _runs() -> Path:
    return home_folder().resolve() / "runs"
