"""Prints errors on standard error, for the command line and for commands that report several."""

from __future__ import annotations

import click

from penstock.errors import PenstockError


def print_error(error: PenstockError) -> None:
    """Print an error in the form of ``str(error)``, with coloured labels on a terminal."""
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(error.what, err=True)
    for label, text in (("where", error.where), ("safe", error.safe), ("next", error.next)):
        if text:
            click.secho(f"  {label + ':':<7}", dim=True, nl=False, err=True)
            click.echo(text, err=True)
