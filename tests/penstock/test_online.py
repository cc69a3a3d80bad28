"""`OnlineFeatures` and its connection; what vectors hold is tested in tests/sinks."""

from __future__ import annotations

import os
from typing import Any

import pytest
import redis

from penstock import online
from penstock.online import OnlineFeatures, VectorState


class Connection:
    """A Redis without vectors."""

    def __init__(self) -> None:
        self.closed = False
        self.raises: BaseException | None = None

    def mget(self, keys: list[bytes]) -> list[None]:
        assert not self.closed
        if self.raises is not None:
            raise self.raises
        return [None for _ in keys]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """The connections that were opened for reads, in order."""
    opened: list[Connection] = []

    def connect(settings: Any, *, one_connection: bool = False) -> Connection:
        connection = Connection()
        if one_connection:
            opened.append(connection)
        return connection

    monkeypatch.setattr(online, "connect_redis", connect)
    return opened


def test_the_first_read_connects_and_later_ones_use_the_same_connection(connections: list[Connection]) -> None:
    with OnlineFeatures("fraud") as features:
        assert connections == []
        assert features.get("terminal_risk", "t1").state is VectorState.MISSING
        features.get_many([("terminal_risk", "t1")])
        features.get_columns({"terminal_risk": ["t1"]})
        (connection,) = connections
        assert not connection.closed
    assert connection.closed


@pytest.mark.parametrize("error", [KeyboardInterrupt(), redis.ConnectionError("gone")])
def test_after_a_read_that_did_not_end_the_next_one_connects_anew(
    connections: list[Connection], error: BaseException
) -> None:
    """The answer of the first would pass for that of the second."""
    features = OnlineFeatures("fraud")
    features.get("terminal_risk", "t1")
    connections[0].raises = error
    with pytest.raises(type(error)):
        features.get("terminal_risk", "t1")
    assert connections[0].closed
    features.get("terminal_risk", "t2")
    assert len(connections) == 2


def test_a_forked_process_connects_for_itself(connections: list[Connection], monkeypatch: pytest.MonkeyPatch) -> None:
    features = OnlineFeatures("fraud")
    features.get("terminal_risk", "t1")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    features.get("terminal_risk", "t1")
    features.get("terminal_risk", "t1")
    assert len(connections) == 2


def test_a_read_after_closing_connects_again(connections: list[Connection]) -> None:
    features = OnlineFeatures("fraud")
    features.get("terminal_risk", "t1")
    features.close()
    features.get("terminal_risk", "t1")
    assert len(connections) == 2


def test_an_unknown_view_is_refused_with_those_that_there_are(connections: list[Connection]) -> None:
    with pytest.raises(KeyError, match="no view 'terminal'; it has card_spend"):
        OnlineFeatures("fraud").get("terminal", "t1")


@pytest.mark.parametrize("given", ["t1", {"t1", "t2"}])
def test_entities_that_are_one_text_or_have_no_order_are_refused(connections: list[Connection], given: Any) -> None:
    with OnlineFeatures("fraud") as features, pytest.raises(TypeError, match="view terminal_risk: give a list"):
        features.get_columns({"terminal_risk": given})
    assert connections == []


def test_an_entity_without_a_value_is_refused(connections: list[Connection]) -> None:
    with OnlineFeatures("fraud") as features, pytest.raises(ValueError, match="not None"):
        features.entity("terminal_risk", None)  # type: ignore[arg-type]
