"""The pipeline: the root of a definition, in one Python file.

A pipeline names a source and its contract, the entities, the feature views over them, the model and the labels.
The job graph, the Avro records, the Redis keys, the Cassandra tables and the training sets are derived from it
(:mod:`streams.plan.model`). Definitions are immutable values and do no I/O.
"""

from __future__ import annotations

from itertools import filterfalse
from typing import Annotated, Self

from pydantic import Field, model_validator

from penstock.kafka.names import dead_letters_of
from schemas.contract import Contract, Pii, contract_fields
from schemas.feature_types import FeatureType, element_of
from schemas.records import ENVELOPE_NAMES
from streams.definitions.aggregates.spec import SPECS, Aggregate
from streams.definitions.base import EVENT_TYPE, Definition, Name
from streams.definitions.cascade import Cascade
from streams.definitions.columns import Derived, PythonColumn
from streams.definitions.expressions import check_expressions
from streams.definitions.feature_dependencies import check_references, columns_used, feature_types
from streams.definitions.feature_sql import EVENT
from streams.definitions.labels import Labels
from streams.definitions.lookups import Lookup, check_lookups, check_uses, lookup_columns
from streams.definitions.monitors import Monitors
from streams.definitions.other_inputs import Default, check_other_inputs, is_other
from streams.definitions.rollout import Rollout
from streams.definitions.sources import Source, check_label_sources, check_sources
from streams.definitions.topics import check_topics
from streams.definitions.views import Entity, View


class Model(Definition):
    """The model that scores each event, and the decision for each score.

    ``inputs`` are ``view.feature`` or ``event.column`` (contract or derived), in the order of the model's input vector.
    A text is a category, and so is an integer that ``categories`` names; all others are numbers. The vector has the
    code of a category (:mod:`schemas.categories`).
    An input ``pipeline:view.feature`` is read from Redis, for the entity that the event's columns name.
    ``defaults`` has its value for when there is none, None for null. If it is a text, ``categories`` must name it.
    The decision is ``positive`` for a score of at least ``threshold``, else ``negative``. A threshold is a probability,
    between 0 and 1, unless ``Labels(task="regression")`` says that scores are values. With a ``cascade``, another model
    decides the unclear cases.
    ``groups`` are columns of few values, such as a country, across whose values the decisions must be fair: the gates
    compare them. Each is a ``view.feature``, or an ``event.column`` that the feature records keep.
    """

    name: Name
    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    categories: tuple[str, ...] = ()
    defaults: dict[str, Default] = Field(default_factory=dict)
    threshold: float = Field(allow_inf_nan=False)
    positive: str
    negative: str
    cascade: Cascade | None = None
    groups: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _strong_model_is_another(self) -> Self:
        if self.cascade is not None and self.cascade.strong == self.name:
            raise ValueError(f"model {self.name} is fast and strong at once: give the strong model another name")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Whose scores predictions can have: this model's, and those of the strong one of a cascade."""
        return (self.name,) if self.cascade is None else (self.name, self.cascade.strong)

    @property
    def strong(self) -> Model:
        """The strong model of the cascade.

        Raises:
            ValueError: without a cascade.
        """
        if self.cascade is None:
            raise ValueError(f"model {self.name} has no cascade")
        return self.model_copy(update={"name": self.cascade.strong, "cascade": None})


class Pipeline(Definition):
    """One pipeline: sources, entities, views, model, labels, monitors, and how rollouts of the model are judged.

    A pipeline scores the events of its ``source``. It may read more topics (``additional_sources``), keyed and
    partitioned like the source, whose events are scored too, or only update windows (``triggers=False``). Each has its
    own contract, or that of another one, for topics of the same events. A row then has the columns of all contracts,
    null for columns that its own contract does not have, and ``event__type``: the name of its contract, for conditions,
    and as an input of the model.

    ``lookups`` are reference data whose columns its events get before derived columns are computed.

    Feature records keep the event columns that are model inputs, those in ``passthrough``, and those of lookups.
    """

    name: Name
    source: Source
    additional_sources: tuple[Source, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    entities: Annotated[tuple[Entity, ...], Field(min_length=1)]
    derived: dict[Name, Derived | PythonColumn] = Field(default_factory=dict)
    views: Annotated[tuple[View, ...], Field(min_length=1)]
    model: Model
    labels: Labels | None = None
    passthrough: tuple[Name, ...] = ()
    monitors: Monitors | None = None
    rollout: Rollout = Rollout()

    @property
    def features_topic(self) -> str:
        """The topic of feature records: one per valid event, with all features of all its entities."""
        return f"features.{self.name}"

    @property
    def predictions_topic(self) -> str:
        """The topic of predictions: exactly one per valid event."""
        return f"predictions.{self.name}"

    @property
    def shadow_topic(self) -> str:
        """The topic of predictions of versions that score in shadow: nobody is served these."""
        return f"predictions.{self.name}.shadow"

    @property
    def corrections_topic(self) -> str:
        """The topic of predictions that were made again for those that a bad version touched."""
        return f"predictions.{self.name}.corrections"

    @property
    def rollout_topic(self) -> str:
        """The compacted topic of the rollout policy that scorers follow."""
        return f"rollout.{self.name}"

    @property
    def rollout_log_topic(self) -> str:
        """The topic of every change of the rollout policy, and of where it was taken up; it is kept for ever."""
        return f"rollout.{self.name}.log"

    @property
    def rollout_state_topic(self) -> str:
        """The compacted topic of what the rollout controller has seen."""
        return f"rollout.{self.name}.state"

    @property
    def quality_topic(self) -> str:
        """The compacted topic of the histograms of scores by outcome."""
        return f"quality.{self.name}"

    @property
    def quality_state_topic(self) -> str:
        """The compacted topic of events whose labels may still come or change."""
        return f"quality.{self.name}.state"

    @property
    def drift_topic(self) -> str:
        """The topic of the monitors' alerts."""
        return f"drift.{self.name}"

    @property
    def drift_state_topic(self) -> str:
        """The compacted topic of the drift detectors' states, each with the offset that it covers."""
        return f"drift.{self.name}.state"

    @property
    def data_quality_topic(self) -> str:
        """The compacted topic of what raw events were like in a good time, and of what is counted since."""
        return f"data-quality.{self.name}"

    @property
    def incidents_topic(self) -> str:
        """The topic of every incident: its alarms, its cause, and what was done about it; it is kept for ever."""
        return f"incidents.{self.name}"

    @property
    def retrain_topic(self) -> str:
        """The topic of proposals to train, and of what came of them, as CloudEvents."""
        return f"retrain.{self.name}"

    @property
    def review_topic(self) -> str:
        """The topic of events that people should label."""
        return f"review.{self.name}"

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources; the pipeline's own, whose events are always scored, comes first."""
        return (self.source, *self.additional_sources)

    @property
    def contracts(self) -> tuple[type[Contract], ...]:
        """The contracts that the pipeline reads: those of its sources, of its lookups and of its labels."""
        contracts = [source.contract for source in self.sources] + [lookup.contract for lookup in self.lookups]
        if self.labels is not None:
            contracts += [source.contract for source in self.labels.sources]
        return tuple(dict.fromkeys(contracts))

    @property
    def categories(self) -> tuple[str, ...]:
        """The model's inputs that are categories, in their order."""
        types = self._input_types()
        named = self.model.categories
        return tuple(name for name in self.model.inputs if name in named or types.get(name) == "string")

    def column_types(self) -> dict[str, FeatureType]:
        """The types of all columns of a row: contracts' fields, ``event__type``, lookups' columns, derived columns."""
        types: dict[str, FeatureType] = {
            f.name: f.type for source in self.sources for f in contract_fields(source.contract)
        }
        types |= {EVENT_TYPE: "string"} if self.additional_sources else {}
        return types | lookup_columns(self.lookups) | {name: column.type for name, column in self.derived.items()}

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """The event columns that feature records keep: what models and derived features take, and ``passthrough``."""
        kept = {name.partition(".")[2] for name in self.model.inputs if name.startswith(f"{EVENT}.")}
        kept |= {name for view in self.views for name in columns_used(view)} | {*self.passthrough}
        kept |= lookup_columns(self.lookups).keys()
        kept -= {f.name for source in self.sources for f in contract_fields(source.contract) if f.pii is Pii.DROP}
        return tuple(name for name in self.column_types() if name in kept)

    def view(self, name: str) -> View:
        """The view called ``name``.

        Raises:
            KeyError: if there is none; the message lists the existing ones.
        """
        for view in self.views:
            if view.name == name:
                return view
        raise KeyError(f"pipeline {self.name} has no view {name!r}; it has {', '.join(v.name for v in self.views)}")

    @model_validator(mode="after")
    def _sources_fit(self) -> Self:
        check_sources(self.source, self.additional_sources)
        check_lookups(self.lookups, self.sources, self.derived)
        check_uses(self.lookups, self.sources, self.entities, self.derived)
        return self

    @model_validator(mode="after")
    def _threshold_fits(self) -> Self:
        has_values = self.labels is not None and self.labels.task == "regression"
        if not has_values and not 0 < self.model.threshold < 1:
            raise ValueError(
                f"model {self.model.name}: the threshold {self.model.threshold:.12g} is no probability between 0 and "
                "1; values need Labels(task='regression')"
            )
        return self

    @model_validator(mode="after")
    def _hiding_decision_exists(self) -> Self:
        hidden_by = None if self.labels is None else self.labels.hidden_by
        decisions = (self.model.positive, self.model.negative)
        if hidden_by is not None and hidden_by not in decisions:
            raise ValueError(
                f"labels are hidden by the decision {hidden_by!r}, which model {self.model.name} never makes: it "
                f"decides {' or '.join(map(repr, decisions))}"
            )
        return self

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.labels is not None:
            check_label_sources(self.labels, self.sources)
        return self

    @model_validator(mode="after")
    def _topics_fit(self) -> Self:
        read = [source.topic for source in self.sources] + ([*self.labels.topics] if self.labels else [])
        references = {lookup.topic for lookup in self.lookups}
        if both := references.intersection(read):
            raise ValueError(f"lookups: topic {min(both)} is one of events or labels, and cannot be reference data too")
        read += references
        written = [source.dead_letter_topic for source in self.sources]
        for topic in (self.features_topic, self.predictions_topic):
            written += [topic, dead_letters_of(topic)]
        written += [self.shadow_topic, self.corrections_topic]
        written += [self.rollout_topic, self.rollout_log_topic, self.rollout_state_topic]
        written += [self.drift_topic, self.drift_state_topic, self.incidents_topic, self.retrain_topic]
        written.append(self.review_topic)
        written += [self.quality_topic, self.quality_state_topic]
        check_topics(read, written)
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for source in self.sources:
            for field in contract_fields(source.contract):
                if field.name in self.derived:
                    raise ValueError(f"derived column {field.name!r} hides a field of {source.contract.contract_name}")
        entity_names = [entity.name for entity in self.entities]
        if len(set(entity_names)) < len(entity_names):
            raise ValueError(f"entity names must differ, got {entity_names}")
        view_names = [view.name for view in self.views]
        if len(set(view_names)) < len(view_names):
            raise ValueError(f"view names must differ, got {view_names}")
        for name in view_names:
            if name in ENVELOPE_NAMES:
                raise ValueError(f"a view cannot be called {name!r}: feature records have a field of that name")
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        columns = self.column_types()
        for entity in self.entities:
            for name in entity.columns:
                if _require_value(columns, name, f"entity {entity.name}") == "double":
                    raise ValueError(
                        f"entity {entity.name}: a double cannot be a key; derive a string or long from {name}"
                    )
            if len(set(entity.columns)) < len(entity.columns):
                raise ValueError(f"entity {entity.name}: a column is named twice in {entity.columns}")
        if self.source.key is not None:
            _require_value(columns, self.source.key, "source key")
        for name in self.passthrough:
            _require_value(columns, name, "passthrough")
        for view in self.views:
            if view.entity not in self.entities:
                raise ValueError(f"view {view.name}: entity {view.entity.name} is not among the pipeline's entities")
            for aggregate in view.aggregates:
                _check_aggregate(columns, view, aggregate)
        fields: dict[str, FeatureType] = {
            f.name: f.type for source in self.sources for f in contract_fields(source.contract)
        }
        fields |= {EVENT_TYPE: "string"} if self.additional_sources else {}
        fields |= lookup_columns(self.lookups)
        check_expressions(fields, self.derived, self.sources, self.views)
        dropped = [f.name for s in self.sources for f in contract_fields(s.contract) if f.pii is Pii.DROP]
        check_references(self.views, columns, dropped)
        return self

    @model_validator(mode="after")
    def _model_inputs_exist(self) -> Self:
        types, where = self._input_types(), f"model {self.model.name}"
        monitored = () if self.monitors is None else self.monitors.inputs
        try:
            check_other_inputs(self.name, self.model.inputs, self.model.defaults, monitored)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        for name in filterfalse(is_other, self.model.inputs):
            if name not in types:
                raise ValueError(f"{where}: input {name!r} is neither event.<column> nor <view>.<feature>")
            if element_of(types[name]) is not None:
                raise ValueError(
                    f"{where}: input {name} is a list ({types[name]}), but a model takes single values; "
                    "use an aggregate with one value, such as max_, last or count(where=...)"
                )
        for name in self.model.categories:
            if name not in self.model.inputs:
                raise ValueError(f"{where}: category {name!r} is no input")
            if not is_other(name) and types[name] not in ("long", "string"):
                raise ValueError(
                    f"{where}: {name} is a {types[name]}, which is no category; an integer or a text is one, and a "
                    "boolean is the number 0 or 1"
                )
        if self.monitors is not None:
            self.monitors.check(self.model.inputs)
        return self

    @model_validator(mode="after")
    def _groups_exist(self) -> Self:
        types, where, kept = self._input_types(), f"model {self.model.name}", self.kept_columns
        for name in self.model.groups:
            if self.model.groups.count(name) > 1:
                raise ValueError(f"{where}: group {name} is named twice")
            if name not in types:
                raise ValueError(f"{where}: group {name!r} is neither event.<column> nor <view>.<feature>")
            if element_of(types[name]) is not None:
                raise ValueError(f"{where}: group {name} is a list ({types[name]}), but an event is in one group")
            scope, _, column = name.partition(".")
            if scope == EVENT and column not in kept:
                raise ValueError(
                    f"{where}: no feature record has group {name}: name it in Pipeline(passthrough=({column!r},)), "
                    "unless it is personal data that is dropped"
                )
        return self

    def _input_types(self) -> dict[str, FeatureType]:
        """The types of all of this pipeline that can be an input of the model."""
        columns = self.column_types()
        types: dict[str, FeatureType] = {f"event.{name}": kind for name, kind in columns.items()}
        for view in self.views:
            types |= {f"{view.name}.{name}": kind for name, kind in feature_types(view, columns).items()}
        return types


def _check_aggregate(columns: dict[str, FeatureType], view: View, aggregate: Aggregate) -> None:
    if aggregate.column is None:
        return
    kind = _require_column(columns, aggregate.column, f"view {view.name}, {aggregate.name}")
    spec, element = SPECS[aggregate.operation], element_of(kind)
    if element is not None and not aggregate.each:
        instead = f"give {spec.public_name}(each={aggregate.column!r}), of its elements, or derive a column"
        raise ValueError(f"view {view.name}, {aggregate.name}: {aggregate.column} is a list ({kind}); {instead}")
    if element is None and aggregate.each:
        raise ValueError(
            f"view {view.name}, {aggregate.name}: {aggregate.column} is a {kind} and no list; "
            f"give {spec.public_name}({aggregate.column!r})"
        )
    kind = element or kind
    if spec.numeric and kind not in ("long", "double"):
        call = f"{aggregate.operation}({aggregate.column})"
        raise ValueError(f"view {view.name}: {call} needs a number, not {kind}")


def _require_value(columns: dict[str, FeatureType], name: str, where: str) -> FeatureType:
    kind = _require_column(columns, name, where)
    if element_of(kind) is not None:
        raise ValueError(f"{where}: {name} is a list ({kind}); derive a single value, such as CARDINALITY({name})")
    return kind


def _require_column(columns: dict[str, FeatureType], name: str, where: str) -> FeatureType:
    if name not in columns:
        raise ValueError(f"{where}: no column {name!r}; there are {', '.join(columns)}")
    return columns[name]
