"""Files of records beside a model's versions, a line of JSON each: lines are only ever added."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from penstock.errors import PenstockError

Line = TypeVar("Line", bound=BaseModel)


def append(path: Path, lines: str) -> None:
    """Write lines behind the end of the file, and wait until they are on the disk; its folder must exist."""
    # One write behind the end: processes that do this at the same time do not mix their lines.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, lines.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, kind: type[Line], fault: str, safe: str) -> list[Line]:
    """All records, the oldest first; none without a file.

    Raises:
        PenstockError: if a line is no such record; ``fault`` says so, and ``safe`` what does not depend on it.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.exists() else (), 1):
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError as error:
            raise PenstockError(
                fault,
                where=f"{path}, line {number}",
                safe=safe,
                next="restore the line from a copy of the repository, or delete it",
            ) from error
    return found
