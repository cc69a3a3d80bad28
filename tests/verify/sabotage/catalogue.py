"""The catalogue of mutants, and how a module adds one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from streams.plan.project import Project
from verify.run_data import RunData

Change = Callable[[Project, RunData], RunData]
"""Takes the project and the run, and returns another run; what it changes, it copies first."""


class Mutant(NamedTuple):
    """A change of a good run, and the counts of the report of which at least one must find it."""

    name: str
    change: Change
    found_by: tuple[str, ...]


MUTANTS: list[Mutant] = []


def mutant(*found_by: str, into: list[Mutant] = MUTANTS) -> Callable[[Change], Change]:
    """Add a function to a catalogue; its name says what is wrong. Another run than the usual one has one of its own."""

    def add(change: Change) -> Change:
        into.append(Mutant(change.__name__.replace("_", " "), change, found_by))
        return change

    return add
