"""Shell blocks as command lines, without running them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from tests.docs.pages import Snippet

_SEPARATORS = {"|", "||", "&&", ";", "&", "(", ")"}
_REDIRECTIONS = {">", "<", ">>"}
_ASSIGNMENT = re.compile(r"\w+=")
# The services of docker-compose.yml whose entry point is `penstock`.
_CONTAINERS = ("penstock", "penstock-jobs")


@dataclass(frozen=True)
class Command:
    """One command: its words without redirections and assignments of variables, and where a page has it."""

    place: str
    words: tuple[str, ...]


def commands(block: Snippet) -> list[Command]:
    """The commands of a shell block. Usage notation reads as if every optional part were given once."""
    text = block.text.replace("\\\n", " ")
    found: list[Command] = []
    for logical in _lines(text):
        lexer = shlex.shlex(_usage(logical), posix=True, punctuation_chars="|&;()<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in _SEPARATORS:
                if words:
                    found.append(Command(block.place, tuple(_without_redirections(words))))
                words = []
            elif words or not _ASSIGNMENT.match(word):
                words.append(word)
    return found


def penstock_arguments(command: Command) -> tuple[str, ...] | None:
    """What ``penstock`` is given by this command, directly or in a container; None if it is another program."""
    words = command.words
    if words[:2] == ("docker", "compose") and "run" in words:
        rest = [word for word in words[words.index("run") + 1 :] if word not in ("--rm", "-T")]
        return tuple(rest[1:]) if rest and rest[0] in _CONTAINERS else None
    return words[1:] if words and words[0].rpartition("/")[2] == "penstock" else None


def _lines(text: str) -> list[str]:
    """The lines of a script; one with an open quote goes on."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and lines[-1].count('"') % 2:
            lines[-1] += "\n" + line
        else:
            lines.append(line)
    return [line for line in lines if line.strip()]


def _usage(line: str) -> str:
    """``[--view NAME]...`` as ``--view NAME``."""
    return re.sub(r"\[(-[^\]]*)\](?:\.\.\.)?", r"\1", line)


def _without_redirections(words: list[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if word in _REDIRECTIONS:
            skip = True
        elif skip:
            skip = False
        else:
            kept.append(word)
    return kept
