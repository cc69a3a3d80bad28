"""What every test may use."""

from __future__ import annotations

import secrets

import pytest

from tests import fixture_limits


def pytest_configure(config: pytest.Config) -> None:
    """Register as a plugin what a ``conftest.py`` cannot do: its hooks do not see fixtures of the whole session."""
    config.pluginmanager.register(fixture_limits)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes, so that of two workers none is left with it at the end."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture
def suffix() -> str:
    """A short name of this test's own: for topics, groups, keyspaces and model names on a shared stack."""
    return secrets.token_hex(4)
