"""The hashes of a version's files, in ``hashes.json`` beside them: what makes a version immutable in fact.

``model.py`` is Penstock's own, not the model's: it has a hash like every file, and is no part of a version's identity.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from penstock.errors import PenstockError
from scoring.trained_model import read_manifest

HASHES_FILE = "hashes.json"
MANIFEST_FILE = "manifest.json"
BACKEND_FILE = "model.py"


def write_hashes(folder: Path) -> None:
    """Write the SHA-256 of every file of the folder."""
    text = json.dumps(_hashes(folder), indent=2, sort_keys=True)
    (folder / HASHES_FILE).write_text(text + "\n", encoding="utf-8")


def verify_files(folder: Path) -> None:
    """Compare every file of a version with its hash.

    Raises:
        PenstockError: if a file has changed, is missing, or was added; the message names it.
    """
    path = folder / HASHES_FILE
    try:
        expected = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refusal(f"the version has no readable {HASHES_FILE}", path) from error
    found = _hashes(folder)
    for name in sorted({*expected, *found}):
        if name not in found:
            raise _refusal(f"file {name} of the version is missing", folder)
        if name not in expected:
            raise _refusal(f"file {name} was added to the version", folder / name)
        if found[name] != expected[name]:
            raise _refusal(
                f"file {name} of the version has changed: its SHA-256 is {found[name][:16]}, "
                f"not {str(expected[name])[:16]}",
                folder / name,
            )


def identity(folder: Path) -> str:
    """The SHA-256 of all that makes a version what it is: the same under any number, in any repository.

    It is of the files as they are now. Verify them first.
    """
    manifest = read_manifest(json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8")))
    files = {name: of for name, of in _hashes(folder).items() if name not in (BACKEND_FILE, MANIFEST_FILE)}
    content = manifest.model_dump(mode="json")
    if content["recipe"] is None:
        del content["recipe"]  # versions of earlier builds keep the identity by which reports name them
    return content_hash({"files": files, "manifest": content})


def content_hash(content: object) -> str:
    """The SHA-256 of content as JSON, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file by name. What Python compiles for Triton beside ``model.py`` is none of the version."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        for path in sorted(folder.iterdir())
        if path.name not in (HASHES_FILE, "__pycache__")
    }


def _refusal(what: str, where: Path) -> PenstockError:
    return PenstockError(
        what,
        where=str(where),
        safe="nothing was changed; what is served goes on",
        next="restore the file from a copy of the repository, or make the version anew: "
        "penstock model train PIPELINE --backfill FOLDER",
    )
