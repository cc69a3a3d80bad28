"""Groups that import a command only when it is used, so that ``--help`` is fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class Entry:
    """A command that is imported when it is used.

    Args:
        target: ``module:attribute`` of the click command.
        summary: Its line in the help; if empty, the short help of the command, which is imported for it.
        section: Its heading in the help.
    """

    target: str
    summary: str = ""
    section: str = "Commands"

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.target} is not a click command")
        return command


class LazyGroup(click.Group):
    """A group of :class:`Entry`, listed in the order of the mapping, in sections."""

    def __init__(self, name: str, *, entries: Mapping[str, Entry], **options: Any) -> None:
        super().__init__(name, **options)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import a command."""
        entry = self.entries.get(cmd_name)
        return entry.load() if entry is not None else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write one list of commands per section."""
        limit = formatter.width - 6 - max(map(len, self.entries))
        for section in dict.fromkeys(entry.section for entry in self.entries.values()):
            rows = [
                (name, entry.summary or entry.load().get_short_help_str(limit))
                for name, entry in self.entries.items()
                if entry.section == section
            ]
            with formatter.section(section):
                formatter.write_dl(rows)
