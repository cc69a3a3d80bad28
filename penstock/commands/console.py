"""Where commands print tables: in a pipe or a file, no name is cut, no line is folded, and none ends with spaces."""

from __future__ import annotations

import io
import sys
from typing import IO, cast

from rich.console import Console

# rich assumes 80 columns where there is no terminal.
_WIDTH_WITHOUT_TERMINAL = 100_000


def console_on(stream: IO[str] | None = None, *, highlight: bool = True) -> Console:
    """A console as wide as the terminal, or as its content where there is none; on standard output by default."""
    stream = sys.stdout if stream is None else stream
    if stream.isatty():
        return Console(file=stream, highlight=highlight)
    return Console(file=cast("IO[str]", _Trimmed(stream)), width=_WIDTH_WITHOUT_TERMINAL, highlight=highlight)


class _Trimmed(io.TextIOBase):
    """Writes lines without the spaces at their ends, by which tables make all as long as the longest.

    rich writes whole lines at once.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        return self._stream.write("\n".join(line.rstrip(" ") for line in text.split("\n")))

    def flush(self) -> None:
        self._stream.flush()


def printable(text: str) -> str:
    """The text with characters that control a terminal as their escapes: it may be an event's."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
