"""Writes the folder of a new project: all of it or nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from penstock.errors import PenstockError
from penstock.playing.values import as_event
from penstock.starting.code import pipeline_code
from penstock.starting.of_schema import text_of
from penstock.starting.personal import stand_in
from penstock.starting.roles import Draft
from penstock.starting.samples import Sample
from penstock.starting.texts import readme_text, test_code
from penstock.time import iso
from schemas import committed
from schemas.contract import Contract
from schemas.producer import InvalidEvent, validated
from schemas.written import ARRAY
from streams.definitions.base import Name
from streams.plan.project import open_project

_TEST_ROWS = 3
_TEST_ELEMENTS = 3
_INVENTED = {"string": "a", "long": 1, "double": 1.5, "boolean": True}
_OF_FORMS = {
    "date": "2026-03-01",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "bytes": "AAE=",
    "decimal": "1",
    "iso8601": "2026-03-01T12:00:00Z",
    "seconds": 1_772_366_400,
    "microseconds": 1_772_366_400_000_000,
    "nanoseconds": 1_772_366_400_000_000_000,
}


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        folder: The folder.
        refused: Why rows of the sample do not fit the contract, with their numbers.
        checked: How many rows were compared with it.
    """

    folder: Path
    refused: tuple[str, ...]
    checked: int


def require_free(name: str, parent: Path) -> Path:
    """The folder of a new project of a name.

    Raises:
        PenstockError: if it cannot have this name, or there is something already.
    """
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        what = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise PenstockError(what, where="NAME", safe="nothing was written", next="another name") from None
    folder = parent / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PenstockError(
            "there is something of this name already",
            where=str(folder),
            safe="it was not touched",
            next="another name; or add to the pipeline there: penstock new-view PIPELINE",
        )
    if name in sys.stdlib_module_names or (not folder.exists() and importlib.util.find_spec(name) is not None):
        raise PenstockError(
            f"Python has a module called {name}, so tests could not import the project",
            where="NAME",
            safe="nothing was written",
            next="another name",
        )
    return folder


def write_project(draft: Draft, sample: Sample, name: str, topic: str, parent: Path, command: str) -> Written:
    """Write the folder.

    Args:
        draft: The contract to be.
        sample: What it was made of.
        name: The name of the project.
        topic: The topic of its events.
        parent: Where the folder shall be.
        command: The command as it was typed, for the README.

    Raises:
        PenstockError: if it cannot be written, or what was written is no pipeline; then there is no folder.
    """
    folder = require_free(name, parent)
    hidden = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
    try:
        inner = hidden / name
        inner.mkdir()
        code = pipeline_code(draft, name, topic, sample.partitions, sample.source)
        (inner / "__init__.py").touch()
        (inner / "pipeline.py").write_text(code, encoding="utf-8")
        project = open_project(str(inner / "pipeline.py"))
        contract = project.pipeline.source.contract
        events, refused = _checked(sample, contract)
        rows = _test_rows(draft, events)
        (inner / "test_features.py").write_text(test_code(draft, name, sample.source, rows), encoding="utf-8")
        (inner / "README.md").write_text(readme_text(draft, name, topic, sample, command), encoding="utf-8")
        committed.export(project.forms, inner / "schemas")
        os.replace(inner, folder)  # noqa: PTH105 - also over an empty folder
    except OSError as error:
        raise PenstockError(
            f"the folder cannot be written: {error}", where=str(folder), safe="nothing is there"
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return Written(folder, refused, len(sample.rows))


def _checked(
    sample: Sample, contract: type[Contract]
) -> tuple[list[tuple[Mapping[str, Any], Contract]], tuple[str, ...]]:
    """The rows that fit, as written and as columns; and why others do not."""
    good: list[tuple[Mapping[str, Any], Contract]] = []
    refused = []
    for number, row in sample.rows:
        event = as_event(row, contract, is_text=sample.findings.origin == "csv")
        try:
            good.append((event, validated(event, contract, "")))
        except InvalidEvent as error:
            refused.append(f"{sample.unit} {number}: {error.where}: {error.what}")
    return good, tuple(refused)


def _test_rows(draft: Draft, events: list[tuple[Mapping[str, Any], Contract]]) -> list[dict[str, Any]]:
    """Rows of one entity for a test, by column, with values as written; what is personal has a stand-in."""
    key = draft.entities[0]
    having = [(event, columns) for event, columns in events if getattr(columns, key) is not None]
    if not having:
        return [_invented(draft)]
    first = getattr(having[0][1], key)
    chosen = [one for one in having if getattr(one[1], key) == first][:_TEST_ROWS]
    stand_ins: dict[tuple[str, Any], str] = {}
    rows = []
    for event, columns in chosen:
        row: dict[str, Any] = {}
        for column in draft.columns:
            value = _list_at(event, column.place) if column.is_list else _at(event, column.place)
            if column.name == draft.time:
                value = iso(getattr(columns, column.name))
            elif value is not None and column.name in draft.personal:
                value = _protected(value, draft, column.name, stand_ins)
            if value is not None or not column.nullable:
                row[column.name] = value
        rows.append(row)
    return rows


def _protected(value: Any, draft: Draft, name: str, stand_ins: dict[tuple[str, Any], str]) -> Any:
    """The stand-in of a personal value; of a list, those of its elements."""
    if isinstance(value, list):
        return [_protected(one, draft, name, stand_ins) for one in value]
    if value is None:
        return None
    return stand_ins.setdefault((name, value), _stand_in(draft, name, len(stand_ins) + 1))


def _stand_in(draft: Draft, name: str, number: int) -> str:
    column = draft.column(name)
    if column.is_enum:
        return column.values[0]
    return f"{name}-{number}" if column.personal is None else stand_in(column.personal, number)


def _at(event: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        event = event.get(name) if isinstance(event, Mapping) else None
    return event


def _within(value: Any, rules: Mapping[str, Any]) -> Any:
    """A value that keeps rules, in place of one that may not."""
    if isinstance(value, str):
        return text_of(rules)
    if not rules:
        return value
    least, most = rules.get("ge", rules.get("gt")), rules.get("le", rules.get("lt"))
    if least is not None and most is not None and type(value) is float:
        return (least + most) / 2
    if least is not None:
        return least + ("gt" in rules)
    return value if most is None else most - ("lt" in rules)


def _list_at(event: Any, place: tuple[str, ...]) -> list[Any] | None:
    """The values in the first elements of the array on the way."""
    depth = next((depth for depth, name in enumerate(place) if name.endswith(ARRAY)), len(place) - 1)
    array = _at(event, (*place[:depth], place[depth].removesuffix(ARRAY)))
    return [_at(element, place[depth + 1 :]) for element in array[:_TEST_ELEMENTS]] if isinstance(array, list) else None


def _invented(draft: Draft) -> dict[str, Any]:
    """A row by the types alone."""
    row: dict[str, Any] = {}
    for column in draft.columns:
        if column.name == draft.time:
            row[column.name] = iso(1_772_366_400_000)
        else:
            value: Any = _OF_FORMS[column.form] if column.form else _within(_INVENTED[column.type], column.rules)
            value = column.values[0] if column.is_enum else value
            row[column.name] = [value] if column.is_list else value
    return row
