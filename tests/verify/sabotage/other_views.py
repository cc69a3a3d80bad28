"""What can be wrong with inputs that come from views of other pipelines.

The run is that of :mod:`tests.integration.other_views_run`: its first predictions are served, or not for each reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import Mutant, mutant
from tests.verify.sabotage.editing import with_values
from verify.run_data import RunData

OTHER_VIEW_MUTANTS: list[Mutant] = []
FRESH, STALE, EXPIRED, MISSING, NO_ENTITY, UNREACHABLE = 0, 2, 3, 4, 5, 6


def _edit(run: RunData, place: int, edit: Callable[[Mapping[str, Any]], dict[str, Any]]) -> RunData:
    """Change a prediction; its score follows from the vector."""
    predictions = list(run.predictions)
    value = predictions[place].value
    changed = edit(value)
    if "vector" in changed:
        amount, minute, hour = np.nan_to_num(np.frombuffer(changed["vector"], "<f4").astype(np.float64))
        score = float(1 / (1 + np.exp(-(0.5 * amount + 0.25 * minute - 0.125 * hour))))
        changed |= {"score": score, "decision": "block" if score >= 0.5 else "pass"}
    predictions[place] = with_values(predictions[place], **changed)
    return dataclasses.replace(run, predictions=predictions)


def _with_inputs(value: Mapping[str, Any], minute: float, hour: float) -> dict[str, Any]:
    amount = np.frombuffer(value["vector"], "<f4")[0]
    return {"vector": np.array([amount, minute, hour], "<f4").tobytes()}


def _with_reference(value: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    views = [{**view, **changes} if ":" in view["view"] else view for view in value["views"]]
    return {"views": views}


def _with_reason(value: Mapping[str, Any], reason: str) -> dict[str, Any]:
    return {"defaulted": [{**one, "reason": reason} for one in value["defaulted"]]}


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_default_that_is_not_flagged(_: Project, run: RunData) -> RunData:
    return _edit(run, MISSING, lambda _: {"defaulted": []})


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_default_that_is_not_the_declared_one(_: Project, run: RunData) -> RunData:
    return _edit(run, UNREACHABLE, lambda value: _with_inputs(value, 0, 0))


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_default_in_the_place_of_what_was_served(_: Project, run: RunData) -> RunData:
    return _edit(run, FRESH, lambda value: _with_inputs(value, 0, float("nan")))


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_value_that_the_other_view_never_had(_: Project, run: RunData) -> RunData:
    return _edit(run, FRESH, lambda value: _with_inputs(value, 3, 4))


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_value_of_an_earlier_vector(_: Project, run: RunData) -> RunData:
    return _edit(run, FRESH, lambda value: _with_inputs(value, 2, 2))


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_value_that_had_left_its_window(_: Project, run: RunData) -> RunData:
    return _edit(run, STALE, lambda value: _with_inputs(value, 3, 3))


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def the_vector_of_another_entity(_: Project, run: RunData) -> RunData:
    of_b = run.predictions[1].value
    reference = next(view for view in of_b["views"] if ":" in view["view"])
    return _edit(run, FRESH, lambda value: _with_inputs(value, 1, 1) | _with_reference(value, **reference))


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_vector_that_was_never_published(_: Project, run: RunData) -> RunData:
    return _edit(run, FRESH, lambda value: _with_reference(value, seq=9))


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_vector_that_was_published_after_the_prediction(_: Project, run: RunData) -> RunData:
    ((name, records),) = run.others.items()
    late = [dataclasses.replace(record, timestamp=record.timestamp + 3_600_000) for record in records]
    return dataclasses.replace(run, others={name: late})


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_vector_that_had_not_expired_withheld(_: Project, run: RunData) -> RunData:
    def edit(value: Mapping[str, Any]) -> dict[str, Any]:
        own = [view for view in value["views"] if ":" not in view["view"]]
        name = next(view["view"] for view in value["views"] if ":" in view["view"]).partition("@")[0]
        flag = {"views": own, "defaulted": [{"view": name, "reason": "EXPIRED"}]}
        return _with_inputs(value, 0, float("nan")) | flag

    return _edit(run, FRESH, edit)


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def an_event_without_an_entity_whose_vector_is_missing(_: Project, run: RunData) -> RunData:
    return _edit(run, NO_ENTITY, lambda value: _with_reason(value, "MISSING"))


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def an_event_with_an_entity_that_is_said_to_name_none(_: Project, run: RunData) -> RunData:
    return _edit(run, EXPIRED, lambda value: _with_reason(value, "NO_ENTITY"))


@mutant("prediction_mismatches", into=OTHER_VIEW_MUTANTS)
def a_view_that_was_both_served_and_not(_: Project, run: RunData) -> RunData:
    def edit(value: Mapping[str, Any]) -> dict[str, Any]:
        name = next(view["view"] for view in value["views"] if ":" in view["view"]).partition("@")[0]
        return {"defaulted": [{"view": name, "reason": "MISSING"}]}

    return _edit(run, FRESH, edit)
