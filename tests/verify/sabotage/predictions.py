"""What can be wrong with predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from penstock.kafka.reading import Record
from schemas.dead_letters import DeadLetter
from streams.plan.project import Project
from tests.verify.sabotage.catalogue import NothingToChangeError, first, mutant
from tests.verify.sabotage.editing import (
    with_values,
)
from verify.published import Position, Published
from verify.run_data import RunData


def _edit_prediction(run: RunData, **changes: Any) -> RunData:
    predictions = list(run.predictions)
    predictions[30] = with_values(predictions[30], **changes)
    return dataclasses.replace(run, predictions=predictions)


def _edit_reasons(run: RunData, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> RunData:
    """Change the reasons of the first prediction that has some."""
    predictions = list(run.predictions)
    place = first((n for n, one in enumerate(predictions) if one.value["reasons"]), "prediction with reasons")
    predictions[place] = with_values(predictions[place], reasons=change(predictions[place].value["reasons"]))
    return dataclasses.replace(run, predictions=predictions)


@mutant("prediction_gaps")
def a_prediction_lost(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, predictions=run.predictions[1:])


@mutant("prediction_duplicates")
def a_prediction_published_twice(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, predictions=[*run.predictions, run.predictions[-1]])


@mutant("prediction_mismatches")
def a_prediction_of_a_model_version_that_does_not_exist(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, model_version="7")


@mutant("prediction_mismatches")
def a_prediction_of_another_model(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, model="another")


@mutant("prediction_mismatches")
def a_score_off_by_a_thousandth(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, score=run.predictions[30].value["score"] + 0.001)


@mutant("prediction_mismatches")
def a_score_that_is_no_number(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, score=float("nan"))


@mutant("prediction_mismatches")
def a_decision_that_does_not_follow(_: Project, run: RunData) -> RunData:
    other = {"block": "pass", "pass": "block"}
    return _edit_prediction(run, decision=other[run.predictions[30].value["decision"]])


@mutant("prediction_mismatches")
def the_offset_of_the_models_input_shifted_by_one(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, features_offset=run.predictions[30].value["features_offset"] + 1)


@mutant("prediction_mismatches")
def another_vector_on_a_prediction(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, vector=run.predictions[31].value["vector"])


@mutant("prediction_mismatches")
def a_stale_vector_scored(_: Project, run: RunData) -> RunData:
    old = run.predictions[29].value
    return _edit_prediction(run, vector=old["vector"], score=old["score"], decision=old["decision"])


@mutant("prediction_mismatches")
def another_emission_named_by_a_prediction(_: Project, run: RunData) -> RunData:
    views = deepcopy(run.predictions[30].value["views"])
    views[0]["seq"] += 1
    return _edit_prediction(run, views=views)


@mutant("prediction_mismatches")
def another_entity_on_a_prediction(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, entity="another")


@mutant("prediction_mismatches")
def an_unknown_route(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, route="canary")


@mutant("prediction_mismatches")
def an_output_that_the_model_does_not_return(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, outputs=[{"name": "loss", "value": 1.0}])


@mutant("prediction_mismatches")
def the_reasons_of_a_decision_withheld(_: Project, run: RunData) -> RunData:
    return _edit_reasons(run, lambda _reasons: [])


@mutant("prediction_mismatches")
def a_reason_with_another_contribution(_: Project, run: RunData) -> RunData:
    return _edit_reasons(run, lambda reasons: [{**reasons[0], "contribution": 99.0}, *reasons[1:]])


@mutant("prediction_mismatches")
def a_reason_that_names_another_input(project: Project, run: RunData) -> RunData:
    others = project.pipeline.model.inputs

    def renamed(reasons: list[dict[str, Any]]) -> list[dict[str, Any]]:
        named = {reason["input"] for reason in reasons}
        return [{**reasons[0], "input": next(name for name in others if name not in named)}, *reasons[1:]]

    return _edit_reasons(run, renamed)


@mutant("unchecked")
def another_policy_version(_: Project, run: RunData) -> RunData:
    return _edit_prediction(run, policy_version="0" * 12)


@mutant("prediction_mismatches")
def a_re_emitted_vector_scored_instead_of_the_first(_: Project, run: RunData) -> RunData:
    """The last of several emissions of one event is not the one that was served."""
    served: dict[Position, Published] = {}
    for record in run.features:
        if record.is_timer:
            continue
        before = served.setdefault(record.position, record)
        if before is not record:
            of_event = ((n, p) for n, p in enumerate(run.predictions) if p.position == record.position)
            place, prediction = first(of_event, "prediction of an event that was emitted again")
            predictions = list(run.predictions)
            predictions[place] = with_values(prediction, features_offset=record.offset, attempt=record.value["attempt"])
            return dataclasses.replace(run, predictions=predictions)
    raise NothingToChangeError("the recorded run has no event that was emitted again: the kill came too late")


@mutant("prediction_mismatches")
def a_model_version_that_names_another_folder(_: Project, run: RunData) -> RunData:
    model, version = (run.predictions[30].value[name] for name in ("model", "model_version"))
    return _edit_prediction(run, model_version=f"../{model}/{version}")


@mutant("prediction_mismatches")
def a_foreign_record_among_the_predictions(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, unreadable=["predictions[0]@9"])


@mutant("prediction_mismatches")
def a_prediction_replaced_by_a_dead_letter(_: Project, run: RunData) -> RunData:
    """The scorer's letter says that the model gave no number; it gives one."""
    prediction = run.predictions[3]
    letter = DeadLetter(
        topic=prediction.value["features_topic"],
        partition=prediction.value["features_partition"],
        offset=prediction.value["features_offset"],
        pipeline=prediction.value["pipeline"],
        stage="score",
        component="penstock.scorer",
        reason="penstock.NotANumber",
        message="why",
    )
    record = Record(prediction.partition, 0, 0, None, None, tuple(letter.headers()))
    kept = [one for one in run.predictions if one is not prediction]
    return dataclasses.replace(run, predictions=kept, unscored=[*run.unscored, record])
