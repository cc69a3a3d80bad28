import math
import random

from scoring.memory import PartitionMemory, Source


def source(offset: int, timestamp: int | None = None, partition: int = 0) -> Source:
    return Source("events.taps", partition, offset, offset if timestamp is None else timestamp)


def test_a_new_memory_must_read_before_it_can_judge():
    memory = PartitionMemory()
    assert memory.covered_since == math.inf
    assert memory.missing_before([source(7), source(5), source(9)]) == 5


def test_nothing_has_to_be_read_for_an_empty_batch():
    assert PartitionMemory().missing_before([]) is None


def test_events_from_the_covered_time_on_need_no_reading():
    memory = PartitionMemory()
    memory.extend(100, [])
    assert memory.missing_before([source(1, timestamp=100), source(2, timestamp=101)]) is None


def test_an_older_event_asks_for_what_lies_before():
    memory = PartitionMemory()
    memory.extend(100, [])
    assert memory.missing_before([source(1, timestamp=99), source(2, timestamp=101)]) == 99


def test_extending_never_forgets_that_older_times_are_covered():
    memory = PartitionMemory()
    memory.extend(100, [])
    memory.extend(200, [])
    assert memory.covered_since == 100


def test_it_remembers_exactly_what_it_was_given():
    rng = random.Random(3)
    scored = {(p, o) for p in range(2) for o in rng.sample(range(300_000), 2_000)}
    memory = PartitionMemory()
    memory.add(source(offset, partition=partition) for partition, offset in scored)
    asked = [(p, o) for p in range(2) for o in rng.sample(range(300_000), 2_000)] + sorted(scored)
    assert [(source(o, partition=p) in memory) for p, o in asked] == [(p, o) in scored for p, o in asked]


def test_offsets_of_another_topic_are_other_events():
    memory = PartitionMemory()
    memory.add([source(5)])
    assert Source("events.other", 0, 5, 5) not in memory


def test_offsets_beyond_32_bits_are_kept():
    memory = PartitionMemory()
    memory.add([source(2**40 + 3)])
    assert source(2**40 + 3) in memory
    assert source(3) not in memory


def test_shrinking_drops_the_oldest_and_says_from_when_it_still_knows():
    memory = PartitionMemory(max_chunks=2)
    memory.extend(0, [source(n * 65_536) for n in range(4)])
    assert memory.shrink(before=10**9)
    assert len(memory) == 2
    assert memory.covered_since == 65_536 + 1
    assert source(3 * 65_536) in memory
    assert memory.missing_before([source(65_536)]) == 65_536


def test_shrinking_leaves_what_the_stream_is_reading_now():
    memory = PartitionMemory(max_chunks=1)
    memory.extend(0, [source(n * 65_536) for n in range(4)])
    assert memory.shrink(before=2 * 65_536)
    assert len(memory) == 2
    assert memory.missing_before([source(2 * 65_536)]) is None


def test_a_small_memory_is_left_as_it_is():
    memory = PartitionMemory(max_chunks=2)
    memory.extend(0, [source(1)])
    assert not memory.shrink(before=10**9)
    assert memory.covered_since == 0


def test_whatever_is_judged_new_was_never_scored_under_random_emissions_and_forgetting():
    """A model of the whole protocol: a log of answers, a bounded memory over it, events emitted again at random."""
    rng = random.Random(11)
    answers: list[tuple[int, Source]] = []  # Kafka timestamp, event: what the predictions topic holds
    memory = PartitionMemory(max_chunks=1)
    clock = 0
    for _ in range(3_000):
        clock += rng.randrange(20)
        if rng.random() < 0.01:
            memory = PartitionMemory(max_chunks=1)  # a restart
        batch = [event(max(0, clock - rng.choice([0, 0, 0, 3, 50, 1_000, 20_000]))) for _ in range(3)]
        since = memory.missing_before(batch)
        if since is not None:
            memory.extend(since, [answer for written, answer in answers if written >= since])
        fresh = {candidate for candidate in batch if candidate not in memory}
        assert not fresh & {answer for _, answer in answers}
        assert set(batch) - fresh <= {answer for _, answer in answers}
        memory.add(fresh)
        answers += [(max(clock, answer.timestamp), answer) for answer in fresh]
        if fresh:
            memory.shrink(before=min(candidate.timestamp for candidate in fresh))
    assert len(answers) > 1_000


def event(timestamp: int) -> Source:
    """The one event of that time; 40 of them share a chunk."""
    return Source("events.taps", 0, timestamp * 1_600, timestamp)
