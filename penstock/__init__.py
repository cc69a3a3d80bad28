"""Penstock: streaming features and exactly-once inference, from one definition.

This module is all that a pipeline file needs::

    from penstock import Contract, Entity, Model, Pipeline, Source, View, count, mean

A name is imported when it is first used, so that modules such as :mod:`penstock.errors` import nothing else.
The command line is ``penstock`` (see ``penstock --help``).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.contract import ENTITY as ENTITY
    from schemas.contract import EVENT_ID as EVENT_ID
    from schemas.contract import EVENT_TIME as EVENT_TIME
    from schemas.contract import PII_DROP as PII_DROP
    from schemas.contract import PII_HASH as PII_HASH
    from schemas.contract import Contract as Contract
    from schemas.envelopes import CloudEvents as CloudEvents
    from schemas.envelopes import Debezium as Debezium
    from schemas.envelopes import InEnvelope as InEnvelope
    from schemas.written import BYTES as BYTES
    from schemas.written import DATE as DATE
    from schemas.written import ISO8601 as ISO8601
    from schemas.written import MICROSECONDS as MICROSECONDS
    from schemas.written import NANOSECONDS as NANOSECONDS
    from schemas.written import SECONDS as SECONDS
    from schemas.written import UUID as UUID
    from schemas.written import AsDecimal as AsDecimal
    from schemas.written import At as At
    from schemas.written import Otherwise as Otherwise
    from streams.definitions.aggregates import *  # noqa: F403
    from streams.definitions.cascade import Cascade as Cascade
    from streams.definitions.columns import Derived as Derived
    from streams.definitions.columns import PythonColumn as PythonColumn
    from streams.definitions.labels import Labels as Labels
    from streams.definitions.labels import LabelSource as LabelSource
    from streams.definitions.lookups import Lookup as Lookup
    from streams.definitions.monitors import DataQuality as DataQuality
    from streams.definitions.monitors import Monitors as Monitors
    from streams.definitions.pipeline import Model as Model
    from streams.definitions.pipeline import Pipeline as Pipeline
    from streams.definitions.rollout import Guardrail as Guardrail
    from streams.definitions.rollout import Rollout as Rollout
    from streams.definitions.rollout import Step as Step
    from streams.definitions.sources import Source as Source
    from streams.definitions.views import Entity as Entity
    from streams.definitions.views import View as View
    from streams.definitions.windows import Window as Window
else:
    _AGGREGATES = "streams.definitions.aggregates"
    _MODULES = {
        **dict.fromkeys(["ENTITY", "EVENT_ID", "EVENT_TIME", "PII_DROP", "PII_HASH", "Contract"], "schemas.contract"),
        **dict.fromkeys(
            ["BYTES", "DATE", "ISO8601", "MICROSECONDS", "NANOSECONDS", "SECONDS", "UUID"], "schemas.written"
        ),
        **dict.fromkeys(["AsDecimal", "At", "Otherwise"], "schemas.written"),
        **dict.fromkeys(["CloudEvents", "Debezium", "InEnvelope"], "schemas.envelopes"),
        **dict.fromkeys(["Derived", "PythonColumn"], "streams.definitions.columns"),
        "Cascade": "streams.definitions.cascade",
        "Monitors": "streams.definitions.monitors",
        **dict.fromkeys(["Labels", "LabelSource"], "streams.definitions.labels"),
        **dict.fromkeys(["DataQuality", "Monitors"], "streams.definitions.monitors"),
        "Labels": "streams.definitions.labels",
        "Lookup": "streams.definitions.lookups",
        **dict.fromkeys(["Model", "Pipeline"], "streams.definitions.pipeline"),
        **dict.fromkeys(["Guardrail", "Rollout", "Step"], "streams.definitions.rollout"),
        "Source": "streams.definitions.sources",
        **dict.fromkeys(["Entity", "View"], "streams.definitions.views"),
        "Window": "streams.definitions.windows",
    }

    def __getattr__(name):
        if name == "__all__":
            value = sorted([*_MODULES, *import_module(_AGGREGATES).__all__])
        elif name in _MODULES:
            value = getattr(import_module(_MODULES[name]), name)
        elif not name.startswith("_") and name in import_module(_AGGREGATES).__all__:
            value = getattr(import_module(_AGGREGATES), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        return [*globals(), *__getattr__("__all__")]
