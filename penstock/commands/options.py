"""Options and parameter types that several commands share."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

from penstock.time import parse
from streams.definitions.windows import duration_ms


class EventTime(click.ParamType):
    """Epoch milliseconds (13 digits), or ISO 8601 (UTC unless it has an offset)."""

    name = "MS|ISO"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert the text to epoch milliseconds."""
        if isinstance(value, int):
            return value
        try:
            return parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DurationType(click.ParamType):
    """A duration, such as 30s or 15m."""

    name = "DURATION"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert the text to milliseconds."""
        if isinstance(value, int):
            return value
        try:
            return duration_ms(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class NewFile(click.Path):
    """A file that the command writes at its end; whether it can is checked before the work."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False, writable=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Check that the file can be written."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        folder = path.parent
        if not folder.is_dir():
            self.fail(f"Folder {str(folder)!r} does not exist.", param, ctx)
        if not path.exists() and not os.access(folder, os.W_OK):
            self.fail(f"Folder {str(folder)!r} is not writable.", param, ctx)
        return path


class Finite(click.FloatRange):
    """A number of a range, which "nan" and "inf" are not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert the text to a number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


metrics_option = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    envvar="PENSTOCK_METRICS_PORT",
    show_envvar=True,
    help="Serve /metrics and /healthz on this port (0: a free port, named in the log).",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON in place of text.")

skip_deleted_option = click.option(
    "--skip-deleted",
    is_flag=True,
    help="Go on although Kafka deleted records before they were read; they are counted, and lost for good.",
)

source_option = click.option(
    "--source",
    "archive",
    default="kafka",
    metavar="kafka|ARCHIVE",
    show_default=True,
    callback=lambda _context, _option, value: None if value == "kafka" else value,
    help="Read topics from Kafka; or from an archive (its folder or URL), which also has what Kafka has deleted.",
)
"""Gives the command ``archive``: the folder or URL; None for Kafka alone."""
