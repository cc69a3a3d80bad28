"""Which events a view counted for an entity, in which order, and whether those are the entity's raw events.

An engine numbers what it emits: ``epoch``, ``attempt`` and ``seq`` (docs/concepts/semantics.md). These numbers say in
which order a view saw an entity's events, but an engine that lost its state numbers from 1 again. So the order that
they give, the chain, is compared with the raw events: in every epoch it must be a run of the entity's events without
gaps, and the epochs together must have all of them. An attempt continues the chain of the attempts before it from its
restored checkpoint; what it drops it must emit again.

A view that was filled with its history before it took over has counted events of which no record has the view. In an
epoch that begins so, they are the first events of the chain: in offset order, or else in the order of a replay.

Events that only update windows give no record. The entity's next record names them, so they are in the chain too. Those
after the entity's last record are in no chain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from verify.emissions import FeatureFindings, JudgedEvent, ViewEmission, in_replay_order
from verify.published import Position


class Chain(NamedTuple):
    """Events in the order in which a view saw them, and the emissions that follow from it, with their indexes.

    ``attempt`` is the attempt that emitted them. ``is_sure`` is false if the order of its first events, for which the
    view gave no record, may have been another one.
    """

    attempt: int
    events: list[JudgedEvent]
    emissions: list[tuple[int, ViewEmission]]
    is_sure: bool = True


class Chains(NamedTuple):
    """The chain of each attempt in an epoch, in order, and the events of the chain that remained in the end.

    ``is_whole`` is false if a record could not name the updating events before it, as there were too many.
    """

    attempts: list[Chain]
    final: list[JudgedEvent]
    is_whole: bool = True


def entity_chains(
    emissions: Sequence[ViewEmission],
    events: Sequence[JudgedEvent],
    findings: FeatureFindings,
    name: str,
    *,
    ordered: bool,
    without_value: AbstractSet[Position] = frozenset(),
    silent: AbstractSet[Position] = frozenset(),
) -> Chains:
    """The chains of one entity in one epoch.

    Args:
        emissions: What the view emitted for its events, in any order.
        events: All events of the entity, in offset order within each partition, updating events included.
        findings: Collects mismatches, and counts emissions that cannot be judged.
        name: The view and the entity, for messages.
        ordered: Whether the view must see the events of a partition in offset order.
        without_value: Events that have neither a record nor an excerpt of it (:mod:`verify.unpublished`).
        silent: Events whose records lack the view, as another definition wrote them.
    """
    if ordered and len({(event.source, event.position.partition) for event in events}) == 1:
        return _chains_in_offset_order(emissions, events, findings, name, without_value | silent)
    if any(event.position in without_value for event in events if not event.updates):
        findings.unverifiable += len(emissions)
        return Chains([], [], is_whole=False)
    return chains_of(emissions, {event.position: event for event in events}, findings, name, silent)


def chains_of(
    emissions: Sequence[ViewEmission],
    events: Mapping[Position, JudgedEvent],
    findings: FeatureFindings,
    name: str,
    silent: AbstractSet[Position] = frozenset(),
) -> Chains:
    """The chains of one entity in one epoch, from its ``seq`` numbers and the updating events that records name.

    A gap in ``seq`` within an attempt that ended by a failure means that its records were lost and that a later attempt
    emitted them again: emissions after the gap cannot be judged and count as unverifiable. A gap in the last attempt is
    a mismatch, unless a record says that there were too many updating events to name.
    """
    by_attempt = _by_attempt(emissions, findings, name)
    if not by_attempt:
        return Chains([], [])
    chain: list[JudgedEvent] = []
    found: list[Chain] = []
    first = next(iter(by_attempt.values()))[0]
    before = first.seq - 1 - len(first.updates or ())
    is_filled = before > 0 and bool(silent)
    if is_filled and any(event.updates for event in events.values()):
        # Updating events that were counted in silence are named nowhere.
        findings.unverifiable += len(emissions)
        return Chains([], [], is_whole=False)
    if is_filled:
        chain = in_replay_order(event for event in events.values() if event.position in silent)[-before:]
    for attempt, own in by_attempt.items():
        judged: list[tuple[int, ViewEmission]] = []
        for number, emission in enumerate(own):
            updates = emission.updates or ()
            begin = emission.seq - 1 - len(updates)
            chain = chain[:begin] if not judged else chain
            strangers = [place for place in updates if place not in events]
            if strangers:
                partition, offset, source = strangers[0]
                text = f"names source {source}, partition {partition}, offset {offset} as an update, no event of it"
                findings.mismatch(f"{name}: seq {emission.seq} {text}")
            elif begin != len(chain) and emission.updates is not None and attempt == max(by_attempt):
                findings.mismatch(f"{name}: seq {len(chain) + 1} is missing before seq {emission.seq}")
            if strangers or begin != len(chain):
                findings.unverifiable += len(own) - number
                break
            chain += [*(events[place] for place in updates), events[emission.position]]
            judged.append((emission.seq - 1, emission))
        found.append(Chain(attempt, chain, judged, is_sure=not is_filled))
    return Chains(found, found[-1].events, all(emission.updates is not None for emission in emissions))


def _chains_in_offset_order(
    emissions: Sequence[ViewEmission],
    events: Sequence[JudgedEvent],
    findings: FeatureFindings,
    name: str,
    without_value: AbstractSet[Position],
) -> Chains:
    """The chains of one entity in one epoch, if the view must see its ``events`` in the order in which they are given.

    Then ``seq`` counts along them, and no emission is unverifiable.
    """
    ranks = {event.position: rank for rank, event in enumerate(events)}
    by_attempt = _by_attempt(emissions, findings, name)
    if not by_attempt:
        return Chains([], [])
    begin = max(0, min(ranks[own[0].position] - own[0].seq + 1 for own in by_attempt.values()))
    found = []
    length = 0
    for attempt, own in by_attempt.items():
        judged = []
        length = min(length, own[0].seq - 1)
        for emission in own:
            if ranks[emission.position] - begin != emission.seq - 1:
                place = begin + emission.seq - 1
                wanted = events[place].position if place < len(events) else "no event"
                findings.mismatch(f"{name}: seq {emission.seq} is event {emission.position}, in offset order {wanted}")
                findings.unverifiable += 1
                continue
            judged.append((emission.seq - 1, emission))
            length = _beyond(begin + length, events, without_value) - begin
            if emission.seq == length + 1:
                length += 1
        length = _beyond(begin + length, events, without_value) - begin
        found.append(Chain(attempt, list(events[begin:]), judged))
    return Chains(found, list(events[begin : begin + length]))


def _beyond(place: int, events: Sequence[JudgedEvent], without_value: AbstractSet[Position]) -> int:
    """The first place from this one on whose event was emitted with its numbers."""
    while place < len(events) and events[place].position in without_value:
        place += 1
    return place


def check_continuity(
    epochs: Mapping[int, Sequence[JudgedEvent]],
    events: Sequence[JudgedEvent],
    without: AbstractSet[Position],
    findings: FeatureFindings,
    name: str,
    *,
    ordered: bool,
) -> None:
    """Check that the final chains of an entity hold all of its events for which the view existed, once, without gaps.

    Where events may come in any order, an epoch that ended by a failure may have gaps that a later epoch fills. The
    updating events are checked by :func:`check_updates`.

    Args:
        epochs: The final chain of each epoch.
        events: All events of the entity, in offset order within each partition.
        without: The events whose records lack the view, because another definition wrote them.
        findings: Collects mismatches.
        name: The view and the entity, for messages.
        ordered: Whether the view must see the events of a partition in offset order.
    """
    offsets = _by_partition(event for event in events if event.position not in without)
    counted: set[Position] = set()
    ends: dict[tuple[int, int], int] = {}
    for epoch in sorted(epochs):
        # What it counted in silence is as it must be if the values are.
        spoken = (event for event in epochs[epoch] if event.position not in without)
        for lane, seen in _by_partition(spoken).items():
            (source, partition), begin, end = lane, min(seen), max(seen)
            run = [offset for offset in offsets[lane] if begin <= offset <= end]
            where = f"{name}, epoch {epoch}, {f'source {source}, ' if source else ''}partition {partition}"
            may_have_gaps = not ordered and epoch != max(epochs)
            if sorted(seen) != run and not (may_have_gaps and len(set(seen)) == len(seen)):
                lost = sorted(set(run) - set(seen))
                text = f"{where}: counted {len(seen)} events from offset {begin} to {end} of {len(run)}"
                findings.mismatch(text + (f"; the first that is missing has offset {lost[0]}" if lost else ""))
            elif ordered and seen != run:
                findings.mismatch(f"{where}: events were not counted in the order of their offsets")
            if end < ends.get(lane, -1):
                findings.mismatch(f"{where}: ends at offset {end}, an earlier epoch at {ends[lane]}")
            ends[lane] = end
            counted |= {Position(partition, offset, source) for offset in seen}
    for event in events:
        if event.position not in counted and event.position not in without:
            findings.mismatch(f"{name}: event {event.position} was not counted in any epoch's final chain")


def check_updates(
    epochs: Mapping[int, Sequence[JudgedEvent]],
    updating: Sequence[JudgedEvent],
    route: Callable[[JudgedEvent], Hashable],
    findings: FeatureFindings,
    name: str,
    *,
    from_beginning: bool,
) -> None:
    """Check that each epoch's final chain of an entity has its updating events in order, once and without gaps.

    What came after an epoch's last record is unknown, so it may be missing.

    Args:
        epochs: The final chain of each epoch.
        updating: All updating events of the entity, in offset order within each partition.
        route: Events of a partition with the same route stay in the order of their offsets.
        findings: Collects mismatches.
        name: The view and the entity, for messages.
        from_beginning: Whether the first epoch has all of the entity's events from the first on.
    """
    everything = _by_route(updating, route)
    for epoch, chain in epochs.items():
        for lane, seen in _by_route((event for event in chain if event.updates), route).items():
            first, last = 0 if from_beginning and epoch == min(epochs) else min(seen), max(seen)
            run = [offset for offset in everything[lane] if first <= offset <= last]
            if seen != run:
                source, partition = lane[:2]
                lost = sorted(set(run) - set(seen))
                text = f"the first that is missing has offset {lost[0]}" if lost else "not once each, in their order"
                where = f"{name}, epoch {epoch}, source {source}, partition {partition}"
                findings.mismatch(f"{where}: counted {len(seen)} updating events of {len(run)}; {text}")


def _by_route(
    events: Iterable[JudgedEvent], route: Callable[[JudgedEvent], Hashable]
) -> dict[tuple[int, int, Hashable], list[int]]:
    offsets: dict[tuple[int, int, Hashable], list[int]] = defaultdict(list)
    for event in events:
        offsets[event.source, event.position.partition, route(event)].append(event.position.offset)
    return offsets


def _by_partition(events: Iterable[JudgedEvent]) -> dict[tuple[int, int], list[int]]:
    """The offsets of the events of each source and partition."""
    offsets: dict[tuple[int, int], list[int]] = defaultdict(list)
    for event in events:
        offsets[event.source, event.position.partition].append(event.position.offset)
    return offsets


def _by_attempt(
    emissions: Iterable[ViewEmission], findings: FeatureFindings, name: str
) -> dict[int, list[ViewEmission]]:
    """The emissions of each attempt, in order; one for each ``seq``."""
    found: dict[int, dict[int, ViewEmission]] = defaultdict(dict)
    for emission in emissions:
        if emission.seq < 1:
            findings.mismatch(f"{name}: seq is {emission.seq} for event {emission.position}")
            findings.unverifiable += 1
            continue
        before = found[emission.attempt].setdefault(emission.seq, emission)
        if before is emission:
            continue
        if before[2:] != emission[2:]:
            findings.mismatch(f"{name}: seq {emission.seq} of attempt {emission.attempt} was emitted with two contents")
        findings.repeated += 1
    return {attempt: [own[seq] for seq in sorted(own)] for attempt, own in sorted(found.items())}
