"""Which columns of a backfill or a training set are features, what they are, and which are personal data."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa

from penstock.errors import PenstockError
from schemas.contract import contract_fields
from streams.definitions.feature_sql import EVENT
from streams.definitions.windows import duration_text
from streams.plan.model import FeaturePlan, Output, PipelinePlan, ViewPlan
from streams.plan.project import Project

Kind = Literal["number", "boolean", "text", "category", "list"]

# What the tables of backfills and training sets have beside features.
_ROW = frozenset({"event_id", "event_time", "source.partition", "source.offset", "source.timestamp", "source.topic"})
_LABEL = frozenset({"known_at", "label", "label_known_at", "label_source", "p_observed", "split"})
_OF_A_VIEW = ("entity", "as_of", "late", "seq")


@dataclass(frozen=True)
class Column:
    """A feature as it is profiled.

    A ``category`` is a number that is none: an integer that the model takes as a name, or the code of a text, as a
    training set has it. ``description`` says what the feature is, in the words of its definition. The texts of a
    ``personal`` one are never shown. ``window_ms`` is the length of an aggregate's window, None for other features.
    """

    name: str
    kind: Kind
    description: str
    personal: bool = False
    window_ms: int | None = None

    @property
    def is_text(self) -> bool:
        """Whether its values have no order: a text, or a number that stands for one."""
        return self.kind in ("text", "category")


def feature_columns(project: Project, schema: pa.Schema, patterns: Sequence[str] = ()) -> tuple[Column, ...]:
    """The features among the columns of a file, in its order; those that match a pattern, if there are any.

    Raises:
        PenstockError: if no column is a feature, or a pattern matches none.
    """
    known = _known(project)
    others = _ROW | _LABEL | {f"{view.name}.{name}" for view in project.plan.views for name in _OF_A_VIEW}
    categories = frozenset(project.pipeline.categories)
    found = [_column(field, known, categories) for field in schema if field.name not in others]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(column.name, pattern) for column in found):
            raise PenstockError(
                f"no feature is called {pattern}",
                where=f"the features are {', '.join(column.name for column in found) or 'none'}",
                next="penstock features describe PIPELINE",
            )
    if patterns:
        found = [one for one in found if any(fnmatch.fnmatchcase(one.name, pattern) for pattern in patterns)]
    if not found:
        raise PenstockError("no column is a feature", next="give a folder with features of this pipeline")
    return tuple(found)


def _column(field: pa.Field, known: Mapping[str, Column], categories: Collection[str]) -> Column:
    kind = _kind(field.type)
    if kind == "number" and field.name in categories:
        kind = "category"
    if field.name in known:
        return replace(known[field.name], kind=kind)
    # Nothing says that its texts are not personal.
    return Column(field.name, kind, "not a feature of the pipeline as it is defined now", personal=True)


def _known(project: Project) -> dict[str, Column]:
    """All that the pipeline can have as columns, by name. The kinds are those of numbers: a file says its own."""
    plan = project.plan
    personal = _personal_columns(plan)
    found = [
        Column(f"{EVENT}.{name}", "number", _event_description(project, name), name in personal)
        for name, _ in plan.passthrough
    ]
    found += _features(plan)
    for other in project.other_views:
        prefix = f"{other.plan.pipeline}:"
        found += [replace(column, name=prefix + column.name) for column in _features(other.plan)]
    return {column.name: column for column in found}


def _personal_columns(plan: PipelinePlan) -> set[str]:
    """The columns of a row that hold personal data, or are computed from columns that do."""
    personal = set(plan.hashed_fields)
    for column in plan.derived:
        if personal.intersection([*column.arguments, *re.findall(r"\w+", column.sql or "")]):
            personal.add(column.name)
    return personal


def _features(plan: PipelinePlan) -> list[Column]:
    columns = _personal_columns(plan)
    personal = {f"{EVENT}.{name}" for name in columns}
    personal |= {f"{view.name}.{one.name}" for view in plan.views for one in view.features if one.column in columns}
    for view, feature in plan.derived_features:
        if personal.intersection(feature.inputs):
            personal.add(f"{view.name}.{feature.name}")
    found = []
    for view in plan.views:
        for output in view.outputs:
            name = f"{view.name}.{output.name}"
            window_ms = output.window_ms if isinstance(output, FeaturePlan) else None
            found.append(Column(name, "number", _description(plan, view, output), name in personal, window_ms))
    return found


def _description(plan: PipelinePlan, view: ViewPlan, output: Output) -> str:
    if not isinstance(output, FeaturePlan):
        return f"{output.sql}, per {view.entity}"
    window = "since the first event" if output.is_lifetime else f"over {duration_text(output.window_ms)}"
    condition = f" where {plan.conditions[output.where]}" if output.where else ""
    return f"{output.call} {window}{condition}, per {view.entity}"


def _event_description(project: Project, name: str) -> str:
    for source in project.pipeline.sources:
        for field in contract_fields(source.contract):
            if field.name == name:
                return field.description or f"field of {source.contract.contract_name}"
    derived = next((column for column in project.plan.derived if column.name == name), None)
    if derived is None:
        return "the name of the event's contract"
    return derived.sql or f"{derived.python}({', '.join(derived.arguments)})"


def _kind(kind: pa.DataType) -> Kind:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "list"
    if pa.types.is_boolean(kind):
        return "boolean"
    return "number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "text"
