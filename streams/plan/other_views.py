"""The views of other pipelines from which a model takes inputs: found, and checked against both definitions.

The plan and the feature records of a pipeline do not depend on another one. Only the scorer reads these views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.errors import PenstockError
from schemas.feature_types import FeatureType, element_of
from streams.definitions.other_inputs import Default, is_other, view_of
from streams.definitions.pipeline import Pipeline
from streams.plan.model import PipelinePlan, ViewPlan

_DEFAULTS: Mapping[FeatureType, tuple[str, tuple[type, ...]]] = {
    "boolean": ("True or False", (bool,)),
    "double": ("a number", (int, float)),
    "long": ("a number", (int, float)),
}
_CATEGORIES: Mapping[FeatureType, tuple[str, tuple[type, ...]]] = {
    "string": ("a text", (str,)),
    "long": ("an integer", (int,)),
}


@dataclass(frozen=True)
class OtherView:
    """A view of another pipeline.

    Args:
        plan: The other pipeline.
        view: The view.
        key: The columns of this pipeline's feature records that name the entity, in order.
        defaults: The inputs that come from it, in the model's order, with the value of each if no vector is served.
    """

    plan: PipelinePlan
    view: ViewPlan
    key: tuple[str, ...]
    defaults: Mapping[str, Default]

    @property
    def name(self) -> str:
        """``pipeline:view``, as inputs begin."""
        return f"{self.plan.pipeline}:{self.view.name}"

    @property
    def id(self) -> str:
        """``pipeline:view@version``, as predictions name it."""
        return f"{self.plan.pipeline}:{self.view.id}"


def find_other_views(
    pipeline: Pipeline, plan: PipelinePlan, load: Callable[[str], PipelinePlan]
) -> tuple[OtherView, ...]:
    """The views of other pipelines that the model needs, in the order of its inputs.

    Args:
        pipeline: The pipeline with the model.
        plan: Its plan.
        load: Gives the plan of a pipeline, by the name by which it is found.

    Raises:
        PenstockError: if a definition, view or feature does not exist; a feature or its default is of a type that no
            input can have; or the feature records do not name the view's entity.
    """
    by_view: dict[str, dict[str, Default]] = {}
    for name in filter(is_other, pipeline.model.inputs):
        by_view.setdefault(view_of(name), {})[name] = pipeline.model.defaults[name]
    plans = {name: _plan_of(pipeline, name, load) for name in dict.fromkeys(one.partition(":")[0] for one in by_view)}
    return tuple(
        _other_view(pipeline, plan, plans[name.partition(":")[0]], name, defaults) for name, defaults in by_view.items()
    )


def _plan_of(pipeline: Pipeline, name: str, load: Callable[[str], PipelinePlan]) -> PipelinePlan:
    where = f"model {pipeline.model.name} of pipeline {pipeline.name}"
    try:
        other = load(name)
    except PenstockError as error:
        what = f"the model takes inputs from pipeline {name}, which cannot be loaded: {error.what}"
        raise PenstockError(what, where=f"{where}; {error.where}", safe=error.safe, next=error.next) from error
    if other.pipeline != name:
        raise PenstockError(
            f"the definition that is found as {name} is pipeline {other.pipeline}",
            where=where,
            next=f"rename its folder to {other.pipeline}, or name the inputs {other.pipeline}:view.feature",
        )
    return other


def _other_view(
    pipeline: Pipeline, plan: PipelinePlan, other: PipelinePlan, name: str, defaults: Mapping[str, Default]
) -> OtherView:
    where = f"model {pipeline.model.name} of pipeline {pipeline.name}"
    try:
        view = other.view(name.partition(":")[2])
    except KeyError as error:
        raise PenstockError(
            str(error.args[0]), where=where, next=f"penstock features plan {other.pipeline} shows its views"
        ) from None
    types = {output.name: output.type for output in view.outputs}
    for input_, default in defaults.items():
        feature = input_.partition(".")[2]
        if feature not in types:
            raise PenstockError(
                f"view {name} has no feature {feature!r}; it has {', '.join(types)}",
                where=f"{where}, input {input_}",
                next=f"penstock features plan {other.pipeline} shows its views",
            )
        _check_type(input_, types[feature], default, is_category=input_ in pipeline.model.categories, where=where)
    key = other.key_columns(view)
    _check_key(pipeline, plan, other, view, where)
    return OtherView(other, view, key, dict(defaults))


def _check_type(name: str, kind: FeatureType, default: Default, *, is_category: bool, where: str) -> None:
    """Check that a feature can be the input that the model declares, and that the default can be a value of it."""
    where = f"{where}, input {name}"
    if element_of(kind) is not None:
        raise PenstockError(
            f"{name} is a list ({kind}), but a model takes single values",
            where=where,
            next="use an aggregate with one value, such as max_, last or count(where=...)",
        )
    taken = _CATEGORIES if is_category else _DEFAULTS
    if kind not in taken:
        what = f"{name} is a {kind}, which is no category" if is_category else f"{name} is a text, so a category"
        add = "take it out of Model(categories=...)" if is_category else f"add {name!r} to Model(categories=(...))"
        raise PenstockError(what, where=where, next=add)
    words, types = taken[kind]
    if default is not None and (not isinstance(default, types) or (isinstance(default, bool) and kind != "boolean")):
        raise PenstockError(
            f"{name} is a {kind}, which cannot be {default!r}",
            where=where,
            next=f"give {words}, or None for null, in Model(defaults=...)",
        )


def _check_key(pipeline: Pipeline, plan: PipelinePlan, other: PipelinePlan, view: ViewPlan, where: str) -> None:
    """Check that the pipeline's feature records have the columns of the view's key, with the values that it has."""
    name, key = f"{other.pipeline}:{view.name}", other.key_columns(view)
    theirs = other.contract_columns | {column.name: column.type for column in other.derived}
    own, carried = pipeline.column_types(), dict(plan.passthrough)
    for column, is_hashed in zip(key, other.hashed_columns(view), strict=True):
        if own.get(column) != theirs[column]:
            found = f"is a {own[column]} here" if column in own else "does not exist here"
            raise PenstockError(
                f"view {name} is keyed by {column}, a {theirs[column]}, which {found}",
                where=where,
                next=f"name the column so in pipeline {pipeline.name}, or derive one: "
                f"derived={{{column!r}: Derived(sql=..., type={theirs[column]!r})}}",
            )
        if is_hashed != (column in plan.hashed_fields):
            there, here = ("a hash", "as it is") if is_hashed else ("as it is", "a hash")
            raise PenstockError(
                f"view {name} is keyed by {column}, which is {here} here and {there} there",
                where=where,
                next=f"mark {column} as personal data in both contracts, or in neither",
            )
        if column not in carried:
            raise PenstockError(
                f"view {name} is keyed by {column}, which the feature records of {pipeline.name} do not have",
                where=where,
                next=f"add {column!r} to Pipeline(passthrough=(...)), then penstock schemas export {pipeline.name}",
            )
