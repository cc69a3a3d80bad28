"""What every test may use."""

from __future__ import annotations

import secrets

import pytest


@pytest.fixture
def suffix() -> str:
    """A short name of this test's own: for topics, groups, keyspaces and model names on a shared stack."""
    return secrets.token_hex(4)
