"""Finds the stores: every module in :mod:`sinks.stores` declares one as ``STORE``."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from sinks import stores
from sinks.store_interface import StoreType


def find_stores() -> dict[str, StoreType[Any]]:
    """All stores by name, in alphabetical order; imports their modules."""
    names = sorted(module.name for module in pkgutil.iter_modules(stores.__path__))
    declared: list[StoreType[Any]] = [importlib.import_module(f"{stores.__name__}.{name}").STORE for name in names]
    return {store.name: store for store in declared}
