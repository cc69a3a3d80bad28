"""The stores that the registry finds, and what they declare."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Any

import pytest

from penstock.settings import Settings
from sinks import stores
from sinks.store_interface import StoreType
from sinks.store_registry import find_stores
from streams.plan.project import Project
from tests.sinks.payments import payments


def test_every_module_of_stores_declares_the_store_of_its_name() -> None:
    assert list(find_stores()) == sorted(module.name for module in pkgutil.iter_modules(stores.__path__))


@pytest.mark.parametrize(
    ("name", "topics"),
    [("redis", ("features.payments",)), ("cassandra", ("features.payments", "predictions.payments"))],
)
def test_a_store_declares_the_topics_that_its_sink_reads(name: str, topics: tuple[str, ...]) -> None:
    assert find_stores()[name].topics(payments()) == topics


@pytest.mark.parametrize("store_type", find_stores().values(), ids=find_stores())
def test_a_created_store_has_the_declared_name_and_topics(store_type: StoreType[Any], tmp_path: Path) -> None:
    store = store_type.create(Project.of(payments(), tmp_path), Settings(), store_type.options())
    assert (store.name, store.topics) == (store_type.name, store_type.topics(payments()))
