"""How far a file was played, so that the same command goes on after an interruption, and does nothing after the end."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.home import home_folder


class Progress(BaseModel):
    """A file that is played to a topic.

    Args:
        file: The file, as it was named last.
        topic: The topic.
        sent: How many events of its order Kafka has acknowledged.
        total: How many it has.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    file: str
    topic: str
    sent: int
    total: int


class ProgressFile:
    """Where it is kept.

    Args:
        digest: Of the file's content.
        place: What tells apart where it is sent: the cluster, the topic, and which topic of that name it is.
    """

    def __init__(self, digest: str, place: Sequence[str]) -> None:
        name = hashlib.sha256("\n".join([digest, *place]).encode()).hexdigest()[:32]
        self.path = home_folder().resolve() / "plays" / f"{name}.json"

    def read(self) -> Progress | None:
        """How far it is; None if nothing is known."""
        try:
            return Progress.model_validate_json(self.path.read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return None

    def write(self, progress: Progress) -> None:
        """Replace what is known, all at once.

        Raises:
            OSError: if the disk is full.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(progress.model_dump_json(), encoding="utf-8")
        partial.replace(self.path)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
