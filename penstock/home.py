"""The local stack that a process uses: the one in the folder that PENSTOCK_HOME names."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from penstock.errors import PenstockError
from penstock.paths import DEFAULT_HOME

HOME_VARIABLE = "PENSTOCK_HOME"
STACK_FILE = "stack.json"
"""`penstock up` writes it into the stack's folder; ``environment`` in it holds the variables of the stack's clients."""


def stack_environment() -> dict[str, str]:
    """The PENSTOCK_* variables of the stack in PENSTOCK_HOME; empty if PENSTOCK_HOME is not set.

    Raises:
        PenstockError: there is no stack in that folder. Without this error, a mistyped folder would mean the default
            stack.
    """
    home = os.environ.get(HOME_VARIABLE)
    if not home:
        return {}
    path = Path(home) / STACK_FILE
    try:
        return {**json.loads(path.read_text(encoding="utf-8"))["environment"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise PenstockError(
            f"there is no stack in the folder that {HOME_VARIABLE} names",
            where=str(path),
            safe="nothing was read or written",
            next=f"penstock up, which starts one there; or unset {HOME_VARIABLE}",
        ) from None


def set_or_correct(variable: str) -> str:
    """The advice for an address at which nobody answers: to set its variable, or which value to correct.

    >>> set_or_correct("PENSTOCK_NO_SUCH_ADDRESS")
    'set PENSTOCK_NO_SUCH_ADDRESS'
    """
    value = os.environ.get(variable)
    if not value:
        return f"set {variable}"
    shown = re.sub(r"//[^/]*@", "//", value)  # a name and a password are refused elsewhere, and shown nowhere
    return f"correct {variable}, which is set to {shown}, or unset it"


def home_folder() -> Path:
    """The folder of the local stack that this process uses, which need not exist."""
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)


def stack_port(name: str) -> int | None:
    """A port of the local stack that this process uses; None if there is no stack."""
    try:
        ports = json.loads((home_folder() / STACK_FILE).read_text(encoding="utf-8"))["ports"]
        return int(ports[name])
    except (OSError, ValueError, KeyError, TypeError):
        return None
