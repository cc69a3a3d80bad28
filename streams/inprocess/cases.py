"""Reads files of feature tests: events and their expected outcomes. docs/guides/testing-features.md has the format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from penstock.errors import PenstockError
from schemas.codec import Reason
from schemas.contract import contract_fields
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.inprocess.features_of import Event, require_known_fields, time_ms
from streams.inprocess.references import Reference

_REASONS = tuple(reason.removeprefix("penstock.") for reason in Reason.__args__)  # type: ignore[attr-defined]
# The fields of a view's outcome besides its features.
ENVELOPE = ("entity", "seq", "as_of", "late")


class _StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_StrictModel):
    """One event and its expected outcome; or, with ``lookup``, a record of its reference data: a row or a deletion."""

    lookup: str | None = None
    row: dict[str, JsonValue] | None = None
    delete: dict[str, JsonValue] | None = None
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
    def _check_combination(self) -> Self:
        if self.lookup is not None:
            return self._check_reference()
        if self.row is not None or self.delete is not None:
            raise ValueError("a row, or the key of a deleted one, is of a lookup: name it with lookup")
        if (self.event is None) == (self.raw is None):
            raise ValueError("give either event (its fields) or raw (the text of a message)")
        if (self.expect is not None) + (self.refused is not None) + self.duplicate + self.ignored > 1:
            raise ValueError("give only one of expect, refused, duplicate and ignored")
        if self.message is not None and self.refused is None:
            raise ValueError("message is part of the message of a refusal: give it together with refused")
        if self.refused is not None and self.reason not in Reason.__args__:  # type: ignore[attr-defined]
            raise ValueError(f"refused must be one of {', '.join(_REASONS)}")
        return self

    def _check_reference(self) -> Self:
        if sum(value is not None for value in (self.row, self.delete, self.raw)) != 1:
            raise ValueError("give one of row (its fields), delete (its key) and raw (the text of a message)")
        if self.event is not None or self.expect is not None or self.duplicate or self.ignored:
            raise ValueError("reference data has no outcome of its own but refused: expect it of a later event")
        if self.refused is not None and self.reason not in Reason.__args__:  # type: ignore[attr-defined]
            raise ValueError(f"refused must be one of {', '.join(_REASONS)}")
        return self

    @property
    def reason(self) -> str | None:
        """The reason of the expected refusal, as in the headers of a dead letter."""
        return self.refused and f"penstock.{self.refused.removeprefix('penstock.')}"

    @property
    def has_expectation(self) -> bool:
        """Whether it has an expectation other than to be emitted."""
        return bool(self.expect) or self.refused is not None or self.duplicate or self.ignored


class _Case(_StrictModel):
    name: str
    about: str | None = None
    steps: tuple[Step, ...] = Field(min_length=1, alias="events")

    @model_validator(mode="after")
    def _check_expectations(self) -> Self:
        if not any(step.has_expectation for step in self.steps):
            raise ValueError("no event has an expectation")
        return self


class _File(_StrictModel):
    pipeline: str
    about: str | None = None
    tolerance: float = Field(default=1e-9, ge=0)
    defaults: dict[str, JsonValue] = Field(default_factory=dict)
    cases: tuple[_Case, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_names_are_unique(self) -> Self:
        names = [case.name for case in self.cases]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"several cases have the name {', '.join(repeated)}")
        return self


@dataclass(frozen=True)
class Case:
    """One case of a file; it starts with empty windows. ``tolerance`` is relative, for numbers with a fraction."""

    file: Path
    name: str
    pipeline: Pipeline
    steps: tuple[Step, ...]
    events: tuple[Event | Reference, ...]
    tolerance: float

    def __str__(self) -> str:
        return self.name


def read_cases(path: str | Path) -> list[Case]:
    """The cases of a file. The file names its pipeline by a path relative to itself, or as on the command line.

    Raises:
        PenstockError: if the file or the pipeline does not exist, or the file does not follow the format or names a
            view, feature, column or field that the pipeline does not have.
    """
    path = Path(path)
    try:
        content = _File.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PenstockError(f"the file cannot be read: {error}", where=str(path)) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors()]
        raise PenstockError(
            "this is not a valid file of feature tests: " + "; ".join(problems[:5]),
            where=str(path),
            next="see docs/guides/testing-features.md",
        ) from error
    relative = path.parent / content.pipeline
    reference = str(relative) if relative.is_file() else content.pipeline
    pipeline = load_pipeline(reference)
    fields = {
        source.contract.contract_name: [field.name for field in contract_fields(source.contract)]
        for source in pipeline.sources
    }
    all_fields = [name for names in fields.values() for name in names]
    require_known_fields(", ".join(fields), all_fields, content.defaults, f"{path}, defaults")
    cases = []
    for case in content.cases:
        events = []
        for number, step in enumerate(case.steps, 1):
            where = f"{path}, case {case.name!r}, event {number}"
            _require_known_names(pipeline, reference, step, where)
            events.append(_event(step, content.defaults, fields, where))
        cases.append(Case(path, case.name, pipeline, case.steps, tuple(events), content.tolerance))
    return cases


def _event(step: Step, defaults: Mapping[str, Any], fields: Mapping[str, list[str]], where: str) -> Event | Reference:
    """The event of a step with the defaults that its contract has; ``fields`` are those of each contract, in order."""
    if step.lookup is not None:
        deleted = step.delete is not None
        value = step.delete if deleted else step.raw if step.row is None else step.row
        assert value is not None
        return Reference(step.lookup, value, deleted)
    received = time_ms(step.received) if isinstance(step.received, str) else step.received
    if isinstance(received, str):
        raise PenstockError(f"received must be epoch milliseconds or ISO 8601, not {received!r}")
    if step.event is None:
        return Event(step.raw, received, step.source)
    contract = step.source or next(iter(fields))
    if contract not in fields:
        raise PenstockError(f"the pipeline has no source of {contract!r}; it has {', '.join(fields)}", where=where)
    require_known_fields(contract, fields[contract], step.event, where)
    of_contract = {name: value for name, value in defaults.items() if name in fields[contract]}
    return Event({**of_contract, **step.event}, received, step.source)


def _require_known_names(pipeline: Pipeline, reference: str, step: Step, where: str) -> None:
    """Refuse unknown views, features and columns: otherwise a misspelt name would never be compared."""
    lookups = [lookup.name for lookup in pipeline.lookups]
    if step.lookup is not None and step.lookup not in lookups:
        raise PenstockError(
            f"the pipeline has no lookup {step.lookup!r}; it has {', '.join(lookups) or 'none'}", where=where
        )
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
