"""``penstock run``: everything of a pipeline under one supervisor, with a live screen, or in the background."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType

import click
from rich.live import Live

from penstock.commands.console import console_on
from penstock.commands.errors import pipeline_argument
from penstock.commands.running.screen import View, panel, seconds
from penstock.errors import PenstockError
from penstock.running.measuring import Watch
from penstock.running.parts import FEATURES, Asking, Part, parts_of
from penstock.running.record import PartRecord, RunFolder, RunRecord
from penstock.running.restarts import end_of
from penstock.running.session import Requests, end_leftovers, make_topics, require_stopped_in_order, run_parts
from penstock.running.signalling import send
from penstock.running.started_settings import changed_settings
from penstock.running.supervisor import Supervisor
from penstock.settings import Settings
from streams.flink.submit import personal_key_of
from streams.plan.project import Project, open_project

_SUPERVISOR = "supervisor"
# The feature job takes the longest: its program starts a JVM, and Flink waits for slots.
_READY_S = 240.0
_POLL_S = 0.2
_SHOW_EVERY_S = 0.5
_TAIL_BYTES = 16 * 1024


@click.command()
@pipeline_argument
@click.option("--without", multiple=True, metavar="PART", help="Leave a part out; several times for several.")
@click.option(
    "--gateway",
    "fallback",
    metavar="DECISION",
    help="Answer events by HTTP, too; with this decision where no prediction comes in time.",
)
@click.option(
    "--gateway-port", type=click.IntRange(1, 65_535), default=8700, show_default=True, help="Where it is asked."
)
@click.option("--detach", is_flag=True, help="Run in the background; return when everything runs.")
def run(pipeline: str, without: tuple[str, ...], fallback: str | None, gateway_port: int, detach: bool) -> None:
    """Run everything of PIPELINE until stopped (Ctrl-C, SIGTERM or `penstock stop`).

    Creates the topics, starts the feature job, the sinks, the scorer and, where the definition has them, the drift app,
    the watch over raw events, the counting of quality, the controller of rollouts and the watch for incidents. What has
    died is started again. What needs a model waits until there is one. Stopping takes a savepoint, from which the next
    run continues.
    """
    project, settings = open_project(pipeline), Settings()
    asking = None if fallback is None else Asking(fallback, gateway_port)
    parts = parts_of(project.pipeline, pipeline, without, asking)
    if any(part.name == FEATURES for part in parts):
        personal_key_of(project.plan, settings)  # the job would say that it lacks one, but only once topics exist
    folder = RunFolder.of(project.name)
    if detach:
        _detach(pipeline, _options(without, asking), folder)
    else:
        with folder.held(pipeline):
            _run(project, settings, parts, folder)


def _options(without: tuple[str, ...], asking: Asking | None) -> list[str]:
    """The options of the same run in the foreground."""
    options = [word for part in without for word in ("--without", part)]
    if asking is not None:
        options += ["--gateway", asking.fallback, "--gateway-port", str(asking.port)]
    return options


def _run(project: Project, settings: Settings, parts: list[Part], folder: RunFolder) -> None:
    requests = _requests()
    if left := end_leftovers(folder):
        click.echo(f"ended {len(left)} processes that an earlier run had left")
    created = make_topics(project, settings)
    display = _Display(project, parts, requests)
    if created:
        display.say(f"created {len(created)} topics")
    with display:
        supervisor = run_parts(project, settings, parts, folder, requests, say=display.say, show=display.show)
    require_stopped_in_order(supervisor, shlex.quote(project.reference))


class _Display:
    """A live panel on a terminal, below the changes; elsewhere the changes alone, each with its time."""

    def __init__(self, project: Project, parts: list[Part], requests: Requests) -> None:
        self._console = console_on(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._project, self._requests = project, requests
        self._names = [part.name for part in parts]
        self._began_s = time.monotonic()
        self._shown_at = float("-inf")
        self._has_failed = False

    def __enter__(self) -> None:
        if self._live is not None:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()

    def say(self, line: str) -> None:
        """Print a change."""
        at = datetime.now(UTC).strftime("%H:%M:%S")
        with suppress(OSError):  # the terminal is closed, or the disk of the log is full: the parts go on
            self._console.print(f"{at}  {line}", markup=False, soft_wrap=True)

    def show(self, supervisor: Supervisor, watch: Watch) -> None:
        """Show the state; does nothing if it was shown a moment ago, unless it is the last one."""
        now = time.monotonic()
        if self._live is None or (now - self._shown_at < _SHOW_EVERY_S and not supervisor.has_ended):
            return
        self._shown_at = now
        end = "Ctrl-C again kills it all" if self._requests.stop else "Ctrl-C stops it all in order"
        try:
            view = View(
                title=f"penstock run · {self._project.name}",
                footer=f"up {seconds(now - self._began_s)} · {end}",
                names=self._names,
                parts=supervisor.records(),
                figures=watch.latest,
            )
            shown = panel(view, time.time_ns() // 1_000_000, self._console.width)
            self._live.update(shown, refresh=True)
        except Exception as error:  # noqa: BLE001 - the parts go on, whatever their screen does
            if not self._has_failed and not isinstance(error, OSError):  # OSError: the terminal is closed
                self.say(f"the screen cannot be drawn: {type(error).__name__}: {error}; everything runs on")
            self._has_failed = True


def _requests() -> Requests:
    """What signals ask for: any to stop, a second Ctrl-C to kill; SIGUSR1 to try again what was given up.

    SIGTERM and SIGHUP may well come twice: by a second `penstock stop`, or from the shell and the terminal.
    """
    requests = Requests()

    def stop(number: int, _frame: FrameType | None) -> None:
        requests.kill |= requests.stop and number == signal.SIGINT
        requests.stop = True

    def retry(_number: int, _frame: FrameType | None) -> None:
        requests.retry = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, stop)
    signal.signal(signal.SIGUSR1, retry)
    return requests


def _detach(pipeline: str, options: list[str], folder: RunFolder) -> None:
    if folder.is_held:
        record = folder.read()
        if record is not None and _try_again(record, pipeline, options, folder):
            return
    log = folder.log(_SUPERVISOR)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begins_at = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "run", pipeline, *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    typed = shlex.quote(pipeline)
    click.echo(f"starting, supervised by pid {process.pid}; log: {log}")

    def require_alive() -> None:
        if (status := process.poll()) is not None:
            with log.open("rb") as text:
                text.seek(begins_at)
                ended = end_of(status, text.read(_TAIL_BYTES).decode(errors="replace"))
            raise PenstockError(f"the run has ended: {ended.reason}", where=str(log), next=ended.next)

    _show_outcome(_await_settled(folder, typed, process.pid, require_alive), folder, typed)
    click.echo(f"next: penstock top {typed}; penstock logs {typed}; penstock stop {typed}")


def _try_again(record: RunRecord, pipeline: str, options: list[str], folder: RunFolder) -> bool:
    """Make a run try again what it gave up, and show the outcome; False if its supervisor does not live.

    Raises:
        PenstockError: if the run has other settings than this process, or something is given up again.
    """
    typed = shlex.quote(pipeline)
    if changed := changed_settings(record.supervisor):
        raise PenstockError(
            f"the run has the settings it was started with, and here other values are set: {', '.join(changed)}",
            where=f"pid {record.pid}",
            safe="nothing was changed; the run goes on as it is",
            next=f"penstock stop {typed}, then {shlex.join(['penstock', 'run', pipeline, *options, '--detach'])}",
        )
    if not send(record, signal.SIGUSR1):
        return False
    click.echo(f"{record.pipeline} runs already; what was given up is tried again")
    before = frozenset((part.name, part.since_ms) for part in record.parts if part.state in ("given up", "pausing"))

    def require_alive() -> None:
        if not record.supervisor.alive:
            raise PenstockError(
                "the run has ended", where=str(folder.log(_SUPERVISOR)), next=f"penstock logs {typed} {_SUPERVISOR}"
            )

    _show_outcome(_await_settled(folder, typed, record.pid, require_alive, before), folder, typed)
    return True


def _await_settled(
    folder: RunFolder,
    typed: str,
    pid: int,
    require_alive: Callable[[], None],
    before: Collection[tuple[str, int]] = (),
) -> RunRecord:
    """Wait until everything that can run does, or is given up.

    Args:
        folder: Of the run.
        typed: The pipeline, quoted.
        pid: The supervisor.
        require_alive: Raises if it has ended.
        before: Parts in a state that is to end first, each with since when it is in it.
    """
    deadline = time.monotonic() + _READY_S
    parts: tuple[PartRecord, ...] = ()
    while time.monotonic() < deadline:
        require_alive()
        record = folder.read()
        if record is not None and record.pid == pid:
            parts = tuple(part for part in record.parts if not _is_settled(part, before))
            if record.parts and not parts:
                return record
        time.sleep(_POLL_S)
    raise PenstockError(
        f"not everything runs after {_READY_S:.0f} s" + "".join(f"\n  - {_described(part)}" for part in parts),
        where=str(folder.path),
        safe="what runs goes on, and the rest is tried again",
        next=f"penstock ps; penstock logs {typed}",
    )


def _show_outcome(record: RunRecord, folder: RunFolder, typed: str) -> None:
    """Print the parts.

    Raises:
        PenstockError: if some were given up.
    """
    for part in record.parts:
        click.echo(f"  {_described(part)}")
    given_up = [part for part in record.parts if part.state == "given up"]
    if given_up:
        first = given_up[0]
        raise PenstockError(
            f"given up: {', '.join(part.name for part in given_up)}; {first.name}: {first.reason}",
            where=str(folder.log(first.name)),
            safe="the other parts go on",
            next=f"{first.next or f'penstock logs {typed} {first.name}'}; then penstock run {typed} --detach",
        )


def _described(part: PartRecord) -> str:
    """A part in a line: its state, and unless it runs well, why and what to do."""
    if part.state == "running":
        ended = "" if part.reason is None else f"; it had ended: {part.reason}"
        return f"{part.name:<15} running" + ("" if _is_settled(part) else f", but takes no records yet{ended}")
    why = "" if part.reason is None else f": {part.reason}"
    return f"{part.name:<15} {part.state}{why}" + (f"; next: {part.next}" if why and part.next else "")


def _is_settled(part: PartRecord, before: Collection[tuple[str, int]] = ()) -> bool:
    if (part.name, part.since_ms) in before:
        return False
    if part.state == "running":
        return part.ready or (part.port is None and part.name != FEATURES)
    return part.state in ("waiting", "given up", "stopped")
