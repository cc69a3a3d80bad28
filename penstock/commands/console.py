"""Where commands print tables: in a pipe or a file, no name is cut and no line is folded."""

from __future__ import annotations

import sys
from typing import IO

from rich.console import Console

# rich assumes 80 columns where there is no terminal.
_WIDTH_WITHOUT_TERMINAL = 100_000


def console_on(stream: IO[str] | None = None, *, highlight: bool = True) -> Console:
    """A console as wide as the terminal, or as its content where there is none; on standard output by default."""
    stream = sys.stdout if stream is None else stream
    return Console(file=stream, width=None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=highlight)


def printable(text: str) -> str:
    """The text with characters that control a terminal as their escapes: it may be an event's."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
