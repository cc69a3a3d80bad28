"""Recognises rows that are in an envelope, so that a person hears of a shorter way to write their contract. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_PAGE = "docs/concepts/envelopes.md"


def envelope_note(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """What to say of rows that are all in one kind of envelope; None if they are not.

    >>> envelope_note([{"op": "c", "before": None, "after": {"id": 1}}])[:44]
    "these are Debezium's changes of a table: giv"
    """
    kinds = {_kind(row) for row in rows}
    if kinds == {"debezium"}:
        return (
            "these are Debezium's changes of a table: give the source envelope=Debezium(...), and the contract the "
            f"columns of the table; deletes, snapshots and tombstones are then no dead letters ({_PAGE})"
        )
    if kinds == {"cloudevents"}:
        return (
            "these are CloudEvents: give the source envelope=CloudEvents(), and the contract the fields of the data; "
            f"those in binary mode are then read, too ({_PAGE})"
        )
    return None


def _kind(row: Mapping[str, Any]) -> str | None:
    change = row["payload"] if isinstance(row.get("payload"), Mapping) else row
    if isinstance(change.get("op"), str) and {"before", "after"} & change.keys():
        return "debezium"
    if all(isinstance(row.get(name), str) for name in ("specversion", "id", "source", "type")):
        return "cloudevents"
    return None
