"""The kernel, started once for these tests."""

from __future__ import annotations

from tests.streams.conftest import kernel

__all__ = ["kernel"]
