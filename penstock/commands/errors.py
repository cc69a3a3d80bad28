"""Errors as the command line shows them: with the pipeline as the user typed it, on standard error."""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Callable
from typing import Any

import click

from penstock.errors import PenstockError, naming
from penstock.paths import STRONG


def print_error(error: PenstockError) -> None:
    """Print an error in the form of ``str(error)``, with coloured labels on a terminal."""
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(error.what, err=True)
    for label, text in (("where", error.where), ("safe", error.safe), ("next", error.next)):
        if text:
            click.secho(f"  {label + ':':<7}", dim=True, nl=False, err=True)
            click.echo(text, err=True)


def warn(what: str, next_step: str) -> None:
    """Print what is wrong although the command has succeeded, and what to do."""
    click.secho("warning: ", fg="yellow", bold=True, nl=False, err=True)
    click.echo(what, err=True)
    click.secho("  next:  ", dim=True, nl=False, err=True)
    click.echo(next_step, err=True)


def warn_of_future(to_ms: int, what: str) -> None:
    """Warn if a range ends in the future: what is complete without later events does not get them afterwards."""
    if to_ms > time.time_ns() // 1_000_000:
        warn(
            f"the range ends in the future: events that are still to come are not in {what}, and never will be",
            "another --out when the range is over, or give --to no later than now",
        )


def pipeline_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument PIPELINE of a command, whose errors name the pipeline as it was typed.

    ``:strong`` behind it is refused.
    """

    @functools.wraps(command)
    def run(*args: Any, pipeline: str, **options: Any) -> Any:
        require_pipeline(pipeline)
        return command(*args, pipeline=pipeline, **options)

    return model_argument(run)


def model_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument PIPELINE of a command for models: ``:strong`` behind it names the strong model of its cascade."""

    @click.argument("pipeline")
    @functools.wraps(command)
    def run(*args: Any, pipeline: str, **options: Any) -> Any:
        with naming(pipeline):
            return command(*args, pipeline=pipeline, **options)

    return run


def require_pipeline(reference: str) -> None:
    """Check that what was typed names a pipeline, and not the strong model of its cascade.

    Raises:
        PenstockError: if ``:strong`` is behind it.
    """
    if reference.endswith(STRONG):
        raise PenstockError(
            f"{STRONG} names the strong model, for commands of `penstock model` other than band and regret",
            where=reference,
            next=f"type {shlex.quote(reference.removesuffix(STRONG))}",
        )
