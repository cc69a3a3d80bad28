"""Edits of rollouts: of the log, and of predictions under its policies."""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from penstock.kafka.reading import Record
from scoring.rollout.assignment import assign
from scoring.rollout.policy import PublishedPolicy
from tests.verify.sabotage.catalogue import first
from tests.verify.sabotage.editing import with_values
from verify.check_rollout import features_position
from verify.dead_letters import read_letter
from verify.published import Published
from verify.run_data import RunData

Entry = dict[str, Any]


class Switch(NamedTuple):
    """A marker at whose first offset an event was predicted, and the policy that was effective there before."""

    at: int
    partition: int
    first_offset: int
    before: PublishedPolicy


def entry_of(record: Record) -> Entry:
    found: Entry = json.loads(record.value or b"")
    return found


def changes_in(run: RunData) -> Iterator[tuple[int, Entry]]:
    """The changes, each with its place in the log."""
    entries = ((at, entry_of(record)) for at, record in enumerate(run.rollout_log))
    return ((at, entry) for at, entry in entries if entry["kind"] == "change")


def published_in(change: Entry) -> PublishedPolicy:
    return PublishedPolicy.model_validate_json(json.dumps(change["policy"]))


def policies_in(run: RunData) -> dict[str, PublishedPolicy]:
    """Every policy, by the version that predictions name."""
    published = (published_in(entry) for _, entry in changes_in(run))
    return {policy.version: policy for policy in published}


def with_arms(run: RunData) -> Iterator[Published]:
    """The predictions that a scorer made under a policy."""
    return (one for one in run.predictions if one.value["rollout"] is not None and one.replayed is None)


def first_switch(run: RunData) -> Switch:
    """A marker where another policy was effective before, in the middle of predictions."""
    return first(_switches(run), "marker where one policy follows another, in the middle of predictions")


def _switches(run: RunData) -> Iterator[Switch]:
    policies = policies_in(run)
    of_partition: dict[int, list[Published]] = {}
    for one in sorted(with_arms(run), key=features_position):
        of_partition.setdefault(features_position(one).partition, []).append(one)
    refused = {letter.position for letter in map(read_letter, run.unscored)}
    for at, entry in enumerate(map(entry_of, run.rollout_log)):
        if entry["kind"] != "marker":
            continue
        partition, offset = entry["partition"], entry["first_offset"]
        predictions = of_partition.get(partition, [])
        place = bisect_right(predictions, offset, key=lambda one: features_position(one).offset) - 1
        if place < 1 or features_position(predictions[place]).offset != offset or (partition, offset - 1) in refused:
            continue
        before, now = (predictions[n].value["rollout"]["policy"] for n in (place - 1, place))
        if before != now == entry["policy"][:12]:
            yield Switch(at, partition, offset, policies[before])


def arm_under(policy: PublishedPolicy, prediction: Published) -> Entry | None:
    """What the prediction would say under the policy; None if another version would have scored it, or it explores."""
    value = prediction.value
    found = assign(policy, [value["entity"]], [value["event_id"]])
    arm = policy.policy.arms[found.arms[0]]
    version = value["model_version"] if value["cascade"] is None else value["cascade"]["fast_version"]
    if version != str(arm.version) or found.explored[0] or value["rollout"]["explored"]:
        return None
    odds = {"probability": float(found.probabilities[0]), "propensity": float(found.propensities[0])}
    return {"policy": policy.version, "arm": arm.name, **odds}


def edit_log(run: RunData, at: int, change: Callable[[Entry], Entry | None]) -> RunData:
    """Change, or leave out, an entry of the log."""
    log = list(run.rollout_log)
    edited = change(entry_of(log[at]))
    log[at : at + 1] = [] if edited is None else [dataclasses.replace(log[at], value=json.dumps(edited).encode())]
    return dataclasses.replace(run, rollout_log=log)


def edit_change(
    run: RunData,
    change: Callable[[Entry], Entry],
    where: Callable[[Entry], bool] = lambda _: True,
    what: str = "change",
) -> RunData:
    """Edit a change that fits, in the log and where it is the latest."""
    at, entry = first(((at, entry) for at, entry in changes_in(run) if where(entry)), what)
    edited = json.dumps(change(entry)).encode()
    is_latest = run.rollout_log[at].value == run.rollout[-1].value
    latest: Sequence[Record] = run.rollout
    if is_latest:
        latest = [*latest[:-1], dataclasses.replace(latest[-1], value=edited)]
    return dataclasses.replace(edit_log(run, at, change), rollout=latest)


def edit_prediction(
    run: RunData, change: Callable[[Published], Entry | None], what: str = "prediction with an arm"
) -> RunData:
    """Change the first prediction under a policy of which there is something to change."""
    arms = [id(one) for one in with_arms(run)]
    edits = ((n, change(one)) for n, one in enumerate(run.predictions) if id(one) in arms)
    at, edit = first(((n, edit) for n, edit in edits if edit is not None), what)
    predictions = list(run.predictions)
    predictions[at] = with_values(predictions[at], **(edit or {}))
    return dataclasses.replace(run, predictions=predictions)


def edit_arm(
    run: RunData, change: Callable[[Published], Entry | None], what: str = "prediction with an arm"
) -> RunData:
    def edit(prediction: Published) -> Entry | None:
        changed = change(prediction)
        return None if changed is None else {"rollout": prediction.value["rollout"] | changed}

    return edit_prediction(run, edit, what)
