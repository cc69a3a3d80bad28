"""The stack that integration tests run on: one per session, in a folder and on ports of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.stack import Stack
from penstock.kafka.access import KafkaAccess
from penstock.settings import Settings
from tests.integration.started_stack import START_S, started_stack

_STACK = pytest.StashKey[Stack]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs servers."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without its stack a test would wait in vain, and so would each one after it."""
    stack = item.session.stash.get(_STACK, None)
    if stack is not None and "stack" in getattr(item, "fixturenames", ()) and not stack.running:
        pytest.fail(f"the stack in {stack.home} has ended during a test before", pytrace=False)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack, taken down at the end of the session.

    PENSTOCK_TEST_STACK names the folder of a running stack to use instead, for quick turns while developing.
    """
    existing = os.environ.get("PENSTOCK_TEST_STACK")
    if existing:
        stack = Stack(existing)
        stack.up(timeout_s=START_S)
        yield stack
        return
    with started_stack(tmp_path_factory.mktemp("stack")) as stack:
        request.session.stash[_STACK] = stack
        yield stack


@pytest.fixture
def stack_environment(stack: Stack, suffix: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The stack's PENSTOCK_* variables with a keyspace of this test's own, set here and for what the test starts."""
    variables = {**stack.environment(), "PENSTOCK_CASSANDRA_KEYSPACE": f"test_{suffix}"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def settings(stack_environment: dict[str, str]) -> Settings:
    """The settings of a process on the test's stack."""
    return Settings()


@pytest.fixture
def create_topic(stack: Stack) -> Iterator[Callable[..., str]]:
    """Creates topics and deletes them afterwards: `create_topic("name", partitions=2)` returns the name."""
    admin = AdminClient(KafkaAccess(bootstrap=stack.environment()["PENSTOCK_KAFKA_BOOTSTRAP"]).client())
    created: list[str] = []

    def create(name: str, partitions: int = 1, **config: str) -> str:
        topic = NewTopic(name, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()})
        admin.create_topics([topic])[name].result(15)
        created.append(name)
        while admin.list_topics(name, timeout=15).topics[name].error is not None:
            time.sleep(0.05)  # the broker has not heard of it from the controller yet
        return name

    yield create
    if created:
        for future in admin.delete_topics(created).values():
            future.result(15)
