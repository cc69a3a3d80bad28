"""Ends what sets up or takes down fixtures for too long, and names it; a fixture that failed is not tried again.

``timeout`` of pytest is the limit of a test alone: a fixture that several tests share, such as a stack, takes as long
as the machine is slow, and no fault of the first test that needs it. This module is a plugin of pytest.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

# Several times what the longest of them takes on a quiet machine of two cores.
LIMIT_S = 900.0


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    try:
        with _limited(f"fixture {fixturedef.argname}"):
            return (yield)
    except (Exception, pytest.fail.Exception) as error:
        if fixturedef.scope != "function":
            _answer_others_shortly(fixturedef, request, error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with _limited(f"what ends fixtures after {item.name}"):
        return (yield)


def _answer_others_shortly(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest, error: BaseException
) -> None:
    """Make the other tests that share a fixture fail with one line in place of the whole error once more."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    short = pytest.fail.Exception(f"fixture {fixturedef.argname} failed for a test before: {reason}", pytrace=False)
    fixturedef.cached_result = (None, fixturedef.cache_key(request), (short, None))  # type: ignore[arg-type]


@contextmanager
def _limited(what: str) -> Iterator[None]:
    """Fail if the block takes longer than :data:`LIMIT_S`. Does nothing while a test's own limit is running."""
    if threading.current_thread() is not threading.main_thread() or any(signal.getitimer(signal.ITIMER_REAL)):
        yield
        return

    def expire(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail(f"{what} took longer than {LIMIT_S:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
