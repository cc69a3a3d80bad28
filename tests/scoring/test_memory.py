import math
import random

import numpy as np

from scoring.memory import EventPosition, Events, PartitionMemory, in_columns


def event(offset: int, timestamp: int | None = None, partition: int = 0) -> EventPosition:
    return EventPosition("events.taps", partition, offset, offset if timestamp is None else timestamp)


def columns(*events: EventPosition) -> Events:
    """Events of one raw partition."""
    (found,) = in_columns(events)
    return found


def uncovered(memory: PartitionMemory, *events: EventPosition) -> list[EventPosition]:
    return [event for event in events if memory.uncovered(columns(event)).any()]


def holds(memory: PartitionMemory, *events: EventPosition) -> list[bool]:
    return [bool(memory.scored(columns(event))[0]) for event in events]


def add(memory: PartitionMemory, events) -> None:
    for some in in_columns(events):
        memory.add(some)


def other_log(memory: PartitionMemory, *events: EventPosition) -> int:
    return int(memory.of_another_log(columns(*events)).sum())


def test_a_new_memory_covers_nothing():
    memory = PartitionMemory()
    assert memory.covered_since == math.inf
    assert uncovered(memory, event(7), event(5)) == [event(7), event(5)]


def test_nothing_has_to_be_read_for_an_empty_batch():
    nothing = columns(event(1)).where(np.array([False]))
    assert PartitionMemory().uncovered(nothing).tolist() == []


def test_events_from_the_covered_time_on_need_no_reading():
    memory = PartitionMemory()
    memory.extend(100, [])
    assert uncovered(memory, event(1, timestamp=100), event(2, timestamp=101)) == []


def test_an_older_event_needs_the_predictions_since_its_time():
    memory = PartitionMemory()
    memory.extend(100, [])
    assert uncovered(memory, event(1, timestamp=99), event(2, timestamp=101)) == [event(1, timestamp=99)]


def test_events_from_a_covered_raw_offset_on_need_no_reading_whatever_their_timestamp():
    memory = PartitionMemory()
    memory.extend_from("events.taps", 0, 50, [])
    assert uncovered(memory, event(50, timestamp=-1), event(49, timestamp=10**15)) == [event(49, timestamp=10**15)]


def test_a_covered_raw_offset_holds_for_its_own_topic_and_partition_only():
    memory = PartitionMemory()
    memory.extend_from("events.taps", 0, 50, [])
    other = EventPosition("events.other", 0, 60, 60)
    assert uncovered(memory, other, event(60, partition=1)) == [other, event(60, partition=1)]


def test_extending_never_reduces_the_covered_offsets():
    memory = PartitionMemory()
    memory.extend_from("events.taps", 0, 50, [])
    memory.extend_from("events.taps", 0, 70, [])
    assert uncovered(memory, event(50)) == []


def test_extending_never_reduces_the_covered_time():
    memory = PartitionMemory()
    memory.extend(100, [])
    memory.extend(200, [])
    assert memory.covered_since == 100


def test_it_contains_exactly_the_added_events():
    rng = random.Random(3)
    scored = {(p, o) for p in range(2) for o in rng.sample(range(300_000), 2_000)}
    memory = PartitionMemory()
    add(memory, (event(offset, partition=partition) for partition, offset in scored))
    asked = [(p, o) for p in range(2) for o in rng.sample(range(300_000), 2_000)] + sorted(scored)
    assert holds(memory, *(event(o, partition=p) for p, o in asked)) == [(p, o) in scored for p, o in asked]


def test_an_event_of_another_time_at_a_scored_offset_is_of_another_log():
    """The raw topic was deleted and made anew."""
    memory = PartitionMemory()
    now, year = 1_772_366_400_000, 365 * 86_400_000
    add(memory, (event(offset, timestamp=now + offset) for offset in range(100)))
    assert other_log(memory, *(event(offset, timestamp=now + offset) for offset in range(200))) == 0
    assert other_log(memory, *(event(offset, timestamp=now + year + offset) for offset in range(100))) > 95
    assert other_log(memory, event(150, timestamp=now + year)) == 0


def test_offsets_of_another_topic_are_other_events():
    memory = PartitionMemory()
    add(memory, [event(5)])
    assert holds(memory, EventPosition("events.other", 0, 5, 5)) == [False]


def test_offsets_beyond_32_bits_are_kept():
    memory = PartitionMemory()
    add(memory, [event(2**40 + 3)])
    assert holds(memory, event(2**40 + 3), event(3)) == [True, False]


def test_shrinking_drops_the_oldest_chunks_and_moves_the_covered_time():
    memory = PartitionMemory(max_chunks=2)
    memory.extend(0, [event(n * 65_536) for n in range(4)])
    assert memory.shrink([columns(event(10**9))])
    assert len(memory) == 2
    assert memory.covered_since == 65_536 + 1
    assert holds(memory, event(3 * 65_536)) == [True]
    assert uncovered(memory, event(65_536)) == [event(65_536)]


def test_shrinking_moves_the_covered_offset_behind_what_it_dropped():
    memory = PartitionMemory(max_chunks=2)
    memory.extend_from("events.taps", 0, 0, [event(n * 65_536) for n in range(4)])
    assert memory.shrink([columns(event(10**9))])
    assert uncovered(memory, event(2 * 65_536 - 1), event(2 * 65_536)) == [event(2 * 65_536 - 1)]


def test_a_batch_of_events_dated_long_ago_does_not_keep_the_memory_from_shrinking():
    memory = PartitionMemory(max_chunks=2)
    memory.extend_from("events.taps", 0, 0, [event(n * 65_536) for n in range(4)])
    assert memory.shrink([columns(event(3 * 65_536 + 1, timestamp=0))])
    assert len(memory) == 2


def test_shrinking_keeps_the_events_of_the_current_batch():
    memory = PartitionMemory(max_chunks=1)
    memory.extend(0, [event(n * 65_536) for n in range(4)])
    assert memory.shrink([columns(event(2 * 65_536))])
    assert len(memory) == 2
    assert uncovered(memory, event(2 * 65_536)) == []


def test_a_memory_within_its_limit_is_not_shrunk():
    memory = PartitionMemory(max_chunks=2)
    memory.extend(0, [event(1)])
    assert not memory.shrink([columns(event(10**9))])
    assert memory.covered_since == 0
