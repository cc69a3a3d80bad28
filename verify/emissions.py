"""What the feature checks compare: valid events, and the parts of records that a view emitted for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from streams.oracle.reference import Row
from verify.findings import Findings
from verify.published import Position


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """A valid, first-seen event: its row has every column, derived ones included."""

    position: Position
    timestamp: int
    key: bytes | None
    event_id: str
    time: int
    row: Row


@dataclass
class FeatureFindings(Findings):
    """What the check of the features topic found."""

    emitted: int = 0
    checked: int = 0
    unverifiable: int = 0
    missing: int = 0
    unexpected: int = 0


class ViewEmission(NamedTuple):
    """One view's part of one record."""

    attempt: int
    seq: int
    position: Position
    part: Mapping[str, Any]
