"""`penstock demo`."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from examples.demo.evidence import gather
from examples.demo.run import DemoOutcome, Script, run_pipeline_demo, write_by_pipeline
from examples.demo.screen import Screen
from examples.demo.services import Services
from examples.demo.summary import show
from examples.flights.replay import messages as flight_messages
from examples.fraud.simulation import WorldConfig
from examples.fraud.world import messages as fraud_messages
from penstock.errors import PenstockError
from penstock.home import HOME_VARIABLE
from penstock.kafka.access import KafkaAccess
from penstock.paths import ROOT
from scoring.repository import ModelRepository
from streams.plan.project import open_project
from verify.report import Report

PIPELINES = ("fraud", "flights")
# One event for each of the 336,776 flights, and one label for each that arrived.
FLIGHT_MESSAGES = 336_776 + 327_346


@click.command()
@click.option("--full", is_flag=True, help="All 336,776 flights instead of a slice.")
@click.option("--only", type=click.Choice(PIPELINES), help="Show one pipeline instead of both.")
@click.option("--seed", default=7, show_default=True, help="Seed of the generated data and of the training.")
@click.option("--keep", is_flag=True, help="Leave the stack running afterwards, for inspection.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "build" / "demo",
    help="Where the stack, the logs and the report go (default: build/demo).",
)
def demo(full: bool, only: str | None, seed: int, keep: bool, folder: Path) -> None:
    """Run both example pipelines on a local stack and verify them.

    Exits 0 only if the verifier finds no loss, no duplicate and no difference.
    """
    for closing in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(closing, _interrupt)
    console = Console()
    folder = _emptied(folder.resolve())
    stack = Stack(folder / "stack", Ports.free())
    held = False
    try:
        held = _run(stack, _scripts(full, seed, (only,) if only else PIPELINES), folder, console, seed)
    except KeyboardInterrupt:
        console.print("interrupted")
        sys.exit(130)
    finally:
        if keep:
            console.print("the stack is up; to look around:")
            for name, path in ((HOME_VARIABLE, stack.home), ("PENSTOCK_PII_KEY_FILE", folder / "pii.key")):
                click.echo(f"export {name}={shlex.quote(str(path))}")  # whole, so that it can be copied
            console.print("to stop it:")
            click.echo(stack.command("down"))
        else:
            console.print("stopping the stack …", style="dim")
            # A second Ctrl-C must not leave servers behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stack.down()
    sys.exit(0 if held else 1)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _scripts(full: bool, seed: int, names: tuple[str, ...]) -> list[Script]:
    live = 6_000
    train, burst = (400_000, FLIGHT_MESSAGES - 400_000 - live) if full else (60_000, 24_000)
    scripts = {
        "fraud": Script(
            "fraud",
            lambda: fraud_messages(seed),
            seed,
            train=60_000,
            burst=24_000,
            live=live,
            drift_from_ms=WorldConfig().drift_from_ms,
        ),
        "flights": Script("flights", flight_messages, seed, train=train, burst=burst, live=live),
    }
    return [scripts[name] for name in names]


def _emptied(folder: Path) -> Path:
    """Empty the demo's folder, so that the demo begins with empty topics.

    Raises:
        PenstockError: if the folder is not empty and was not made by a demo.
    """
    marker = folder / ".penstock-demo"
    if folder.exists() and any(folder.iterdir()):
        if not marker.exists():
            raise PenstockError(
                "the folder is not empty, and is not that of a demo",
                where=str(folder),
                next="name another --folder, or empty this one",
            )
        # A demo that was killed may have left its servers running.
        Stack(folder / "stack").down(wipe=True)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return folder


def _run(stack: Stack, scripts: list[Script], folder: Path, console: Console, seed: int) -> bool:
    environment = stack.environment() | {"PENSTOCK_PII_KEY_FILE": str(_new_key(folder / "pii.key"))}
    played = {}
    with Screen(console) as screen:
        screen.step("local stack: Kafka, Cassandra, Redis, Triton, Flink")
        stack.up(progress=lambda *_: screen.refresh())
        for script in scripts:
            played[script.pipeline] = run_pipeline_demo(script, environment, folder / script.pipeline, screen)
        measured_path, report_path = folder / "measured.json", folder / "report.json"
        write_by_pipeline({name: one.measured for name, one in played.items()}, measured_path)
        write_by_pipeline({name: one.timeline for name, one in played.items()}, folder / "timeline.json")
        screen.clear()
        screen.step("verify: another process, from the raw events")
        held = _verify(environment, folder, played, measured_path, report_path, screen)
        report = Report.model_validate_json(report_path.read_text())
        screen.step("report: what the topics say, on one page")
        _write_page(report, played, stack, folder / "report.html", seed)
        screen.finish()
    show(report, console, [_readable(path) for path in (folder / "report.html", report_path)])
    return held


def _write_page(report: Report, played: Mapping[str, DemoOutcome], stack: Stack, path: Path, seed: int) -> None:
    # Matplotlib takes half a second to import, and only the report needs it.
    from examples.demo.page import PipelineRun, page  # noqa: PLC0415

    kafka = KafkaAccess(bootstrap=stack.environment()["PENSTOCK_KAFKA_BOOTSTRAP"])
    models = ModelRepository(Path(stack.environment()["PENSTOCK_MODEL_REPOSITORY"]))
    seen = {
        name: PipelineRun(one.measured, one.timeline, gather(open_project(name), kafka, models, one.measured))
        for name, one in played.items()
    }
    # The data of the plots, for other tools.
    write_by_pipeline({name: one.evidence for name, one in seen.items()}, path.with_name("evidence.json"))
    path.write_text(page(report, seen, shlex.join(["penstock", *sys.argv[1:]]), seed), encoding="utf-8")


def _readable(path: Path) -> str:
    """The path relative to the working directory if it lies below it, else as it is."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _new_key(path: Path) -> Path:
    """A fresh key for the keyed hash of personal data, in a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def _verify(
    environment: dict[str, str],
    folder: Path,
    played: Mapping[str, DemoOutcome],
    measured: Path,
    report: Path,
    screen: Screen,
) -> bool:
    backfills = [argument for name, one in played.items() for argument in ("--backfill", f"{name}={one.backfill}")]
    with Services(environment, folder, screen.refresh) as services:
        try:
            services.call("verify", "verify", *played, *backfills, "--measured", str(measured), "--report", str(report))
        except PenstockError:
            # The report lists the failed checks; without a report the verifier itself has failed.
            if not report.exists():
                raise
            return False
    return True
