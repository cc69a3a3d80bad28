"""Groups whose commands are imported when they are used: ``--help`` must not load what a command needs."""

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
        summary: What help says of it; empty: the command's own short help, for which it is imported.
        section: The heading of help under which it stands.
    """

    target: str
    summary: str = ""
    section: str = "Commands"

    def load(self) -> click.Command:
        """Imports the command."""
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
        """Imports a command."""
        entry = self.entries.get(cmd_name)
        return entry.load() if entry is not None else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """One section per purpose."""
        limit = formatter.width - 6 - max(map(len, self.entries))
        for section in dict.fromkeys(entry.section for entry in self.entries.values()):
            rows = [
                (name, entry.summary or entry.load().get_short_help_str(limit))
                for name, entry in self.entries.items()
                if entry.section == section
            ]
            with formatter.section(section):
                formatter.write_dl(rows)
