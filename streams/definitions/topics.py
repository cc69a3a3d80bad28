"""Checks the names of a pipeline's topics by Kafka's rules: those that it is given, and those derived from its name."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 249
_NAME = re.compile(r"[a-zA-Z0-9._-]+")


def check_topic(name: str) -> str:
    """Return the name of a topic.

    Raises:
        ValueError: if no topic of Kafka can have it.
    """
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError(
            f"no topic can be called {name!r}: Kafka allows letters (a to z, A to Z), digits, '.', '_' and '-', "
            "but not '.' or '..' alone"
        )
    if len(name) > _LONGEST:
        raise ValueError(f"topic {name} has {len(name)} characters, Kafka allows {_LONGEST}: give a shorter name")
    return name


def check_topics(read: Iterable[str], written: Iterable[str]) -> None:
    """Check the topics of one pipeline together: those that it reads, and those that Penstock writes for it.

    Raises:
        ValueError: if one is not a topic's name, one is read and written, or Kafka takes two for one.
    """
    read, written = list(read), list(written)
    if both := [name for name in read if name in written]:
        raise ValueError(
            f"topic {both[0]} is read, and Penstock writes a topic of this name for the pipeline: rename one"
        )
    seen: dict[str, str] = {}
    for name in (*read, *written):
        check_topic(name)
        other = seen.setdefault(name.replace(".", "_"), name)
        if other != name:
            raise ValueError(
                f"topics {other} and {name} differ only in '.' and '_', and Kafka refuses to create both: rename one"
            )
