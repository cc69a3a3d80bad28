"""Who asks for a change, and why: the options that every change of a rollout has."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from scoring.rollout.judge import AUTHOR
from scoring.rollout.transitions import By


class _Words(click.ParamType):
    """A text that says something."""

    name = "TEXT"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse a blank text, and bytes that are none."""
        if any("\ud800" <= character <= "\udfff" for character in value):
            self.fail("It must be UTF-8.", param, ctx)
        return value.strip() or self.fail("It must not be blank.", param, ctx)


class _Person(_Words):
    """An author that is not the controller."""

    name = "NAME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse the controller's name: whatever it publishes rests on evidence."""
        author = super().convert(value, param, ctx)
        if author == AUTHOR:
            self.fail(f"{AUTHOR} is the author of what it decides itself.", param, ctx)
        return author


def signed_options(
    kept: str = "it stays in the log for ever", *, required: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of what somebody answers for: why, and by whom; ``kept`` says what becomes of the reason."""
    reason = click.option("--reason", required=required, type=_Words(), help=f"Why; {kept}.")
    author = click.option(
        "--author",
        metavar="NAME",
        type=_Person(),
        envvar="PENSTOCK_AUTHOR",
        default=lambda: f"{_user()}@{socket.gethostname()}",
        help="By whom (default: PENSTOCK_AUTHOR, or user@host).",
    )
    return lambda command: reason(author(command))


def by_now(author: str, reason: str) -> By:
    """The same, as of now."""
    return By(author, reason, time.time_ns() // 1_000_000)


def _user() -> str:
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        return getpass.getuser()
    return str(os.getuid())
