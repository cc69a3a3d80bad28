"""What was served when, and why: a line for each change of an alias, in ``history.jsonl`` of a model's folder.

``champion`` is the current version, ``previous`` the one that is still loaded beside it. The configuration says what
they are; the history says how they came to be so. Lines are only ever added.

The first version is configured when it is made, and loaded later: its first load has a line of its own, in which the
champion stays the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from scoring.line_files import append, read
from scoring.repository import ModelRepository
from scoring.serving_config import ServingConfig

CHAMPION, PREVIOUS = "champion", "previous"
_FILE = "history.jsonl"
_NOT_RECORDED = "not recorded"
_LOADING = frozenset({"load", "promote", "rollout"})


class Change(BaseModel):
    """An alias that came to name another version, or a champion that was loaded at last; None is no version.

    Args:
        time_ms: When, in epoch ms.
        alias: ``champion`` or ``previous``.
        before: The version that it named.
        after: The version that it names since.
        command: What changed it: ``load``, ``promote``, ``rollout``, ``unload``, or ``train``, ``import`` and
            ``register`` for the first version, which they do not load; ``not recorded`` if a process was killed before
            it could say so.
        report: The hash of the gates' report that it rests on.
        override: The reason for which the gates' verdict was overridden.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    time_ms: int
    alias: str
    before: int | None = Field(alias="from")
    after: int | None = Field(alias="to")
    command: str
    report: str | None = None
    override: str | None = None

    @property
    def is_recorded(self) -> bool:
        """Whether the process that changed the alias wrote this; else the time is that of the next change."""
        return self.command != _NOT_RECORDED

    @property
    def loads(self) -> bool:
        """Whether the version was surely loaded."""
        return self.command in _LOADING

    @property
    def configures_alone(self) -> bool:
        """Whether a champion was configured that was not loaded yet."""
        return self.alias == CHAMPION and self.after is not None and self.is_recorded and not self.loads


@dataclass(frozen=True)
class Cause:
    """Why aliases change; the fields are those of :class:`Change`."""

    command: str
    report: str | None = None
    override: str | None = None
    time_ms: int = field(default_factory=lambda: int(time.time() * 1_000))


def read_history(repository: ModelRepository, model: str) -> list[Change]:
    """All changes of a model's aliases, the oldest first.

    Raises:
        PenstockError: if a line is none that :func:`record` wrote.
    """
    fault = "the history of aliases has a line that is no change"
    return read(repository.root / model / _FILE, Change, fault, "what is served does not depend on it")


def aliases(repository: ModelRepository, model: str) -> dict[str, int]:
    """Which versions are champion and previous: as configured, and none after an unload."""
    changes = read_history(repository, model)
    unloaded = _recorded(changes) == {} and any(change.alias == CHAMPION for change in changes)
    return {} if unloaded else _configured(repository.serving_config(model))


def record(repository: ModelRepository, model: str, now: Mapping[str, int], cause: Cause) -> None:
    """Write how the aliases differ from what the history says last, if they do, and the first load of a champion."""
    changes = read_history(repository, model)
    lines = "".join(change.model_dump_json(by_alias=True) + "\n" for change in _new_changes(changes, now, cause))
    if lines:
        append(repository.root / model / _FILE, lines)


def lost_changes(repository: ModelRepository, model: str, time_ms: int) -> list[Change]:
    """What a killed process changed and could not record, as of a time (epoch ms) after it."""
    cause = Cause(_NOT_RECORDED, time_ms=time_ms)
    return list(_new_changes(read_history(repository, model), aliases(repository, model), cause))


def record_lost(repository: ModelRepository, model: str, time_ms: int) -> None:
    """Write what a killed process changed and could not record, with the time of the change that follows it."""
    record(repository, model, aliases(repository, model), Cause(_NOT_RECORDED, time_ms=time_ms))


def record_configured(repository: ModelRepository, model: str, cause: Cause) -> None:
    """Write that the aliases are as configured now."""
    record(repository, model, _configured(repository.serving_config(model)), cause)


def _configured(serving: ServingConfig | None) -> dict[str, int]:
    if serving is None:
        return {}
    previous = {} if serving.previous is None else {PREVIOUS: serving.previous}
    return {CHAMPION: serving.version, **previous}


def _recorded(changes: Sequence[Change]) -> dict[str, int]:
    latest = {change.alias: change.after for change in changes}
    return {alias: version for alias, version in latest.items() if version is not None}


def _new_changes(changes: Sequence[Change], now: Mapping[str, int], cause: Cause) -> Iterator[Change]:
    before = _recorded(changes)
    latest = next((change for change in reversed(changes) if change.alias == CHAMPION), None)
    is_first_load = cause.command in _LOADING and not (latest is not None and latest.loads)
    for alias in (CHAMPION, PREVIOUS):
        if before.get(alias) != now.get(alias) or (alias == CHAMPION and is_first_load):
            yield Change(
                time_ms=cause.time_ms,
                alias=alias,
                before=before.get(alias),
                after=now.get(alias),
                command=cause.command,
                report=cause.report,
                override=cause.override,
            )
