"""The catalogue of mutants, and how a module adds one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from streams.plan.project import Project
from verify.run_data import RunData

_T = TypeVar("_T")

Change = Callable[[Project, RunData], RunData]
"""Takes the project and the run, and returns another run; what it changes, it copies first."""


class Mutant(NamedTuple):
    """A change of a good run, and the counts of the report of which at least one must find it."""

    name: str
    change: Change
    found_by: tuple[str, ...]


class NothingToChangeError(Exception):
    """The recorded run has nothing of what a mutant changes."""


MUTANTS: list[Mutant] = []


def mutant(*found_by: str, into: list[Mutant] = MUTANTS) -> Callable[[Change], Change]:
    """Add a function to a catalogue; its name says what is wrong. Another run than the usual one has one of its own."""

    def add(change: Change) -> Change:
        into.append(Mutant(change.__name__.replace("_", " "), change, found_by))
        return change

    return add


def first(found: Iterable[_T], what: str) -> _T:
    """The first of what a mutant can change; ``what`` names it.

    Raises:
        NothingToChangeError: if there is none.
    """
    for one in found:
        return one
    raise NothingToChangeError(f"the recorded run has no {what}")
