"""Checks of an entity's chain take time in proportion to its events, however hot the entity is."""

from __future__ import annotations

import time

from verify.continuity import check_continuity, check_updates
from verify.emissions import FeatureFindings, JudgedEvent
from verify.published import Position

_EVENTS = 20_000
# A check that looks through all events again for each of them takes more than ten seconds.
_LONGEST_S = 2.0


def events(source: int) -> list[JudgedEvent]:
    return [JudgedEvent(Position(0, n, source), 7, b"a", f"id{n}", n, {"k": "a"}, source > 0) for n in range(_EVENTS)]


def test_the_chain_of_a_hot_entity_is_compared_with_its_events_in_one_pass() -> None:
    chain, findings, began = events(0), FeatureFindings(), time.process_time()
    check_continuity({1: chain}, chain, set(), findings, "v@1 a", ordered=True)
    assert time.process_time() - began < _LONGEST_S
    assert findings.mismatches == 0


def test_the_updates_of_a_hot_entity_are_compared_with_its_chain_in_one_pass() -> None:
    chain, findings, began = events(1), FeatureFindings(), time.process_time()
    check_updates({1: chain}, chain, lambda event: event.row["k"], findings, "v@1 a", from_beginning=True)
    assert time.process_time() - began < _LONGEST_S
    assert findings.mismatches == 0
