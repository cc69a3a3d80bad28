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
from deploy.local.services.service import HOST
from deploy.local.stack import Stack
from examples.demo.command_runner import CommandRunner
from examples.demo.evidence import collect_evidence
from examples.demo.loop_act import Expected
from examples.demo.loop_reading import read_loop
from examples.demo.pipeline_demo import DemoParameters, DemoResult, run_pipeline_demo, write_by_pipeline
from examples.demo.rollout_act import Candidate
from examples.demo.screen import Screen
from examples.demo.summary import print_summary
from examples.flights.fault import COLUMN, in_seconds
from examples.flights.replay import messages as flight_messages
from examples.fraud.delivery import messages as fraud_messages
from examples.fraud.simulation import WorldConfig
from penstock.commands.exit_codes import ExitCode
from penstock.errors import PenstockError
from penstock.home import HOME_VARIABLE
from penstock.kafka.access import KafkaAccess
from penstock.paths import BUILD, ROOT
from penstock.settings import Settings
from schemas.registry import registry_schemas
from scoring.repository import ModelRepository
from streams.plan.project import open_project
from verify.report import Report

PIPELINES = ("fraud", "flights")
# One event for each of the 336,776 flights, and one label for each that arrived.
FLIGHT_MESSAGES = 336_776 + 327_346
_FRAUD = ROOT / "examples" / "fraud"
# How far labels fall decides between the first two; the third one is that of a wave of frauds before the drift.
_FRAUD_EXPECTED = Expected(
    causes=("concept-drift", "covariate-shift", "calibration"),
    rollout=_FRAUD / "rollout.yaml",
    gates=_FRAUD / "gates.toml",
)
_FRAUD_CANDIDATES = (
    Candidate(
        about="a version whose labels were mixed up",
        file=_FRAUD / "rollout_mixed_up.yaml",
        reason="another training function, and as accurate",
        outcome="rolled back",
        training=("--with", f"{_FRAUD / 'mixed_up_labels.py'}:train"),
    ),
)


@click.command()
@click.option("--full", is_flag=True, help="All 336,776 flights instead of a slice.")
@click.option("--only", type=click.Choice(PIPELINES), help="Run one pipeline instead of both.")
@click.option("--seed", default=7, show_default=True, help="Seed of the generated data and of the training.")
@click.option("--keep", is_flag=True, help="Leave the stack running afterwards, for inspection.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=BUILD / "demo",
    help="Folder of the stack, the logs and the report (default: build/demo).",
)
def demo(full: bool, only: str | None, seed: int, keep: bool, folder: Path) -> None:
    """Run both example pipelines on a local stack and verify them.

    Exits 0 only if the verifier finds no loss, no duplicate and no difference.
    """
    for closing in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(closing, _interrupt)
    console = Console()
    folder = _prepare_folder(folder.resolve())
    stack = Stack(folder / "stack", Ports.free(), brief=True)
    passed = False
    try:
        passed = _run(stack, _demo_parameters(full, seed, (only,) if only else PIPELINES), folder, console, seed)
    except KeyboardInterrupt:
        console.print("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    finally:
        if keep:
            console.print("The stack is still running. To inspect it, run:")
            for name, path in ((HOME_VARIABLE, stack.home), ("PENSTOCK_PII_KEY_FILE", folder / "pii.key")):
                click.echo(f"export {name}={shlex.quote(str(path))}")  # not wrapped, so that it can be copied
            console.print("To stop it, run:")
            click.echo(stack.command("down"))
        else:
            console.print("stopping the stack …", style="dim")
            # A second Ctrl-C must not leave servers running.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stack.down()
    sys.exit(ExitCode.DONE if passed else ExitCode.CHECK_FAILED)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _demo_parameters(full: bool, seed: int, names: tuple[str, ...]) -> list[DemoParameters]:
    live = 6_000
    # The slice ends before the blizzard of 8 February, which no training knows either.
    train, burst = (400_000, FLIGHT_MESSAGES - 400_000 - live) if full else (50_000, 12_000)
    fault = Expected(causes=("upstream-fault",), column=COLUMN, is_alone=not full)
    parameters = {
        "fraud": DemoParameters(
            "fraud",
            lambda: fraud_messages(seed),
            seed,
            train=60_000,
            burst=40_000,
            live=live,
            drift_from_ms=WorldConfig().drift_from_ms,
            expected=_FRAUD_EXPECTED,
            candidates=_FRAUD_CANDIDATES,
        ),
        "flights": DemoParameters(
            "flights",
            lambda: in_seconds(flight_messages(), train + burst),
            seed,
            train=train,
            burst=burst,
            live=live,
            expected=fault,
        ),
    }
    return [parameters[name] for name in names]


def _prepare_folder(folder: Path) -> Path:
    """Empty the demo's folder, so that the demo begins with empty topics, and return it.

    Raises:
        PenstockError: if the folder is not empty and was not made by a demo.
    """
    marker = folder / ".penstock-demo"
    if folder.exists() and any(folder.iterdir()):
        if not marker.exists():
            raise PenstockError(
                "the folder is not empty, and no demo has created it",
                where=str(folder),
                next="choose another --folder, or empty this one",
            )
        # A demo that was killed may have left its servers running.
        Stack(folder / "stack").down(wipe=True)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return folder


def _run(stack: Stack, parameters: list[DemoParameters], folder: Path, console: Console, seed: int) -> bool:
    """Run the pipelines, verify them, write the report and print the summary; returns whether all checks passed."""
    environment = stack.environment() | {"PENSTOCK_PII_KEY_FILE": str(_new_key(folder / "pii.key"))}
    job_metrics = f"http://{HOST}:{stack.ports['taskmanager_metrics']}/metrics"
    results = {}
    with Screen(console) as screen:
        screen.step("local stack: Kafka, Cassandra, Redis, Triton, Flink")
        stack.up(progress=lambda *_: screen.refresh())
        for one in parameters:
            results[one.pipeline] = run_pipeline_demo(one, environment, job_metrics, folder / one.pipeline, screen)
        measured_path, report_path = folder / "measured.json", folder / "report.json"
        write_by_pipeline({name: result.measured for name, result in results.items()}, measured_path)
        write_by_pipeline({name: result.timeline for name, result in results.items()}, folder / "timeline.json")
        rollouts = {name: result.rollouts for name, result in results.items() if result.rollouts is not None}
        write_by_pipeline(rollouts, folder / "rollouts.json")
        screen.clear()
        screen.step("verify: recompute everything from the raw events in a separate process")
        passed = _verify(environment, folder, results, measured_path, report_path, screen)
        report = Report.model_validate_json(report_path.read_text())
        screen.step("report: read the topics and write the page")
        _write_page(report, results, stack, folder / "report.html", seed)
        screen.finish()
    print_summary(report, rollouts, console, [_readable(path) for path in (folder / "report.html", report_path)])
    return passed


def _write_page(report: Report, results: Mapping[str, DemoResult], stack: Stack, path: Path, seed: int) -> None:
    # Matplotlib takes half a second to import, and only the report needs it.
    from examples.demo.report_page import PipelineRun, report_page  # noqa: PLC0415

    kafka = KafkaAccess(bootstrap=stack.environment()["PENSTOCK_KAFKA_BOOTSTRAP"])
    models = ModelRepository(Path(stack.environment()["PENSTOCK_MODEL_REPOSITORY"]))
    registry = registry_schemas(Settings().schema_registry_url)
    runs = {
        name: PipelineRun(
            result.measured,
            result.timeline,
            collect_evidence(open_project(name), kafka, models, result.measured, registry),
            result.rollouts,
            None
            if result.incident is None
            else read_loop(
                open_project(name), kafka, models, result.measured, registry, result.incident, result.began_ms
            ),
        )
        for name, result in results.items()
    }
    write_by_pipeline(
        {name: run.loop for name, run in runs.items() if run.loop is not None}, path.with_name("loop.json")
    )
    # The data of the plots, for other tools.
    write_by_pipeline({name: run.evidence for name, run in runs.items()}, path.with_name("evidence.json"))
    path.write_text(report_page(report, runs, shlex.join(["penstock", *sys.argv[1:]]), seed), encoding="utf-8")


def _readable(path: Path) -> str:
    """The path relative to the working directory if it lies below it, else as it is."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _new_key(path: Path) -> Path:
    """Write a new key for the keyed hash of personal data to a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def _verify(
    environment: dict[str, str],
    folder: Path,
    results: Mapping[str, DemoResult],
    measured: Path,
    report: Path,
    screen: Screen,
) -> bool:
    """Run ``penstock verify`` and return whether all checks passed."""
    folders = [(name, folder) for name, one in results.items() for folder in one.backfills]
    options = [option for name, folder in folders for option in ("--backfill", f"{name}={folder}")]
    options += ["--measured", str(measured), "--report", str(report)]
    with CommandRunner(environment, folder, screen.refresh) as commands:
        try:
            commands.call("verify", "verify", *results, *options)
        except PenstockError:
            # If there is a report, it lists the failed checks; if not, the verifier itself has failed.
            if not report.exists():
                raise
            return False
    return True
