"""``penstock model check``: judges a version by the gates."""

from __future__ import annotations

import functools
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from rich.table import Table
from rich.text import Text

from backfill.parquet import read_backfill
from penstock.commands.console import console_on
from penstock.commands.errors import model_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import source_option
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.settings import Settings
from scoring.gates.gates import Limits, Verdict
from scoring.gates.report import Report, as_json, as_junit, as_markdown, evidence
from streams.plan.project import open_project

_COLOURS = {
    Verdict.PASS: "green",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.FAIL: "red",
    Verdict.SKIPPED: "bright_black",
    Verdict.NOT_JUDGED: "bright_black",
}


def _print_text(report: Report) -> None:
    table = Table("", "gate", "where", "n", "measured", "passes", box=None, pad_edge=False)
    for one in report.results:
        cell = Text(one.verdict.value, style=_COLOURS[one.verdict])
        table.add_row(cell, one.gate, one.where, f"{one.n:,}", evidence(one), one.limit)
    console_on(highlight=False).print(table)
    against = "" if report.against is None else f" against {report.compared_with}"
    verdict = click.style(report.verdict.value, fg=_COLOURS[report.verdict], bold=True)
    events = counted(report.events, "later labelled event")
    click.echo(f"{report.model} version {report.version}{against}, on {events}: {verdict}")


FORMATS: Mapping[str, Callable[[Report], None]] = {
    "text": _print_text,
    "json": lambda report: click.echo(as_json(report)),
    "junit": lambda report: click.echo(as_junit(report), nl=False),
    "markdown": lambda report: click.echo(as_markdown(report), nl=False),
}
# What pydantic's kinds of errors mean in a file of gates, by how they begin.
_WORDS = {
    "extra_forbidden": "there is no such field",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
    "finite_number": "must be a number",
    "float": "must be a number",
    "int": "must be a whole number",
    "string": "must be a text in quotes",
    "tuple": "must be a list in brackets",
    "missing": "must be two numbers",
    "too_long": "has too many values",
}
EXIT_CODES = {
    Verdict.PASS: ExitCode.DONE,
    Verdict.FAIL: ExitCode.REFUSED,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}
gates_option = click.option(
    "--gates",
    "limits",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A TOML file with other limits than the defaults.",
)


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options ``--json``, ``--junit`` and ``--markdown`` of a report, given to the command as ``form``."""

    @functools.wraps(command)
    def run(*arguments: Any, form: str | None, **options: Any) -> Any:
        return command(*arguments, form=form or "text", **options)

    chosen: Callable[..., Any] = run
    for form, text in (("markdown", "Markdown, for people"), ("junit", "JUnit's XML, for CI"), ("json", "JSON")):
        chosen = click.option(f"--{form}", "form", flag_value=form, help=f"Print {text} in place of text.")(chosen)
    return chosen


@click.command()
@model_argument
@click.option(
    "--backfill",
    "folder",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Features whose labelled events are later than the training, written by `penstock backfill run`.",
)
@click.option("--version", type=click.IntRange(min=1), help="Default: the newest.")
@click.option(
    "--against", type=click.IntRange(min=1), help="The version to compare with (default: the one that is served)."
)
@source_option
@gates_option
@click.option("--seed", type=int, default=0, show_default=True, help="For the intervals that are drawn.")
@report_options
def check(
    pipeline: str,
    folder: Path,
    version: int | None,
    against: int | None,
    archive: str | None,
    limits: Path | None,
    seed: int,
    *,
    form: str,
) -> None:
    """Judge a version by the gates, on labelled events that it was not trained on.

    Exits with 0 if every gate passes, with 10 if one refuses the version, and with 11 if one cannot tell. The report is
    stored beside the version.
    """
    from backfill.judging import judge_version  # noqa: PLC0415 - slow to import
    from backfill.model_check import CheckRequest  # noqa: PLC0415

    request = CheckRequest(version, against, limits_in(limits), seed, archive)
    now_ms = int(time.time() * 1_000)
    report, _ = judge_version(open_project(pipeline), Settings(), read_backfill(folder), request, now_ms, tell)
    FORMATS[form](report)
    sys.exit(EXIT_CODES[report.verdict])


def tell(step: str) -> None:
    """Say on standard error what takes a while."""
    click.echo(f"{step} ...", err=True)


def limits_in(file: Path | None) -> Limits:
    """The limits in a file of gates.

    Raises:
        PenstockError: if it is none.
    """
    if file is None:
        return Limits()
    try:
        return Limits.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PenstockError(f"the file of gates is no TOML: {error}", where=str(file)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise PenstockError(
            f"{field}: {_in_words(first)}" if field else _in_words(first),
            where=str(file),
            next=f"the fields are {', '.join(Limits.model_fields)}",
        ) from error


def _in_words(error: ErrorDetails) -> str:
    """What is wrong with a value, as people say it."""
    kind, given = error["type"], error.get("ctx", {})
    for beginning, text in _WORDS.items():
        if kind.startswith(beginning):
            return text.format(**given)
    return error["msg"]
