"""`penstock up | down | status | logs`."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.local.ports import Ports, parse_overrides
from deploy.local.services import PROGRAMS, SERVICES
from deploy.local.stack import Stack, select_services
from penstock.commands.console import console_on
from penstock.commands.exit_codes import ExitCode
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.home import HOME_VARIABLE
from penstock.paths import DEFAULT_HOME, IS_CHECKOUT

_STYLES = {"ready": "green", "starting": "yellow", "preparing": "dim", "waiting": "dim"}

_USUAL = "build/stack" if IS_CHECKOUT else "~/.penstock/stack"
_home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_HOME,
    envvar=HOME_VARIABLE,
    help=f"The folder of the stack; also {HOME_VARIABLE} (default: {_USUAL}).",
)


def _port_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "--free-ports",
        is_flag=True,
        help="Use free ports, for a stack beside another one; a stack that runs keeps its own.",
    )(command)
    return click.option(
        "--port",
        "port",
        multiple=True,
        metavar="NAME=PORT",
        help="Another port for a service from now on, e.g. kafka=29092; also PENSTOCK_PORTS, comma separated.",
    )(command)


@click.command()
@_home_option
@_port_options
@click.option(
    "--only",
    metavar="NAMES",
    help=f"Start only these services and those that they need, comma separated: {', '.join(SERVICES)}.",
)
@click.option("--timeout", type=float, default=120, show_default=True, help="Seconds for each program to become ready.")
def up(home: Path, port: tuple[str, ...], free_ports: bool, only: str | None, timeout: float) -> None:
    """Start the local stack and wait until every service is healthy.

    Running services keep running. If a port is in use, nothing starts.
    """
    stack = Stack(home, _ports(home, port, free_ports))
    was_running = stack.running
    names = [name.strip() for name in only.split(",") if name.strip()] if only else None
    progress_table = _ProgressTable(
        [program.name for service in select_services(names) for program in service.programs]
    )
    try:
        with progress_table:
            stack.up(names, progress=progress_table.report, timeout_s=timeout)
    except KeyboardInterrupt:
        if not was_running:
            click.echo("interrupted: stopping the services that were started", err=True)
            stack.down()
        sys.exit(ExitCode.INTERRUPTED)
    click.echo("  ".join(service.address(stack.ports) for service in SERVICES.values() if service.address))
    if not _is_used_by_other_commands(stack):
        click.echo(f"for other commands to use this stack: export {HOME_VARIABLE}={shlex.quote(str(stack.home))}")


@click.command()
@_home_option
@click.option("--wipe", is_flag=True, help="Also delete the stack's folder with all its data.")
def down(home: Path, wipe: bool) -> None:
    """Stop the local stack, also processes left by a killed one."""
    started = time.monotonic()
    stack = Stack(home)
    if not home.exists():
        click.echo(f"nothing to stop: there is no stack in {home}")
        return
    count = stack.down(wipe=wipe)
    done = f"stopped {counted(count, 'process', 'processes')}" if count else "nothing was running"
    click.echo(f"{done} in {time.monotonic() - started:.1f} s" + ("; data deleted" if wipe else ""))


@click.command()
@_home_option
@click.option("--env", "show_environment", is_flag=True, help="Print the PENSTOCK_* variables of this stack instead.")
def status(home: Path, show_environment: bool) -> None:
    """Show every program's state. Exits with 0 if a program runs and all running ones are healthy, else with 3."""
    stack = Stack(home)
    if show_environment:
        for name, value in stack.environment().items():
            click.echo(f"export {name}={shlex.quote(value)}")
        return
    rows = stack.status()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("program", "state", "pid", "up", "ports", "health"):
        table.add_column(title, justify="right" if title in {"pid", "up"} else "left")
    for row in rows:
        style = "green" if row.healthy else ("red" if row.pid else "dim")
        table.add_row(
            row.name,
            Text(row.state, style=style),
            str(row.pid or ""),
            _duration(row.uptime_s) if row.pid else "",
            " ".join(f"{name.removeprefix(row.service + '_')}:{port}" for name, port in row.ports.items()),
            Text(row.detail if row.pid else "", style=style),
        )
    console_on(sys.stdout).print(table)
    running = [row for row in rows if row.pid]
    if not running:
        click.echo(f"the stack is down; start it with: {stack.command('up')}", err=True)
    is_healthy = bool(running) and all(row.healthy for row in running)
    sys.exit(ExitCode.DONE if is_healthy else ExitCode.CHECK_FAILED)


@click.command()
@_home_option
@click.argument("name", metavar="PROGRAM|PIPELINE")
@click.argument("part", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines.")
@click.option("-n", "--lines", type=int, default=100, show_default=True, help="The number of lines, from the end.")
def logs(home: Path, name: str, part: str | None, follow: bool, lines: int) -> None:
    """Print the log of a program of the stack, or of what `penstock run` runs.

    PROGRAM is one of `penstock status`, or supervisord, which runs them. The logs of a PIPELINE are those of its parts,
    as in `penstock ps`, or of one PART; supervisor has what became of them. Name a pipeline that is called like a
    program by its file.
    """
    paths = [_log_of_program(home, name)] if name in (*PROGRAMS, "supervisord") else _logs_of_run(name, part)
    # Replaces this process by tail, so that a signal to the command ends tail.
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, paths)])  # noqa: S606


def _log_of_program(home: Path, name: str) -> Path:
    stack = Stack(home)
    path = stack.log(name)
    if not path.exists():
        raise PenstockError(f"{name} has not logged anything yet", where=str(path), next=stack.command("up"))
    return path


def _logs_of_run(reference: str, part: str | None) -> list[Path]:
    # These imports take a while, and the commands of the stack do not need them.
    from penstock.running.record import RunFolder  # noqa: PLC0415
    from streams.definitions.loading import load_pipeline  # noqa: PLC0415

    folder = RunFolder.of(load_pipeline(reference).name)
    found = folder.logs()
    if part is not None and part in found:
        return [found[part]]
    if part is None and found:
        return list(found.values())
    raise PenstockError(
        "there is no log" if part is None else f"{part} has no log; there are: {', '.join(found) or 'none'}",
        where=str(folder.path),
        next=f"penstock run {reference}",
    )


def _is_used_by_other_commands(stack: Stack) -> bool:
    """Whether other commands in this shell use this stack."""
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).resolve() == stack.home
    return stack.home == DEFAULT_HOME and stack.ports == Ports()


def _ports(home: Path, options: tuple[str, ...], free: bool) -> Ports | None:
    """The ports, in order of precedence: options, PENSTOCK_PORTS, free ones, the ports of the last start, defaults.

    A stack that runs keeps its ports where free ones are asked for.
    """
    overrides = {**parse_overrides([os.environ.get("PENSTOCK_PORTS", "")]), **parse_overrides(options)}
    if not overrides and not free:
        return None
    stack = Stack(home)
    base = Ports.free() if free and not stack.running else stack.ports
    return base.with_overrides(overrides)


class _ProgressTable:
    """The progress of a start: a table that updates in place on a terminal, a line per event elsewhere."""

    def __init__(self, names: list[str]) -> None:
        self._started = time.monotonic()
        self._rows = dict.fromkeys(names, ("waiting", "", 0.0))
        self._console = console_on(sys.stdout)
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=8)

    def __enter__(self) -> None:
        if self._console.is_terminal:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def report(self, name: str, stage: str, detail: str) -> None:
        elapsed = time.monotonic() - self._started
        self._rows[name] = (stage, detail, elapsed)
        if not self._console.is_terminal and stage == "ready":
            # One write: several threads report.
            click.echo(f"{elapsed:6.1f} s  {name:<12} ready  {detail}")

    def _table(self) -> Table:
        now = time.monotonic() - self._started
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, (stage, detail, at) in self._rows.items():
            seconds = at if stage == "ready" else now
            table.add_row(name, Text(stage, style=_STYLES[stage]), f"{seconds:5.1f} s", Text(detail, style="dim"))
        return table


def _duration(seconds: float) -> str:
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}h{minutes:02d}m" if hours else (f"{minutes}m{secs:02d}s" if minutes else f"{secs}s")
