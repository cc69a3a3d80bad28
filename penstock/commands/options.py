"""Options and parameter types that several commands share."""

from __future__ import annotations

import click

from penstock.time import parse


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


metrics_option = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    envvar="PENSTOCK_METRICS_PORT",
    show_envvar=True,
    help="Serve /metrics and /healthz on this port (0: a free port, named in the log).",
)

skip_deleted_option = click.option(
    "--skip-deleted",
    is_flag=True,
    help="Go on although Kafka deleted records before they were read; they are counted, and lost for good.",
)
