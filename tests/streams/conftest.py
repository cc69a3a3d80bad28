"""The kernel, started once for all tests that use it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.inprocess.kernel import Kernel


@pytest.fixture(scope="session")
def kernel() -> Iterator[Kernel]:
    started = Kernel()
    yield started
    started.close()
