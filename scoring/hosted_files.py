"""The files of a model that Triton hosts, in its repository: by their hash a change in place is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

_ENSEMBLE = "ensemble"


def files_sha256(root: Path, name: str, version: int, platform: str) -> str:
    """The hash of a version's files with their paths; of an ensemble, which has none, of its configuration.

    Empty if ``root`` is not the folder that holds the model, or it cannot be read.
    """
    home = root / name
    folder = home / str(version)
    try:
        found = [home / "config.pbtxt"] if platform == _ENSEMBLE else sorted(folder.rglob("*"))
        # Python writes these at the first load.
        files = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
        total = hashlib.sha256()
        for path in files:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{content}  {path.relative_to(home).as_posix()}\n".encode())
    except OSError:
        return ""
    return total.hexdigest() if files else ""
