"""Tests of features as data: events and what each must become; docs/guides/testing-features.md has the format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from penstock.errors import PenstockError
from schemas.codec import Reason
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.inprocess.features_of import Event, time_ms

_REASONS = tuple(reason.removeprefix("penstock.") for reason in Reason.__args__)  # type: ignore[attr-defined]
# Fields of a view's outcome beside its features.
ENVELOPE = ("entity", "seq", "as_of", "late")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Part):
    """One event and what is expected of it."""

    event: dict[str, JsonValue] | None = None
    raw: str | None = None
    received: int | str | None = None
    expect: dict[str, dict[str, JsonValue] | None] | None = None
    refused: str | None = None
    message: str | None = None
    duplicate: bool = False
    ignored: bool = False
    source: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.event is None) == (self.raw is None):
            raise ValueError("give either event (its fields) or raw (the text of a message)")
        if (self.expect is not None) + (self.refused is not None) + self.duplicate + self.ignored > 1:
            raise ValueError("an event is emitted (expect), refused, a duplicate or ignored: expect one of them")
        if self.message is not None and self.refused is None:
            raise ValueError("message is part of the message of a refusal: it goes with refused")
        if self.refused is not None and self.reason not in Reason.__args__:  # type: ignore[attr-defined]
            raise ValueError(f"refused is one of {', '.join(_REASONS)}")
        return self

    @property
    def reason(self) -> str | None:
        """The reason of the expected refusal, as dead letters carry it."""
        return self.refused and f"penstock.{self.refused.removeprefix('penstock.')}"

    @property
    def expects(self) -> bool:
        """Whether anything is expected of it beyond being emitted."""
        return bool(self.expect) or self.refused is not None or self.duplicate or self.ignored


class _Case(_Part):
    name: str
    about: str | None = None
    steps: tuple[Step, ...] = Field(min_length=1, alias="events")

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if not any(step.expects for step in self.steps):
            raise ValueError("nothing is expected of any of its events")
        return self


class _File(_Part):
    pipeline: str
    about: str | None = None
    tolerance: float = Field(default=1e-9, ge=0)
    defaults: dict[str, JsonValue] = Field(default_factory=dict)
    cases: tuple[_Case, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [case.name for case in self.cases]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two cases are called {', '.join(twice)}")
        return self


@dataclass(frozen=True)
class Case:
    """One case of a file: it begins with empty windows. ``tolerance`` is relative, for numbers with a fraction."""

    file: Path
    name: str
    pipeline: Pipeline
    steps: tuple[Step, ...]
    events: tuple[Event, ...]
    tolerance: float

    def __str__(self) -> str:
        return self.name


def read_cases(path: str | Path) -> list[Case]:
    """The cases of a file, which names its pipeline: by a path from the file, or as the command line does.

    Raises:
        PenstockError: if there is no such file or pipeline, the file has another form, or it expects what the pipeline
            has not.
    """
    path = Path(path)
    try:
        found = _File.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PenstockError(f"the file cannot be read: {error}", where=str(path)) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors()]
        raise PenstockError(
            "it is no file of feature tests: " + "; ".join(problems[:5]),
            where=str(path),
            next="see docs/guides/testing-features.md",
        ) from error
    beside = path.parent / found.pipeline
    reference = str(beside) if beside.is_file() else found.pipeline
    pipeline = load_pipeline(reference)
    cases = []
    for case in found.cases:
        for number, step in enumerate(case.steps, 1):
            _check_names(pipeline, reference, step, f"{path}, case {case.name!r}, event {number}")
        events = tuple(_event(step, found.defaults) for step in case.steps)
        cases.append(Case(path, case.name, pipeline, case.steps, events, found.tolerance))
    return cases


def _event(step: Step, defaults: Mapping[str, Any]) -> Event:
    received = time_ms(step.received) if isinstance(step.received, str) else step.received
    if isinstance(received, str):
        raise PenstockError(f"received is neither epoch milliseconds nor ISO 8601: {received!r}")
    return Event(step.raw if step.event is None else {**defaults, **step.event}, received, step.source)


def _check_names(pipeline: Pipeline, reference: str, step: Step, where: str) -> None:
    """Refuse unknown names: a misspelt name would never be compared."""
    known = {view.name: {*view.feature_names(), *ENVELOPE} for view in pipeline.views}
    known["event"] = set(pipeline.column_types())
    for view, expected in (step.expect or {}).items():
        if view not in known:
            raise PenstockError(f"the pipeline has no view {view!r}; it has {', '.join(known)}", where=where)
        unknown = sorted(expected.keys() - known[view]) if expected is not None else []
        if unknown:
            raise PenstockError(
                f"{view} has no {', '.join(unknown)}",
                where=where,
                next=f"penstock features describe {reference} {view}",
            )
