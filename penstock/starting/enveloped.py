"""Recognises rows that are all in one kind of envelope, and opens them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from penstock.starting.strays import MOST_STRAYS
from schemas.envelopes import ENVELOPE, OPERATIONS, SOURCE_AND_ID, CloudEvents, Debezium, Operation

Kind = Literal["debezium", "cloudevents"]
NAMES: Mapping[tuple[str, ...], str] = {
    (ENVELOPE, "op"): "operation",
    (ENVELOPE, "source", "ts_ms"): "changed_at",
    (ENVELOPE, SOURCE_AND_ID): "event_id",
    (ENVELOPE, "type"): "event_type",
    (ENVELOPE, "time"): "event_time",
}
"""Names of the columns that are in the envelope."""


class Opening:
    """Opens rows, if nearly all of them are in one kind of envelope.

    Attributes:
        kind: The kind of envelope of the last row.
    """

    def __init__(self) -> None:
        self.kind: Kind | None = None
        self._kinds: Counter[Kind | None] = Counter()
        self._operations: set[Operation] = set()

    def event(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """The event in a row, with what is around it; None if there is none.

        >>> Opening().event({"op": "c", "before": None, "after": {"id": 1}, "source": {"ts_ms": 5}})
        {'id': 1, '$envelope': {'op': 'c', 'source': {'ts_ms': 5}}}
        """
        change = row["payload"] if isinstance(row.get("payload"), Mapping) else row
        if isinstance(change.get("op"), str) and {"before", "after"} & change.keys():
            self._see("debezium")
            return self._row(change)
        if all(isinstance(row.get(name), str) for name in ("specversion", "id", "source", "type")):
            data = row.get("data", {})
            self._see("cloudevents" if isinstance(data, Mapping) and "data_base64" not in row else None)
            around = {SOURCE_AND_ID: f"{row['source']} {row['id']}", "type": row["type"], "time": row.get("time")}
            return {**data, ENVELOPE: around} if isinstance(data, Mapping) else None
        self._see(None)
        return None

    def _see(self, kind: Kind | None) -> None:
        self.kind = kind
        self._kinds[kind] += 1

    def _row(self, change: Mapping[str, Any]) -> dict[str, Any] | None:
        operation = OPERATIONS.get(change["op"])
        row = change.get("before" if operation == "delete" else "after")
        if operation is None or not isinstance(row, Mapping):
            return None
        self._operations.add(operation)
        source = change.get("source")
        time = source.get("ts_ms") if isinstance(source, Mapping) else None
        return {**row, ENVELOPE: {"op": change["op"], "source": {"ts_ms": time}}}

    @property
    def envelope(self) -> Debezium | CloudEvents | None:
        """The envelope of nearly all rows so far; of Debezium, with the operations that there were."""
        usual = self.usual
        if usual == "cloudevents":
            return CloudEvents()
        if usual == "debezium" and self._operations:
            return Debezium(operations=tuple(self._operations))
        return None

    @property
    def others(self) -> int:
        """How many rows were in another envelope than nearly all, or in none."""
        return self._kinds.total() - self._kinds[self.usual]

    @property
    def usual(self) -> Kind | None:
        """The kind of envelope of nearly all rows so far."""
        kind, count = next(iter(self._kinds.most_common(1)), (None, 0))
        total = self._kinds.total()
        return kind if total - count <= MOST_STRAYS * total else None


def code_of(envelope: Debezium | CloudEvents) -> str:
    """The envelope as code.

    >>> code_of(Debezium(operations=("insert",)))
    'Debezium(operations=("insert",))'
    """
    if isinstance(envelope, CloudEvents):
        return "CloudEvents()"
    listed = ", ".join(f'"{operation}"' for operation in envelope.operations)
    return f"Debezium(operations=({listed}{',' if len(envelope.operations) == 1 else ''}))"


def note_of(envelope: Debezium | CloudEvents) -> str:
    """What to say of it."""
    if isinstance(envelope, CloudEvents):
        return "these are CloudEvents; the contract is that of the data"
    return (
        "these are Debezium's changes of a table, and the contract is that of its rows; other operations than "
        f"{', '.join(envelope.operations)} are ignored, as the sample had none: add them to envelope= if they count"
    )
