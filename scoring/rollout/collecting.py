"""Takes what was read into the state of the judge. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scoring.mixing import mix
from scoring.rollout.assignment import assign
from scoring.rollout.judge_state import HIDDEN, TOO_LATE, Call, Column, JudgeState
from scoring.rollout.label_table import ROW, of_source
from scoring.rollout.observations import Label, Letter, Live, Shadow
from scoring.rollout.policy_log import Marker, Refusal
from scoring.rollout.sample import Rows, Sample, Words, hashes

_MOST_TEXT = 1_000
# An odd number whose multiples are far from each other, also that of SplitMix64.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_Seen = Live | Shadow | Letter


def policy_number(version: str) -> float:
    """The version of a policy as a number, without loss: twelve hex digits have 48 bits."""
    return float(int(version, 16))


def collect(
    state: JudgeState,
    live: Sequence[Live],
    shadow: Sequence[Shadow],
    letters: Sequence[Letter],
    entity_again: int | None,
) -> JudgeState:
    """The state with further events.

    Args:
        state: What was seen so far.
        live: Predictions that were served.
        shadow: Predictions that were not.
        letters: Events without a score.
        entity_again: After which event time an entity counts again, in ms; None: never.
    """
    arms = {arm.name for arm in state.published.policy.arms}
    known = [one for one in live if one.policy in state.versions and one.arm in arms]
    version, versions = state.published.version, state.published.shadows
    present = [one for one in known if one.policy == version]
    in_shadow = [one for one in shadow if one.policy == version and one.version in versions]
    # Each counts as of when it was scored, if that is earlier: an event from the future must not tell the time.
    reached = [state.served_ms, *(min(one.event_time_ms, one.scored_at_ms) for one in known)]
    state = replace(state, served_ms=max((time for time in reached if time is not None), default=None))
    state = replace(state, calls=_with_calls(state, [*present, *in_shadow, *letters]))
    return replace(state, entities=_with_entities(state, [*known, *in_shadow], entity_again))


def _with_calls(state: JudgeState, seen: Sequence[_Seen]) -> Sample:
    slices, units = hashes(f"{state.published.policy.salt}/judged calls", [one.event_id for one in seen])
    kept = np.flatnonzero(state.calls.may_keep(slices))
    chosen = [seen[place] for place in kept.tolist()]
    assigned = _assigned(state, chosen)
    rows = _rows(state.calls, chosen, units[kept], slices[kept], assigned)
    values = np.full(rows["values"].shape, np.nan)
    arms, slots = _places(state)
    for row, one, arm in zip(values, chosen, assigned.tolist(), strict=True):
        if isinstance(one, Live):
            row[: len(Call)] = arms[one.arm], one.scored_at_ms, one.is_fallback, 0, one.infer_ms
        elif isinstance(one, Letter):
            row[: Call.INFER_MS] = arm, one.time_ms, 1, 1
        else:
            row[len(Call) + slots[one.version]] = one.infer_ms
    rows["values"] = values
    return state.calls.add(rows)


def _with_entities(state: JudgeState, seen: Sequence[Live | Shadow], entity_again: int | None) -> Sample:
    # As for its arm, an event without an entity is one of its own.
    entities = [one.event_id if one.entity is None else one.entity for one in seen]
    slices, units = hashes(f"{state.published.policy.salt}/judged entities", entities)
    kept = np.flatnonzero(state.entities.may_keep(slices))
    chosen, units = [seen[place] for place in kept.tolist()], units[kept]
    times = np.array([one.event_time_ms for one in chosen], np.int64)
    if entity_again is not None:
        # Another unit for each window of time.
        units = mix(units + (times // entity_again).astype(np.uint64) * _GOLDEN)
    rows = _rows(state.entities, chosen, units, slices[kept], _assigned(state, chosen))
    values = np.full(rows["values"].shape, np.nan)
    arms, slots = _places(state)
    versions, first_shadow = [arm.version for arm in state.published.policy.arms], len(Column) + state.groups
    for row, one in zip(values, chosen, strict=True):
        if isinstance(one, Live):
            arm = arms[one.arm]
            # Where a candidate gave no number, the score is the champion's.
            score = one.score if one.version == versions[arm] else np.nan
            row[: Column.UNSEEN] = policy_number(one.policy), arm, score
            row[Column.UNSEEN] = HIDDEN if one.is_hidden else np.nan
            row[len(Column) : first_shadow] = one.groups
        else:
            row[first_shadow + slots[one.version]] = one.score
    rows["event"] = event_hashes([one.event_id for one in chosen])
    if state.labels.forgotten_ms is not None:
        is_new = ~np.isin(rows["event"], state.entities.rows["event"])
        values[is_new & (times <= state.labels.forgotten_ms), Column.UNSEEN] = TOO_LATE
    rows["first"], rows["values"] = times, values
    return state.entities.add(rows)


def _places(state: JudgeState) -> tuple[dict[str, int], dict[int, int]]:
    """The place of each arm, by its name, and of each version in shadow."""
    arms = {arm.name: place for place, arm in enumerate(state.published.policy.arms)}
    return arms, {version: place for place, version in enumerate(state.published.shadows)}


def collect_labels(state: JudgeState, labels: Sequence[Label]) -> JudgeState:
    """The state with further labels, as many as there is room for."""
    rows = np.empty(len(labels), ROW)
    rows["event"] = of_source(
        event_hashes([one.event_id for one in labels]), np.array([one.source for one in labels], np.uint64)
    )
    rows["time"] = [one.time_ms for one in labels]
    rows["received"] = [one.received_ms for one in labels]
    rows["partition"], rows["offset"] = [one.partition for one in labels], [one.offset for one in labels]
    rows["value"] = [np.nan if one.value is None else one.value for one in labels]
    return replace(state, labels=state.labels.add(rows).within_room(state.entities.rows["event"], state.finals))


def collect_entries(state: JudgeState, entries: Iterable[Marker | Refusal], complete: Mapping[int, int]) -> JudgeState:
    """The state with what the log says of the policy, and up to where all predictions have been handed over."""
    markers, refusals = dict(state.markers), {state.refusal} - {None}
    for entry in entries:
        if entry.policy != state.policy:
            continue
        if isinstance(entry, Refusal):
            refusals.add(f"scorer {entry.instance}: {entry.reason[:_MOST_TEXT]}")
        else:
            # A marker is written again where its offsets are scored again.
            first = min(entry.first_offset, markers.get(entry.partition, entry.first_offset))
            markers[entry.partition] = first
    reached = {partition: max(offset, state.complete.get(partition, 0)) for partition, offset in complete.items()}
    refusal = min(filter(None, refusals), default=None)
    return replace(state, markers=markers, refusal=refusal, complete={**state.complete, **reached})


def event_hashes(ids: Sequence[str]) -> Words:
    """What identifies an event, to find its label."""
    return hashes("event", ids)[0]


def _assigned(state: JudgeState, chosen: Sequence[_Seen]) -> NDArray[np.intp]:
    """The arm of each event by the policy."""
    if not chosen:
        return np.empty(0, np.intp)
    return assign(state.published, [one.entity for one in chosen], [one.event_id for one in chosen]).arms


def _rows(sample: Sample, chosen: Sequence[_Seen], units: Words, slices: Words, arms: NDArray[np.intp]) -> Rows:
    rows = np.zeros(len(chosen), sample.rows.dtype)
    rows["unit"], rows["slice"] = units, slices
    rows["partition"] = [one.partition for one in chosen]
    rows["offset"] = [one.offset for one in chosen]
    rows["pool"] = arms if len(sample.halvings) > 1 else 0
    return rows
