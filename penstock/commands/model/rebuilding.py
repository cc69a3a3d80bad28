"""``penstock model rebuild``: makes a version again from its manifest, and compares it byte for byte."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError
from backfill.run import run_backfill
from backfill.run_again import plan_again
from penstock.commands.errors import model_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.model.made_again import Made, Sources, rebuild
from penstock.commands.model.manifests import print_line
from penstock.commands.model.versions import version_argument
from penstock.commands.options import json_option, source_option
from penstock.errors import PenstockError
from penstock.settings import Settings
from scoring.rebuilding import Comparison, named
from scoring.recipe import DataRecipe
from scoring.repository import ModelRepository
from scoring.version_files import MANIFEST_FILE, write_hashes
from streams.plan.project import Project, open_project


def _file(name: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(name, type=click.Path(path_type=Path, exists=True, dir_okay=False), help=text)


@click.command("rebuild")
@model_argument
@version_argument
@click.option(
    "--backfill",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The features that it was trained on (default: run the backfill again, for the offsets of that time).",
)
@source_option
@click.option("--with", "trainer", metavar="FUNCTION", help="Where the function that trained it is now, if it moved.")
@_file("--onnx", "The file that an imported version was made of.")
@_file("--check-rows", "The rows that an imported version was checked with.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Keep what was made in this new folder.")
@json_option
def rebuild_command(
    pipeline: str,
    version: int,
    folder: Path | None,
    archive: str | None,
    trainer: str | None,
    onnx: Path | None,
    check_rows: Path | None,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Make a version again from what its manifest says, and compare the files of the model byte for byte.

    Exits with 0 if they have the same bytes, and with 3 if not: then it names what differs, and what has changed since
    the version was made. The registry is not touched.
    """
    project, settings = open_project(pipeline), Settings()
    repository = ModelRepository(settings.model_repository)
    if out is not None:
        _require_new(out, repository.root)
    sources = Sources(folder, archive, trainer, onnx, check_rows, _replay)
    comparison, made = rebuild(project, settings, repository, version, sources, int(time.time() * 1_000))
    if made is None:
        out = None
    elif out is not None:
        _keep(out, project.pipeline.model.name, version, made)
    _print(project.pipeline.model.name, version, comparison, out, as_json=as_json)
    sys.exit(ExitCode.DONE if comparison.is_same else ExitCode.CHECK_FAILED)


def _replay(project: Project, settings: Settings, data: DataRecipe, folder: Path, archive: str | None) -> None:
    """Run the backfill of then; a signal cancels its job."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    request = plan_again(project, data, folder, archive)
    try:
        with ProgressBar(Console(stderr=True)) as progress:
            run_backfill(project, settings, request, folder, progress, stop)
    except StoppedError:
        click.echo("\nstopped; nothing was made", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)


def _require_new(out: Path, repository: Path) -> None:
    """Check that a folder is new or empty, and not in the registry."""
    if out.resolve().is_relative_to(repository.resolve()):
        raise click.BadParameter(f"{out} is in the model repository, which is not touched.", param_hint="--out")
    if out.is_dir() and any(out.iterdir()):
        raise click.BadParameter(f"{out} is not empty.", param_hint="--out")


def _keep(out: Path, model: str, version: int, made: Made) -> None:
    """Write what was made to a folder, which appears complete or not at all."""
    content = {"model": model, "version": version, **made.manifest.model_dump(mode="json")}
    files = {**made.files, MANIFEST_FILE: (json.dumps(content, indent=2) + "\n").encode()}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=out.parent) as partial:
            whole = Path(partial) / "version"
            whole.mkdir()
            for name, of in files.items():
                (whole / name).write_bytes(of)
            write_hashes(whole)
            whole.rename(out)  # over an empty folder, too
    except OSError as error:
        raise PenstockError(
            f"what was made cannot be kept: {error.strerror}",
            where=str(out),
            safe="the version and the registry are as they were",
            next="give another folder with --out, on a disk with space",
        ) from error


def _print(model: str, version: int, comparison: Comparison, out: Path | None, *, as_json: bool) -> None:
    if as_json:
        content = {
            "model": model,
            "version": version,
            "same": comparison.is_same,
            "files": dict(comparison.files),
            "differences": named(comparison.differences),
            "changes": named(comparison.changes),
            "out": None if out is None else str(out),
        }
        click.echo(json.dumps(content, indent=2))
        return
    print_line("model", click.style(f"{model} version {version}", bold=True))
    differing = {difference.where for difference in comparison.differences}
    for name, of in comparison.files.items():
        if name not in differing:
            print_line("same bytes", f"{name}, SHA-256 {of[:16]}")
    for difference in comparison.differences:
        print_line("differs", f"{difference.where}: {difference.what}")
    for change in comparison.changes:
        print_line("changed", f"{change.where}: {change.what}")
    if out is not None:
        print_line("kept in", str(out))
    if comparison.is_same:
        print_line("result", click.style("the same version, byte for byte", fg="green", bold=True))
    elif comparison.files:
        print_line("result", click.style("not the same version", fg="red", bold=True))
    else:
        text = "not made again: what it was made of is not what it was"
        print_line("result", click.style(text, fg="red", bold=True))
