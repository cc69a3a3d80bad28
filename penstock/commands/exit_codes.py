"""How commands end: one rule for all, so that schedulers and scripts need not read what is printed."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What an exit code of ``penstock`` means; docs/reference/command-line.md lists who ends with which.

    A command that brings a state about, such as ``topics create`` or ``rollout apply``, ends with DONE if it is so
    already. NOTHING_TO_DO is of commands that work through data, of which none was left.
    """

    DONE = 0
    ERROR = 1
    """It could not do what it was asked for: every PenstockError."""
    USAGE = 2
    """click's own, for options and arguments that it does not take."""
    CHECK_FAILED = 3
    """It has looked, and found something wrong or different."""
    REFUSED = 10
    """A gate refuses the version of a model."""
    INCONCLUSIVE = 11
    """A gate cannot tell: there is too little evidence."""
    NOTHING_TO_DO = 99
    """Airflow's operators take this for skipped, unless told otherwise."""
    INTERRUPTED = 130
    """By Ctrl-C or SIGTERM, before it was complete; the same command goes on."""
