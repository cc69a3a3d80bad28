"""Files of records beside a model's versions, a line of JSON each: lines are only ever added.

A process that is killed while it writes, or a full disk, leaves a last line without its end. It is torn: nobody reads
it, and whoever adds the next lines cuts it off. Lines are objects, so what is torn is no JSON; if only the line break
is missing, the line counts.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from penstock.errors import PenstockError

Line = TypeVar("Line", bound=BaseModel)


def append(path: Path, lines: str) -> None:
    """Write lines behind the last whole one, and wait until they are on the disk; the folder must exist."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    with FileIO(descriptor, "r+") as file:
        # Who cuts a line off must not cut off what another process has written since. A file system without locks
        # leaves that to chance, in the moment after a process was killed.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        content = memoryview(_mended(file) + lines.encode())
        while content:  # one write, so that lines of several processes do not mix; a full disk may take a part of it
            content = content[file.write(content) :]
        os.fsync(file)


def read(path: Path, kind: type[Line], fault: str, safe: str) -> list[Line]:
    """All records, the oldest first; none without a file.

    Raises:
        PenstockError: if a line is no such record; ``fault`` says so, and ``safe`` what does not depend on it.
    """
    *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
    if not _is_torn(last):
        lines.append(last)
    found = []
    for number, line in enumerate(lines, 1):
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


def _mended(file: FileIO) -> bytes:
    """Cut the last line off if it is torn; returns what must be written before the next line."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 1, 0))
    if file.read(1) in (b"\n", b""):
        return b""
    file.seek(0)
    last = file.readall().rpartition(b"\n")[2]
    if _is_torn(last):
        file.truncate(size - len(last))
        return b""
    return b"\n"


def _is_torn(last: bytes) -> bool:
    """Whether what follows the last line break is no whole line."""
    try:
        json.loads(last)
    except ValueError:
        return True
    return False
