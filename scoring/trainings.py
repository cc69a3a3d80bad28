"""Every training of a model, also one that failed: lines in ``trainings.jsonl`` of the model's folder.

A training writes a line when it begins, and one with all of it when it ends. One that has no end still runs, or its
process was killed. No training fails because such a line cannot be written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from penstock.errors import PenstockError
from scoring.line_files import append, read
from scoring.repository import ModelRepository
from scoring.trained_model import Provenance, Validation

_FILE = "trainings.jsonl"

_log = logging.getLogger(__name__)


class Training(BaseModel):
    """One training: what was asked for, and what came of it.

    Args:
        id: Names it, at random.
        provenance: When it began, who asked for it, and with what it was made.
        backfill: The folder of the backfill, as the user named it.
        seed: Its seed.
        until_ms: The event time up to which events and labels count, in epoch ms; None for no limit.
        with_defaults: Whether inputs of other pipelines had their defaults.
        trainer: The function that trains; None for Penstock's own training.
        ended_ms: When it ended, in epoch ms; None if it has not.
        data_hash: The hash of the training set; None if it was not read.
        validation: How well the model scores the latest events; None if it got no model.
        version: The version that it made.
        error: Why it made none, in a line without values of records.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    provenance: Provenance
    backfill: str
    seed: int
    until_ms: int | None
    with_defaults: bool
    trainer: str | None
    ended_ms: int | None = None
    data_hash: str | None = None
    validation: Validation | None = None
    version: int | None = None
    error: str | None = None

    @property
    def began_ms(self) -> int:
        """When it began, in epoch ms."""
        return self.provenance.made_ms

    @property
    def outcome(self) -> Literal["made a version", "failed", "not ended"]:
        """What came of it, as far as the file says."""
        if self.ended_ms is None:
            return "not ended"
        return "failed" if self.version is None else "made a version"

    @property
    def took_s(self) -> float | None:
        """How long it took, in seconds; None if it has not ended."""
        return None if self.ended_ms is None else (self.ended_ms - self.began_ms) / 1_000


@dataclass
class Found:
    """What a training finds on its way; the fields are those of :class:`Training`."""

    data_hash: str | None = None
    validation: Validation | None = None
    version: int | None = None


@contextmanager
def recorded(repository: ModelRepository, model: str, training: Training, clock: Callable[[], int]) -> Iterator[Found]:
    """Write down that a training begins, and with the end of the block, what came of it.

    Args:
        repository: The repository.
        model: The model's name; it need not have a version yet.
        training: As it begins.
        clock: Epoch ms.
    """
    found, reason = Found(), None
    _write(repository, model, training)
    try:
        yield found
    except BaseException as error:
        reason = _in_a_line(error)
        raise
    finally:
        end = {"ended_ms": clock(), **vars(found), "error": reason}
        _write(repository, model, training.model_copy(update=end))


def read_trainings(repository: ModelRepository, model: str) -> list[Training]:
    """All trainings of a model, in the order in which they began.

    Raises:
        PenstockError: if a line is none that :func:`recorded` wrote.
    """
    fault = "the file of trainings has a line that is no training"
    lines = read(repository.root / model / _FILE, Training, fault, "the versions do not depend on it")
    return list({line.id: line for line in lines}.values())


def as_content(training: Training) -> dict[str, Any]:
    """A training as the content of a JSON object."""
    derived = {"began_ms": training.began_ms, "took_s": training.took_s, "outcome": training.outcome}
    return training.model_dump(mode="json") | derived


def _write(repository: ModelRepository, model: str, training: Training) -> None:
    path = repository.root / model / _FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        append(path, training.model_dump_json() + "\n")
    except (OSError, ValueError) as error:
        _log.warning("the training goes on, but cannot be written down in %s: %s", path, error)


def _in_a_line(error: BaseException) -> str:
    """What happened. The text of an error that is not Penstock's may quote anything, so only its kind is kept."""
    text = error.kept if isinstance(error, PenstockError) else type(error).__name__
    return " ".join(text.split())
