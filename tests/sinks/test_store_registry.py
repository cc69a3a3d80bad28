"""The stores that the registry finds, and what they declare."""

from __future__ import annotations

import pkgutil

import pytest

from sinks import stores
from sinks.store_registry import find_stores
from tests.sinks.payments import payments


def test_every_module_of_stores_declares_the_store_of_its_name() -> None:
    assert list(find_stores()) == sorted(module.name for module in pkgutil.iter_modules(stores.__path__))


@pytest.mark.parametrize(
    ("name", "topics"),
    [("redis", ("features.payments",)), ("cassandra", ("features.payments", "predictions.payments"))],
)
def test_a_store_declares_the_topics_that_its_sink_reads(name: str, topics: tuple[str, ...]) -> None:
    assert find_stores()[name].topics(payments()) == topics
