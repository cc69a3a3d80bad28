"""What can be wrong with rollouts: in their log, and with the arms of predictions."""

from __future__ import annotations

import dataclasses

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import Mutant, first, mutant
from tests.verify.sabotage.editing import with_values
from tests.verify.sabotage.rollout_editing import (
    Entry,
    arm_under,
    changes_in,
    edit_arm,
    edit_change,
    edit_log,
    edit_prediction,
    entry_of,
    first_switch,
    policies_in,
    published_in,
    with_arms,
)
from verify.check_rollout import features_position
from verify.published import Published
from verify.run_data import RunData

ROLLOUT_MUTANTS: list[Mutant] = []


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_lost(_: Project, run: RunData) -> RunData:
    return edit_log(run, first_switch(run).at, lambda _: None)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_that_comes_one_offset_later(_: Project, run: RunData) -> RunData:
    return edit_log(run, first_switch(run).at, lambda entry: entry | {"first_offset": entry["first_offset"] + 1})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_that_comes_one_offset_earlier(_: Project, run: RunData) -> RunData:
    return edit_log(run, first_switch(run).at, lambda entry: entry | {"first_offset": entry["first_offset"] - 1})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_on_another_partition(project: Project, run: RunData) -> RunData:
    partitions = project.plan.source.partitions
    return edit_log(
        run, first_switch(run).at, lambda entry: entry | {"partition": (entry["partition"] + 1) % partitions}
    )


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_that_stands_before_its_policy(_: Project, run: RunData) -> RunData:
    log, at = list(run.rollout_log), first_switch(run).at
    policy = entry_of(log[at])["policy"]
    change = next(n for n, entry in changes_in(run) if published_in(entry).hash == policy)
    log.insert(change, log.pop(at))
    return dataclasses.replace(run, rollout_log=log)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_marker_of_a_policy_that_nobody_published(_: Project, run: RunData) -> RunData:
    return edit_log(run, first_switch(run).at, lambda entry: entry | {"policy": "0" * 64})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_batch_under_the_policy_before(_: Project, run: RunData) -> RunData:
    """All that these predictions say is true, but of the policy before; their version is the same under both."""
    switch, predictions = first_switch(run), list(run.predictions)
    batch = [
        at
        for at, one in enumerate(predictions)
        if features_position(one)[:2] in {(switch.partition, switch.first_offset + n) for n in range(10)}
    ]
    edited = [(at, arm) for at in batch if (arm := arm_under(switch.before, predictions[at])) is not None]
    for at, arm in first([edited] if edited else [], "batch whose arms are the same under two policies"):
        predictions[at] = with_values(predictions[at], rollout=predictions[at].value["rollout"] | arm)
    return dataclasses.replace(run, predictions=predictions)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def an_arm_swapped(_: Project, run: RunData) -> RunData:
    """The prediction names the other arm and that arm's probability; its own arm scored it."""
    policies = policies_in(run)

    def other(prediction: Published) -> Entry | None:
        arm = prediction.value["rollout"]
        weights = policies[arm["policy"]].weights
        return next(({"arm": name, "probability": weights[name]} for name in weights if name != arm["arm"]), None)

    return edit_arm(run, other, "prediction of a policy with two arms")


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_probability_edited(_: Project, run: RunData) -> RunData:
    return edit_arm(run, lambda one: {"probability": one.value["rollout"]["probability"] / 2})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_propensity_edited(_: Project, run: RunData) -> RunData:
    return edit_arm(run, lambda one: {"propensity": one.value["rollout"]["propensity"] / 2})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_prediction_that_names_no_arm(_: Project, run: RunData) -> RunData:
    return edit_prediction(run, lambda _: {"rollout": None})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_prediction_that_names_a_policy_before_the_first(_: Project, run: RunData) -> RunData:
    predictions = list(run.predictions)
    before = (n for n, one in enumerate(predictions) if one.value["rollout"] is None)
    at = first(before, "prediction before the first policy")
    arm = first(with_arms(run), "prediction with an arm").value["rollout"]
    predictions[at] = with_values(predictions[at], rollout=arm)
    return dataclasses.replace(run, predictions=predictions)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def an_explored_event_decided_by_its_score(project: Project, run: RunData) -> RunData:
    model = project.pipeline.model

    def decide(prediction: Published) -> Entry | None:
        value = prediction.value
        is_decided = value["rollout"]["explored"] and value["score"] >= model.threshold
        return {"decision": model.positive} if is_decided and value["decision"] != model.positive else None

    return edit_prediction(run, decide, "explored event with a positive score")


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def an_event_permitted_that_is_not_in_the_slice(project: Project, run: RunData) -> RunData:
    model, policies = project.pipeline.model, policies_in(run)

    def permit(prediction: Published) -> Entry | None:
        value, arm = prediction.value, prediction.value["rollout"]
        exploration = policies[arm["policy"]].policy.exploration
        if exploration is None or arm["explored"] or value["decision"] != model.positive:
            return None
        explored = arm | {"explored": True, "propensity": exploration.share}
        return {"rollout": explored, "decision": exploration.decision}

    return edit_prediction(run, permit, "event with a positive decision beside an exploration")


@mutant("prediction_mismatches", into=ROLLOUT_MUTANTS)
def a_decision_that_does_not_follow_beside_an_exploration(project: Project, run: RunData) -> RunData:
    model, policies = project.pipeline.model, policies_in(run)

    def permit(prediction: Published) -> Entry | None:
        arm = prediction.value["rollout"]
        is_near = policies[arm["policy"]].policy.exploration is not None and not arm["explored"]
        return {"decision": model.negative} if is_near and prediction.value["decision"] == model.positive else None

    return edit_prediction(run, permit, "event with a positive decision beside an exploration")


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def the_ranges_of_a_policy_edited(_: Project, run: RunData) -> RunData:
    """Every weight stays, but one entity in 10,000 gets another arm."""

    def shift(entry: Entry) -> Entry:
        one, other, *rest = entry["policy"]["ranges"]
        moved = [one | {"end": one["end"] - 1}, other | {"start": other["start"] - 1, "end": other["end"] - 1}]
        last = rest.pop(0) if rest else {"arm": one["arm"], "end": other["end"]}
        moved.append(last | {"start": other["end"] - 1})
        return entry | {"policy": entry["policy"] | {"ranges": [*moved, *rest]}}

    return edit_change(run, shift, lambda entry: len(entry["policy"]["ranges"]) > 1, "policy with two ranges")


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_weight_that_is_not_that_of_the_step(_: Project, run: RunData) -> RunData:
    return edit_change(
        run,
        lambda entry: entry | {"step": entry["step"] + 1},
        lambda entry: len(entry["policy"]["policy"]["steps"]) > entry["step"] + 1,
        "canary with another step",
    )


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_that_nobody_made(_: Project, run: RunData) -> RunData:
    return edit_change(run, lambda entry: entry | {"author": ""})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_without_a_reason(_: Project, run: RunData) -> RunData:
    return edit_change(run, lambda entry: entry | {"reason": " "})


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_by_the_controller_without_evidence(_: Project, run: RunData) -> RunData:
    return edit_change(
        run,
        lambda entry: entry | {"evidence": {}},
        lambda entry: entry["author"] == "controller",
        "change by the controller",
    )


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_lost(_: Project, run: RunData) -> RunData:
    changes = [at for at, _ in changes_in(run)]
    return edit_log(run, first(changes[1:-1], "change between two others"), lambda _: None)


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def a_change_that_scorers_were_not_told(_: Project, run: RunData) -> RunData:
    """The compacted topic still has the policy before."""
    first(run.rollout[1:], "second policy")
    before = list(changes_in(run))[-2][0]
    latest = dataclasses.replace(run.rollout[-1], value=run.rollout_log[before].value)
    return dataclasses.replace(run, rollout=[latest])


@mutant("rollout_mismatches", into=ROLLOUT_MUTANTS)
def an_entry_of_the_log_that_is_none(_: Project, run: RunData) -> RunData:
    return edit_log(run, first_switch(run).at, lambda entry: {**entry, "kind": "note"})


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
