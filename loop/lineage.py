"""Which raw columns each input of a model is computed from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.definitions.columns import Derived
from streams.definitions.expressions import columns_of
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project


def roots_of(project: Project) -> Mapping[str, frozenset[str]]:
    """The raw columns of each input: those of its value and of its condition; of a plain count, its entity's key."""
    pipeline, plan = project.pipeline, project.plan
    raw = _raw_columns(pipeline)
    conditions = {one.name: columns_of(one.sql) if one.sql is not None else one.arguments for one in plan.filters}
    found: dict[str, frozenset[str]] = {}
    for view in plan.views:
        for feature in view.features:
            columns = [feature.column] if feature.column is not None else pipeline.view(view.name).entity.columns
            condition = conditions[feature.where] if feature.where is not None else ()
            found[f"{view.name}.{feature.name}"] = _union(raw, [*columns, *condition])
    for name in pipeline.kept_columns:
        found[f"event.{name}"] = _union(raw, [name])
    for view in plan.views:
        for derived in view.derived:  # each uses only those before it
            sets = [found.get(name, frozenset({name})) for name in derived.inputs]
            found[f"{view.name}.{derived.name}"] = frozenset().union(*sets)
    # Views of other pipelines are roots of their own: their pipelines look for the fault.
    return {name: found.get(name, frozenset({name})) for name in pipeline.model.inputs}


def _raw_columns(pipeline: Pipeline) -> Mapping[str, frozenset[str]]:
    """The contracts' columns of which each derived column is made; each can use only those before it."""
    found: dict[str, frozenset[str]] = {}
    for name, column in pipeline.derived.items():
        used = columns_of(column.sql) if isinstance(column, Derived) else column.columns
        found[name] = _union(found, used)
    return found


def _union(raw: Mapping[str, frozenset[str]], names: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*(raw.get(name, frozenset({name})) for name in names))
