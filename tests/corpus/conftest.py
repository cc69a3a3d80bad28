"""The kernel, started once for the corpus."""

from __future__ import annotations

from tests.streams.conftest import kernel

__all__ = ["kernel"]
