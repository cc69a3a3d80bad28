"""Views that counted events in silence, before they took over: which chains the verifier takes for right."""

from __future__ import annotations

import pytest

from verify.continuity import Chains, check_continuity, entity_chains
from verify.emissions import FeatureFindings, JudgedEvent, ViewEmission
from verify.published import Position

# Two partitions; of each, the first three events have records of a definition without the view.
EVENTS = [
    JudgedEvent(Position(partition, offset), 1_000 * offset + partition, b"a", f"{partition}-{offset}", offset, {})
    for partition in (0, 1)
    for offset in range(5)
]
SILENT = {event.position for event in EVENTS if event.position.offset < 3}
SPOKEN = [event for event in EVENTS if event.position not in SILENT]


def emissions(events: list[JudgedEvent], first_seq: int) -> list[ViewEmission]:
    return [ViewEmission(9, first_seq + number, event.position, {}) for number, event in enumerate(events)]


def judged(
    events: list[JudgedEvent], first_seq: int, *, ordered: bool, silent: set[Position] = SILENT
) -> tuple[Chains, FeatureFindings]:
    findings = FeatureFindings()
    spoken = [event for event in events if event.position not in SILENT and not event.updates]
    chains = entity_chains(emissions(spoken, first_seq), events, findings, "v@1 a", ordered=ordered, silent=silent)
    check_continuity({5: chains.final}, events, silent, findings, "v@1 a", ordered=ordered)
    return chains, findings


def test_in_offset_order_the_events_before_the_first_record_were_counted_in_silence() -> None:
    one = EVENTS[:5]

    chains, findings = judged(one, 4, ordered=True)

    assert (findings.mismatches, findings.unverifiable) == (0, 0), findings.examples
    assert chains.final == one
    assert chains.attempts[0].is_sure


def test_a_fill_may_have_begun_in_the_middle_of_the_topic() -> None:
    chains, findings = judged(EVENTS[:5], 2, ordered=True)

    assert findings.mismatches == 0, findings.examples
    assert chains.final == EVENTS[2:5]


def test_of_several_partitions_they_come_in_the_order_of_a_replay_which_is_not_sure() -> None:
    chains, findings = judged(EVENTS, 7, ordered=False)

    assert (findings.mismatches, findings.unverifiable) == (0, 0), findings.examples
    assert [event.event_id for event in chains.final[:6]] == ["0-0", "1-0", "0-1", "1-1", "0-2", "1-2"]
    assert chains.final[6:] == SPOKEN
    assert not chains.attempts[0].is_sure


@pytest.mark.parametrize(("events", "ordered"), [(EVENTS[:5], True), (EVENTS, False)])
def test_a_first_number_that_is_greater_than_the_events_before_it_is_a_mismatch(
    events: list[JudgedEvent], ordered: bool
) -> None:
    assert judged(events, len(events), ordered=ordered)[1].mismatches > 0


@pytest.mark.parametrize("events", [EVENTS[:5], EVENTS])
def test_without_records_that_lack_the_view_nothing_can_be_counted_in_silence(events: list[JudgedEvent]) -> None:
    silent = len([event for event in events if event.position in SILENT])

    assert judged(events, silent + 1, ordered=len(events) == 5, silent=set())[1].mismatches > 0


def test_a_view_that_began_empty_is_judged_as_before() -> None:
    for events, ordered in ((EVENTS[:5], True), (EVENTS, False)):
        chains, findings = judged(events, 1, ordered=ordered)
        assert findings.mismatches == 0, findings.examples
        assert chains.final == [event for event in events if event.position not in SILENT]
        assert chains.attempts[0].is_sure


def test_updating_events_that_were_counted_in_silence_are_named_nowhere() -> None:
    updating = JudgedEvent(Position(0, 1, 1), 5, b"a", "u", 5, {}, updates=True)

    chains, findings = judged([*EVENTS, updating], 8, ordered=False)

    assert not chains.is_whole
    assert findings.unverifiable == len(SPOKEN)
