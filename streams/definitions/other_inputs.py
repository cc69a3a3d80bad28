"""Inputs of a model that come from views of other pipelines: their names, and the checks that need no other definition.

A name has the form ``pipeline:view.feature``. :mod:`streams.plan.other_views` finds the views.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from pydantic import StrictBool, StrictFloat, StrictInt, StrictStr

Default: TypeAlias = StrictBool | StrictInt | StrictFloat | StrictStr | None
"""The value of an input whose vector is not served; None is null."""

_NAME = r"[a-z][a-z0-9_]*"
_INPUT = re.compile(rf"{_NAME}:{_NAME}\.{_NAME}")


def is_other(name: str) -> bool:
    """Whether an input is of another pipeline.

    >>> is_other("cards:by_card.count_1h"), is_other("by_card.count_1h")
    (True, False)
    """
    return ":" in name


def view_of(name: str) -> str:
    """The view of an input, or ``event``; of another pipeline's view as ``pipeline:view``.

    >>> view_of("cards:by_card.count_1h"), view_of("event.amount")
    ('cards:by_card', 'event')
    """
    return name.partition(".")[0]


def check_other_inputs(
    pipeline: str, inputs: Sequence[str], defaults: Mapping[str, Default], monitored: Collection[str]
) -> None:
    """Check the names of inputs of other pipelines, and that these and no other inputs have a default.

    Raises:
        ValueError: for the first that is wrong.
    """
    others = [name for name in inputs if is_other(name)]
    for name in others:
        if not _INPUT.fullmatch(name):
            raise ValueError(f"input {name!r} is not of the form pipeline:view.feature")
        if name.partition(":")[0] == pipeline:
            raise ValueError(f"input {name!r} is of this pipeline: name it {name.partition(':')[2]!r}")
        if name not in defaults:
            raise ValueError(
                f"input {name} has no default for when its vector is missing: "
                f"add defaults={{{name!r}: 0}}, or None for null"
            )
        if name in monitored:
            raise ValueError(f"monitors: {name} is of another pipeline, whose own monitors see every record of it")
    for name, default in defaults.items():
        if name not in others:
            raise ValueError(f"a default for {name!r}, which is no input of another pipeline")
        if isinstance(default, float) and not math.isfinite(default):
            raise ValueError(f"the default of {name} is {default}: give a finite number, or None for null")
