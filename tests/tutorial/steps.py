"""The tutorial as data: files to save and commands to run, in order, with the output that the page shows. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from tests.docs.pages import Snippet, blocks

# A Python block of the page that a reader saves: `# Needs an empty folder: ask.py`, or `# shop/labels.py`.
_FILE = re.compile(r"# (?:Needs [^:\n]*: )?([\w/]+\.py)\n")
# What differs between runs: measures, seconds.
_FRACTION = re.compile(r"\d+\.\d+")
_GAP = "..."


@dataclass(frozen=True)
class Step:
    """A file to save (``name``, ``text``), or command lines that print ``shown`` together."""

    place: str
    name: str = ""
    text: str = ""
    commands: tuple[str, ...] = ()
    shown: str = ""


def steps_of(page: Path) -> list[Step]:
    """The steps of a page. A text block is the output of the commands of the block before it."""
    steps: list[Step] = []
    for block in blocks(page):
        if block.language == "python":
            found = _FILE.match(block.text)
            assert found, f"{block.place}: the first line of the block does not say where to save it"
            steps.append(Step(block.place, name=found[1], text=block.text))
        elif block.language == "bash":
            steps.append(Step(block.place, commands=_lines(block)))
        elif block.language == "text":
            steps[-1] = replace(steps[-1], shown=block.text)
    return steps


def missing(shown: str, printed: str) -> list[str]:
    """The lines that a page shows and a program did not print, in their order.

    ``...`` stands for anything. Numbers with a fraction need not be the same, and white space does not count.
    """
    lines = iter(_plain(printed).splitlines())
    return [line for line in _plain(shown).splitlines() if line != _GAP and not any(_fits(line, one) for one in lines)]


def _fits(line: str, printed: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, line.split(_GAP))), printed) is not None


def _plain(text: str) -> str:
    lines = (" ".join(_FRACTION.sub("0.0", line).split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _lines(block: Snippet) -> tuple[str, ...]:
    return tuple(line for line in block.text.replace("\\\n", " ").splitlines() if line.strip())
