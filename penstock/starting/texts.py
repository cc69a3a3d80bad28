"""Writes the test and the README of a new project. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.starting.code import literal, numbers, windows
from penstock.starting.of_schema import text_of
from penstock.starting.roles import Draft
from penstock.starting.samples import Sample
from schemas.envelopes import ENVELOPE, Debezium
from streams.definitions.windows import duration_text

_KEY = (
    "(umask 077; head -c 32 /dev/urandom | base64 > pii.key)  # hashes personal data: keep it, out of git",
    "export PENSTOCK_PII_KEY_FILE=$PWD/pii.key",
)


def test_code(draft: Draft, name: str, source: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The file ``test_features.py``.

    Args:
        draft: The contract to be.
        name: The name of the project.
        source: Where the rows are from.
        rows: Rows of one entity, by column, with values as written.
    """
    key = draft.entities[0]
    view = f"{draft.entity_names[key]}_activity"
    window = duration_text(windows(draft, key)[0])
    where = f"Rows of {source}" if draft.findings.rows else f"A row that fits {source}"
    personal = "; what is personal is replaced" if draft.personal and draft.findings.rows else ""
    listed = "".join(f"    {literal(dict(row), indent=4)},\n" for row in rows)
    again = "" if draft.id is None else f' | {{"{draft.id}": {literal(_another(draft))}}}'
    article = "an" if view[0] in "aeiou" else "a"
    return f'''"""Features of {name}, without servers: python -m pytest {name}"""

from penstock.testing import features_of

from {name}.pipeline import pipeline

# {where}{personal}.
ROWS = [
{listed}]


def test_the_rows_fit_the_contract():
    outcomes = features_of(pipeline, ROWS)
    assert [one.message for one in outcomes if one.refused] == []


def test_{article}_{draft.entity_names[key]}_counts_its_events():
    again = ROWS[0]{again}
    first, second = features_of(pipeline, [ROWS[0], again])
    assert first["{view}.count_{window}"] == 1
    assert second["{view}.count_{window}"] == 2
'''


def _another(draft: Draft) -> str:
    assert draft.id is not None
    column = draft.column(draft.id)
    if column.place[0] == ENVELOPE:
        return "/another 1"
    if column.rules:
        return text_of(column.rules).replace("a", "b")
    return "00000000-0000-4000-8000-000000000001" if column.form == "uuid" else "another"


def readme_text(draft: Draft, name: str, topic: str, sample: Sample, command: str) -> str:
    """The file ``README.md``: what was decided, and the next commands."""
    findings = draft.findings
    of = f" ({findings.rows:,} rows)" if findings.rows else ""
    lines = [f"# {name}", "", f"Made from {sample.source}{of} by", "", "```bash", command, "```", ""]
    lines += ["## What was decided", "", *(f"- {line}" for line in decisions(draft)), ""]
    file = sample.source if findings.rows and sample.partitions is None else None
    lines += ["## Next", "", "```bash", *next_commands(draft, name, file), "```", ""]
    lines.append(f"Events are read from topic `{topic}`.")
    return "\n".join([*lines, ""])


def decisions(draft: Draft) -> list[str]:
    """What each part of the project is, and what is left out, in a line each."""
    time = draft.column(draft.time)
    lines = [f"event time: {time.path}, {'ISO 8601' if draft.unit == 'iso8601' else draft.unit}"]
    integer = f" ({draft.integer_id.path} is an integer, and an id is a text)" if draft.integer_id else ""
    possible = draft.possible_id
    by_values = f" ({possible.path} has another text in each row: --event-id {possible.path})" if possible else ""
    lines.append(
        f"event id: {draft.column(draft.id).path}"
        if draft.id
        else f"event id: none{integer}{by_values}, so an event that comes twice counts twice"
    )
    lines.append("entities: " + ", ".join(f"{name} ({draft.column(c).path})" for c, name in draft.entity_names.items()))
    key = draft.column(draft.entities[0]).path
    if isinstance(draft.findings.envelope, Debezium):
        lines.append(f"order: Debezium is to partition changes by {key} (message.key.columns), not by the table's key")
    else:
        lines.append(f"order: producers partition events by {key}, as penstock play does")
    means = numbers(draft)
    lines.append(f"features: counts, time since the previous event{', means of ' + ', '.join(means) if means else ''}")
    for name, treatment in draft.personal.items():
        column = draft.column(name)
        what = column.personal.what if column.personal else "personal data"
        lines.append(f"{column.path}: {what}, {'hashed' if treatment == 'hash' else 'dropped'}")
    for column in draft.columns:
        if column.personal is not None and column.name not in draft.personal:
            lines.append(f"{column.path}: {column.personal.what}, kept as they are")
        if column.place[-1:] != (column.name,) and len(column.place) == 1:
            lines.append(f"{column.path}: called {column.name}")
    if constants := [column.path for column in draft.columns if column.is_constant]:
        lines.append(f"no inputs of the model, as all rows have one value: {', '.join(constants)}")
    lines += [f"{path}: left out, {reason}" for path, reason in draft.findings.left_out.items()]
    return [*lines, *draft.findings.notes]


def next_commands(draft: Draft, name: str, file: str | None) -> list[str]:
    """The commands that follow.

    Args:
        draft: The contract to be.
        name: The name of the project.
        file: The file to play, if there is one.
    """
    reference = f"{name}/pipeline.py"
    play = f"penstock play {shlex.quote(file) if file else 'FILE'} --as {reference} --speed max"
    return [
        "penstock setup  # once on a machine",
        f"python -m pytest {name}  # its features, without servers",
        f"penstock schemas check {reference}",
        *(_KEY if "hash" in draft.personal.values() else ()),
        "penstock up  # a local stack, unless you have servers",
        f"penstock run {reference} --detach  # creates the topics, too",
        # Changes of a table are written by Debezium alone.
        *([] if isinstance(draft.findings.envelope, Debezium) else [play]),
        f"penstock topics show {reference}  # how far it is",
        f"penstock features describe {reference}",
        f"penstock new-view {reference}",
    ]
