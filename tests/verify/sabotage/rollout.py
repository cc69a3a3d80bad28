"""What can be wrong with rollouts: the log, the arms of predictions, and what is scored in shadow."""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from penstock.kafka.reading import Record
from scoring.rollout.assignment import assign
from scoring.rollout.policy import PublishedPolicy
from streams.plan.project import Project
from tests.verify.sabotage.catalogue import Mutant, first, mutant
from tests.verify.sabotage.editing import with_values
from verify.dead_letters import read_letter
from verify.published import Position, Published
from verify.run_data import RunData

ROLLOUT_MUTANTS: list[Mutant] = []

Entry = dict[str, Any]


class Switch(NamedTuple):
    """A marker at whose first offset an event was predicted, and the policy that was effective there before."""

    at: int
    partition: int
    first_offset: int
    before: PublishedPolicy


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_lost(_: Project, run: RunData) -> RunData:
    return _edit_log(run, _switch(run).at, lambda _: None)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_that_comes_one_offset_later(_: Project, run: RunData) -> RunData:
    return _edit_log(run, _switch(run).at, lambda entry: entry | {"first_offset": entry["first_offset"] + 1})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_that_comes_one_offset_earlier(_: Project, run: RunData) -> RunData:
    return _edit_log(run, _switch(run).at, lambda entry: entry | {"first_offset": entry["first_offset"] - 1})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_on_another_partition(project: Project, run: RunData) -> RunData:
    partitions = project.plan.source.partitions
    return _edit_log(run, _switch(run).at, lambda entry: entry | {"partition": (entry["partition"] + 1) % partitions})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_that_stands_before_its_policy(_: Project, run: RunData) -> RunData:
    log, at = list(run.rollout_log), _switch(run).at
    policy = _entry(log[at])["policy"]
    change = next(n for n, entry in _changes(run) if _published(entry).hash == policy)
    log.insert(change, log.pop(at))
    return dataclasses.replace(run, rollout_log=log)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_of_a_policy_that_nobody_published(_: Project, run: RunData) -> RunData:
    return _edit_log(run, _switch(run).at, lambda entry: entry | {"policy": "0" * 64})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_batch_under_the_policy_before(_: Project, run: RunData) -> RunData:
    """All that these predictions say is true, but of the policy before; their version is the same under both."""
    switch, predictions = _switch(run), list(run.predictions)
    batch = [
        at
        for at, one in enumerate(predictions)
        if _at(one) in {(switch.partition, switch.first_offset + n) for n in range(10)}
    ]
    edited = [(at, arm) for at in batch if (arm := _arm_under(switch.before, predictions[at])) is not None]
    for at, arm in first([edited] if edited else [], "batch whose arms are the same under two policies"):
        predictions[at] = with_values(predictions[at], rollout=predictions[at].value["rollout"] | arm)
    return dataclasses.replace(run, predictions=predictions)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def an_arm_swapped(_: Project, run: RunData) -> RunData:
    """The prediction names the other arm and that arm's probability; its own arm scored it."""
    policies = _policies(run)

    def other(prediction: Published) -> Entry | None:
        arm = prediction.value["rollout"]
        weights = policies[arm["policy"]].weights
        return next(({"arm": name, "probability": weights[name]} for name in weights if name != arm["arm"]), None)

    return _edit_arm(run, other, "prediction of a policy with two arms")


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_probability_edited(_: Project, run: RunData) -> RunData:
    return _edit_arm(run, lambda one: {"probability": one.value["rollout"]["probability"] / 2})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_propensity_edited(_: Project, run: RunData) -> RunData:
    return _edit_arm(run, lambda one: {"propensity": one.value["rollout"]["propensity"] / 2})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_prediction_that_names_no_arm(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, lambda _: {"rollout": None})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_prediction_that_names_a_policy_before_the_first(_: Project, run: RunData) -> RunData:
    predictions = list(run.predictions)
    before = (n for n, one in enumerate(predictions) if one.value["rollout"] is None)
    at = first(before, "prediction before the first policy")
    arm = first(_with_arms(run), "prediction with an arm").value["rollout"]
    predictions[at] = with_values(predictions[at], rollout=arm)
    return dataclasses.replace(run, predictions=predictions)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def an_explored_event_decided_by_its_score(project: Project, run: RunData) -> RunData:
    model = project.pipeline.model

    def decide(prediction: Published) -> Entry | None:
        value = prediction.value
        is_decided = value["rollout"]["explored"] and value["score"] >= model.threshold
        return {"decision": model.positive} if is_decided and value["decision"] != model.positive else None

    return _edit_prediction(run, decide, "explored event with a positive score")


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def an_event_permitted_that_is_not_in_the_slice(project: Project, run: RunData) -> RunData:
    model, policies = project.pipeline.model, _policies(run)

    def permit(prediction: Published) -> Entry | None:
        value, arm = prediction.value, prediction.value["rollout"]
        exploration = policies[arm["policy"]].policy.exploration
        if exploration is None or arm["explored"] or value["decision"] != model.positive:
            return None
        explored = arm | {"explored": True, "propensity": exploration.share}
        return {"rollout": explored, "decision": exploration.decision}

    return _edit_prediction(run, permit, "event with a positive decision beside an exploration")


@mutant("prediction_mismatches", into=ROLLOUT_MUTANTS)
def a_decision_that_does_not_follow_beside_an_exploration(project: Project, run: RunData) -> RunData:
    model, policies = project.pipeline.model, _policies(run)

    def permit(prediction: Published) -> Entry | None:
        arm = prediction.value["rollout"]
        is_near = policies[arm["policy"]].policy.exploration is not None and not arm["explored"]
        return {"decision": model.negative} if is_near and prediction.value["decision"] == model.positive else None

    return _edit_prediction(run, permit, "event with a positive decision beside an exploration")


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def the_ranges_of_a_policy_edited(_: Project, run: RunData) -> RunData:
    """Every weight stays, but one entity in 10,000 gets another arm."""

    def shift(entry: Entry) -> Entry:
        one, other, *rest = entry["policy"]["ranges"]
        moved = [one | {"end": one["end"] - 1}, other | {"start": other["start"] - 1, "end": other["end"] - 1}]
        last = rest.pop(0) if rest else {"arm": one["arm"], "end": other["end"]}
        moved.append(last | {"start": other["end"] - 1})
        return entry | {"policy": entry["policy"] | {"ranges": [*moved, *rest]}}

    return _edit_change(run, shift, lambda entry: len(entry["policy"]["ranges"]) > 1, "policy with two ranges")


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_weight_that_is_not_that_of_the_step(_: Project, run: RunData) -> RunData:
    return _edit_change(
        run,
        lambda entry: entry | {"step": entry["step"] + 1},
        lambda entry: len(entry["policy"]["policy"]["steps"]) > entry["step"] + 1,
        "canary with another step",
    )


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_that_nobody_made(_: Project, run: RunData) -> RunData:
    return _edit_change(run, lambda entry: entry | {"author": ""})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_without_a_reason(_: Project, run: RunData) -> RunData:
    return _edit_change(run, lambda entry: entry | {"reason": " "})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_by_the_controller_without_evidence(_: Project, run: RunData) -> RunData:
    return _edit_change(
        run,
        lambda entry: entry | {"evidence": {}},
        lambda entry: entry["author"] == "controller",
        "change by the controller",
    )


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_lost(_: Project, run: RunData) -> RunData:
    changes = [at for at, _ in _changes(run)]
    return _edit_log(run, first(changes[1:-1], "change between two others"), lambda _: None)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_that_scorers_were_not_told(_: Project, run: RunData) -> RunData:
    """The compacted topic still has the policy before."""
    first(run.rollout[1:], "second policy")
    before = list(_changes(run))[-2][0]
    latest = dataclasses.replace(run.rollout[-1], value=run.rollout_log[before].value)
    return dataclasses.replace(run, rollout=[latest])


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def an_entry_of_the_log_that_is_none(_: Project, run: RunData) -> RunData:
    return _edit_log(run, _switch(run).at, lambda entry: {**entry, "kind": "note"})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_served_to_users(_: Project, run: RunData) -> RunData:
    return _serve_a_shadow(run, lambda shadow, _: dict(shadow.value))


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_served_to_users_in_the_name_of_an_arm(_: Project, run: RunData) -> RunData:
    return _serve_a_shadow(run, lambda shadow, served: {**shadow.value, "rollout": served.value["rollout"]})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_published_twice(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, shadows=[*run.shadows, first(run.shadows, "shadow prediction")])


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_of_a_version_that_is_not_in_shadow(_: Project, run: RunData) -> RunData:
    return _edit_shadow(run, model_version="7")


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_under_another_policy(_: Project, run: RunData) -> RunData:
    arm = first(run.shadows, "shadow prediction").value["rollout"]
    return _edit_shadow(run, rollout=arm | {"policy": "0" * 12})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_with_the_score_of_a_thousandth_more(_: Project, run: RunData) -> RunData:
    return _edit_shadow(run, score=first(run.shadows, "shadow prediction").value["score"] + 0.001)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_of_another_vector(_: Project, run: RunData) -> RunData:
    one = first(run.shadows, "shadow prediction")
    others = (s for s in run.shadows if s.value["model_version"] == one.value["model_version"])
    other = first((s for s in others if s.value["vector"] != one.value["vector"]), "shadow of another vector").value
    return _edit_shadow(run, vector=other["vector"], score=other["score"], decision=other["decision"])


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_whose_decision_does_not_follow(project: Project, run: RunData) -> RunData:
    model = project.pipeline.model
    said = first(run.shadows, "shadow prediction").value["decision"]
    return _edit_shadow(run, decision=model.negative if said == model.positive else model.positive)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_under_a_policy_without_any(_: Project, run: RunData) -> RunData:
    policies, shadow = _policies(run), first(run.shadows, "shadow prediction")

    def has_none(prediction: Published) -> bool:
        policy = policies[prediction.value["rollout"]["policy"]]
        candidates = [arm for arm in policy.policy.candidates if not policy.weights[arm.name]]
        return not (policy.policy.shadow or candidates)

    served = first(filter(has_none, _with_arms(run)), "prediction of a policy without a shadow")
    arm = shadow.value["rollout"] | {"policy": served.value["rollout"]["policy"]}
    beside = dataclasses.replace(served, offset=len(run.shadows), value={**served.value, "rollout": arm})
    return dataclasses.replace(run, shadows=[*run.shadows, beside])


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_shadow_beside_no_prediction(_: Project, run: RunData) -> RunData:
    place = _at(first(run.shadows, "shadow prediction"))
    return dataclasses.replace(run, predictions=[one for one in run.predictions if _at(one) != place])


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_replay_under_a_policy_that_nobody_published(_: Project, run: RunData) -> RunData:
    replayed = (n for n, one in enumerate(run.predictions) if one.replayed is not None and one.value["rollout"])
    predictions, at = list(run.predictions), first(replayed, "replay under a policy")
    arm = predictions[at].value["rollout"] | {"policy": "0" * 12}
    predictions[at] = with_values(predictions[at], rollout=arm)
    return dataclasses.replace(run, predictions=predictions)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_correction_of_nothing(_: Project, run: RunData) -> RunData:
    one = first(run.corrections, "correction")
    return dataclasses.replace(run, corrections=[with_values(one, event_id="another"), *run.corrections[1:]])


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_foreign_record_among_the_shadows(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, unreadable=["predictions.shadow[0]@9"])


def _entry(record: Record) -> Entry:
    found: Entry = json.loads(record.value or b"")
    return found


def _changes(run: RunData) -> Iterator[tuple[int, Entry]]:
    """The changes, each with its place in the log."""
    entries = ((at, _entry(record)) for at, record in enumerate(run.rollout_log))
    return ((at, entry) for at, entry in entries if entry["kind"] == "change")


def _published(change: Entry) -> PublishedPolicy:
    return PublishedPolicy.model_validate_json(json.dumps(change["policy"]))


def _policies(run: RunData) -> dict[str, PublishedPolicy]:
    """Every policy, by the version that predictions name."""
    published = (_published(entry) for _, entry in _changes(run))
    return {policy.version: policy for policy in published}


def _at(prediction: Published) -> Position:
    return Position(prediction.value["features_partition"], prediction.value["features_offset"])


def _with_arms(run: RunData) -> Iterator[Published]:
    """The predictions that a scorer made under a policy."""
    return (one for one in run.predictions if one.value["rollout"] is not None and one.replayed is None)


def _switch(run: RunData) -> Switch:
    """A marker where another policy was effective before, in the middle of predictions."""
    return first(_switches(run), "marker where one policy follows another, in the middle of predictions")


def _switches(run: RunData) -> Iterator[Switch]:
    policies = _policies(run)
    of_partition: dict[int, list[Published]] = {}
    for one in sorted(_with_arms(run), key=_at):
        of_partition.setdefault(_at(one).partition, []).append(one)
    refused = {letter.position for letter in map(read_letter, run.unscored)}
    for at, entry in enumerate(map(_entry, run.rollout_log)):
        if entry["kind"] != "marker":
            continue
        partition, offset = entry["partition"], entry["first_offset"]
        predictions = of_partition.get(partition, [])
        place = bisect_right(predictions, offset, key=lambda one: _at(one).offset) - 1
        if place < 1 or _at(predictions[place]).offset != offset or (partition, offset - 1) in refused:
            continue
        before, now = (predictions[n].value["rollout"]["policy"] for n in (place - 1, place))
        if before != now == entry["policy"][:12]:
            yield Switch(at, partition, offset, policies[before])


def _arm_under(policy: PublishedPolicy, prediction: Published) -> Entry | None:
    """What the prediction would say under the policy; None if another version would have scored it, or it explores."""
    value = prediction.value
    found = assign(policy, [value["entity"]], [value["event_id"]])
    arm = policy.policy.arms[found.arms[0]]
    version = value["model_version"] if value["cascade"] is None else value["cascade"]["fast_version"]
    if version != str(arm.version) or found.explored[0] or value["rollout"]["explored"]:
        return None
    odds = {"probability": float(found.probabilities[0]), "propensity": float(found.propensities[0])}
    return {"policy": policy.version, "arm": arm.name, **odds}


def _edit_log(run: RunData, at: int, change: Callable[[Entry], Entry | None]) -> RunData:
    """Change, or leave out, an entry of the log."""
    log = list(run.rollout_log)
    edited = change(_entry(log[at]))
    log[at : at + 1] = [] if edited is None else [dataclasses.replace(log[at], value=json.dumps(edited).encode())]
    return dataclasses.replace(run, rollout_log=log)


def _edit_change(
    run: RunData,
    change: Callable[[Entry], Entry],
    where: Callable[[Entry], bool] = lambda _: True,
    what: str = "change",
) -> RunData:
    """Edit a change that fits, in the log and where it is the latest."""
    at, entry = first(((at, entry) for at, entry in _changes(run) if where(entry)), what)
    edited = json.dumps(change(entry)).encode()
    is_latest = run.rollout_log[at].value == run.rollout[-1].value
    latest: Sequence[Record] = run.rollout
    if is_latest:
        latest = [*latest[:-1], dataclasses.replace(latest[-1], value=edited)]
    return dataclasses.replace(_edit_log(run, at, change), rollout=latest)


def _edit_prediction(
    run: RunData, change: Callable[[Published], Entry | None], what: str = "prediction with an arm"
) -> RunData:
    """Change the first prediction under a policy of which there is something to change."""
    arms = [id(one) for one in _with_arms(run)]
    edits = ((n, change(one)) for n, one in enumerate(run.predictions) if id(one) in arms)
    at, edit = first(((n, edit) for n, edit in edits if edit is not None), what)
    predictions = list(run.predictions)
    predictions[at] = with_values(predictions[at], **(edit or {}))
    return dataclasses.replace(run, predictions=predictions)


def _edit_arm(
    run: RunData, change: Callable[[Published], Entry | None], what: str = "prediction with an arm"
) -> RunData:
    def edit(prediction: Published) -> Entry | None:
        changed = change(prediction)
        return None if changed is None else {"rollout": prediction.value["rollout"] | changed}

    return _edit_prediction(run, edit, what)


def _edit_shadow(run: RunData, **changes: Any) -> RunData:
    one = first(run.shadows, "shadow prediction")
    return dataclasses.replace(run, shadows=[with_values(one, **changes), *run.shadows[1:]])


def _serve_a_shadow(run: RunData, served_as: Callable[[Published, Published], Entry]) -> RunData:
    shadow = first(run.shadows, "shadow prediction")
    return _edit_prediction(
        run,
        lambda served: served_as(shadow, served) if _at(served) == _at(shadow) else None,
        "prediction beside a shadow",
    )
