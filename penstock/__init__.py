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
    from streams.aggregates import *  # noqa: F403
    from streams.definitions import Derived as Derived
    from streams.definitions import Entity as Entity
    from streams.definitions import Labels as Labels
    from streams.definitions import Model as Model
    from streams.definitions import Pipeline as Pipeline
    from streams.definitions import PythonColumn as PythonColumn
    from streams.definitions import Source as Source
    from streams.definitions import View as View
    from streams.monitors import Monitors as Monitors
    from streams.words import Window as Window
else:
    _AGGREGATES = "streams.aggregates"
    _MODULES = {
        **dict.fromkeys(["ENTITY", "EVENT_ID", "EVENT_TIME", "PII_DROP", "PII_HASH", "Contract"], "schemas.contract"),
        **dict.fromkeys(
            ["Derived", "Entity", "Labels", "Model", "Pipeline", "PythonColumn", "Source", "View"],
            "streams.definitions",
        ),
        "Monitors": "streams.monitors",
        "Window": "streams.words",
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
