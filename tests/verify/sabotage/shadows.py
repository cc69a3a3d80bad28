"""What can be wrong with predictions in shadow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import Mutant, first, mutant
from tests.verify.sabotage.editing import with_values
from tests.verify.sabotage.rollout_editing import Entry, edit_prediction, policies_in, with_arms
from verify.check_rollout import features_position
from verify.published import Published
from verify.run_data import RunData

SHADOW_MUTANTS: list[Mutant] = []


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_served_to_users(_: Project, run: RunData) -> RunData:
    return _serve_a_shadow(run, lambda shadow, _: dict(shadow.value))


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_served_to_users_in_the_name_of_an_arm(_: Project, run: RunData) -> RunData:
    return _serve_a_shadow(run, lambda shadow, served: {**shadow.value, "rollout": served.value["rollout"]})


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_published_twice(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, shadows=[*run.shadows, first(run.shadows, "shadow prediction")])


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_of_a_version_that_is_not_in_shadow(_: Project, run: RunData) -> RunData:
    return _edit_shadow(run, model_version="7")


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_under_another_policy(_: Project, run: RunData) -> RunData:
    arm = first(run.shadows, "shadow prediction").value["rollout"]
    return _edit_shadow(run, rollout=arm | {"policy": "0" * 12})


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_with_the_score_of_a_thousandth_more(_: Project, run: RunData) -> RunData:
    return _edit_shadow(run, score=first(run.shadows, "shadow prediction").value["score"] + 0.001)


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_of_another_vector(_: Project, run: RunData) -> RunData:
    one = first(run.shadows, "shadow prediction")
    others = (s for s in run.shadows if s.value["model_version"] == one.value["model_version"])
    other = first((s for s in others if s.value["vector"] != one.value["vector"]), "shadow of another vector").value
    return _edit_shadow(run, vector=other["vector"], score=other["score"], decision=other["decision"])


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_whose_decision_does_not_follow(project: Project, run: RunData) -> RunData:
    model = project.pipeline.model
    said = first(run.shadows, "shadow prediction").value["decision"]
    return _edit_shadow(run, decision=model.negative if said == model.positive else model.positive)


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_under_a_policy_without_any(_: Project, run: RunData) -> RunData:
    policies, shadow = policies_in(run), first(run.shadows, "shadow prediction")

    def has_none(prediction: Published) -> bool:
        policy = policies[prediction.value["rollout"]["policy"]]
        candidates = [arm for arm in policy.policy.candidates if not policy.weights[arm.name]]
        return not (policy.policy.shadow or candidates)

    served = first(filter(has_none, with_arms(run)), "prediction of a policy without a shadow")
    arm = shadow.value["rollout"] | {"policy": served.value["rollout"]["policy"]}
    beside = dataclasses.replace(served, offset=len(run.shadows), value={**served.value, "rollout": arm})
    return dataclasses.replace(run, shadows=[*run.shadows, beside])


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_shadow_beside_no_prediction(_: Project, run: RunData) -> RunData:
    place = features_position(first(run.shadows, "shadow prediction"))
    return dataclasses.replace(run, predictions=[one for one in run.predictions if features_position(one) != place])


@mutant("rollout_mismatches", into=SHADOW_MUTANTS)
def a_foreign_record_among_the_shadows(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, unreadable=["predictions.shadow[0]@9"])


def _edit_shadow(run: RunData, **changes: Any) -> RunData:
    one = first(run.shadows, "shadow prediction")
    return dataclasses.replace(run, shadows=[with_values(one, **changes), *run.shadows[1:]])


def _serve_a_shadow(run: RunData, served_as: Callable[[Published, Published], Entry]) -> RunData:
    shadow = first(run.shadows, "shadow prediction")
    return edit_prediction(
        run,
        lambda served: served_as(shadow, served) if features_position(served) == features_position(shadow) else None,
        "prediction beside a shadow",
    )
