"""What ``penstock init`` has inferred, asked and written, for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from penstock.starting.code import numbers, windows
from penstock.starting.roles import Draft, Question
from penstock.starting.samples import Sample
from streams.definitions.windows import duration_text


def inferred(draft: Draft, sample: Sample) -> dict[str, Any]:
    """The contract to be, with what its columns are for, and what is left out.

    Columns have their names in code; ``path`` is their place in the event.
    """
    return {
        "source": sample.source,
        "rows": draft.findings.rows,
        "envelope": None if draft.findings.envelope is None else draft.findings.envelope.kind,
        "event_time": {"column": draft.time, "unit": draft.unit},
        "event_id": draft.id,
        "possible_event_id": draft.possible_id and draft.possible_id.path,
        "entities": [
            {"name": name, "column": column, "over": [duration_text(ms) for ms in windows(draft, column)]}
            for column, name in draft.entity_names.items()
        ],
        "means": numbers(draft),
        "personal": {
            column.name: {"what": column.personal and column.personal.what, "treatment": treatment}
            for column in draft.columns
            if (treatment := draft.personal.get(column.name, "keep" if column.personal else None)) is not None
        },
        "columns": [
            {
                "name": column.name,
                "path": column.path,
                "type": f"{column.type}[]" if column.is_list else column.type,
                "nullable": column.nullable,
            }
            for column in draft.columns
        ],
        "left_out": dict(draft.findings.left_out),
        "notes": list(draft.findings.notes),
    }


def asked(questions: Sequence[tuple[Question, str | None]]) -> list[dict[str, Any]]:
    """The questions, each with its answer; null where nobody has answered."""
    return [asdict(question) | {"answer": answer} for question, answer in questions]


def as_object(
    name: str,
    facts: Mapping[str, Any],
    questions: Sequence[tuple[Question, str | None]],
    files: Sequence[str],
    following: Sequence[str],
    refused: Sequence[str] = (),
    unreadable: Sequence[str] = (),
    strays: Sequence[str] = (),
) -> dict[str, Any]:
    """All of it.

    Args:
        name: The project.
        facts: What was inferred.
        questions: What was asked, with the answers.
        files: What was written, below the present folder; nothing while a question is open.
        following: The next commands.
        refused: Why rows of the sample do not fit the contract.
        unreadable: Why rows could not be read.
        strays: Why rows lack what nearly all others have.
    """
    return {
        "project": name,
        **facts,
        "asked": asked(questions),
        "refused": list(refused),
        "unreadable": list(unreadable),
        "strays": list(strays),
        "files": list(files),
        "next": list(following),
    }
