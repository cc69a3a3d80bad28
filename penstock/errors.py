"""The base class of every error that Penstock reports to users, and how its next step names the pipeline."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.paths import STRONG

# The commands that take the strong model of a cascade by itself.
_OF_ONE_MODEL = re.compile(r"penstock\s+model\s+(?!band\b|regret\b)")


class PenstockError(Exception):
    """An error that a user can act upon; the command line prints it without a traceback and exits with code 1.

    Args:
        what: What happened, one sentence, no trailing full stop needed.
        where: The location: `topic[partition]@offset`, a file, a field, `host:port`.
        safe: The data that is not lost or damaged, where a user might doubt it.
        next: The next command to run, or what else to do.
        kept: What happened, as it may be written down for later; give it where ``what`` may quote values of records.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        safe: str | None = None,
        next: str | None = None,  # noqa: A002 - the name of the field in every call and message
        kept: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.safe = safe
        self.next = next
        self.kept = what if kept is None else kept
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        for label, text in (("where", self.where), ("safe", self.safe), ("next", self.next)):
            if text:
                lines.append(f"  {label + ':':<7}{text}")
        return "\n".join(lines)


@contextmanager
def naming(reference: str) -> Iterator[None]:
    """Put ``reference`` for the word PIPELINE in the next step of an error: code below knows no references.

    A command that does not take ``:strong`` gets the name of the pipeline without it.
    """
    try:
        yield
    except PenstockError as error:
        if error.next:
            named = re.sub(r"\bPIPELINE\b", lambda _: shlex.quote(reference), error.next)
            error.next = "".join(map(_typed, re.split(r"(?=\bpenstock )", named)))
        raise


def _typed(text: str) -> str:
    """A text that may begin with a command, as it can be typed."""
    return text if _OF_ONE_MODEL.match(text) else re.sub(rf"(?<=\S){STRONG}\b", "", text)
