"""Whether Redis evicts keys, as its INFO says; and answers that come too late."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
import redis

from penstock.redis_client import EvictionUnknown, connect_redis, eviction_error, eviction_of
from penstock.sections import RedisSettings


class FakeRedis:
    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer

    def info(self, section: str) -> dict[str, Any]:
        assert section == "memory"
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def asked(answer: dict[str, Any] | Exception) -> str | None:
    return eviction_of(cast("redis.Redis", FakeRedis(answer)))


@pytest.mark.parametrize(
    ("limit", "policy", "evicts"),
    [
        (0, "volatile-lru", None),
        (1, "noeviction", None),
        (1, "volatile-lru", "volatile-lru"),
        (1, "allkeys-random", "allkeys-random"),
    ],
)
def test_redis_evicts_with_a_limit_and_any_policy_but_noeviction(limit: int, policy: str, evicts: str | None) -> None:
    assert asked({"maxmemory": limit, "maxmemory_policy": policy}) == evicts


@pytest.mark.parametrize(
    "answer", [redis.exceptions.NoPermissionError("no permissions"), redis.ResponseError("unknown command"), {}]
)
def test_a_server_that_does_not_say_is_not_taken_for_safe(answer: dict[str, Any] | Exception) -> None:
    with pytest.raises(EvictionUnknown):
        asked(answer)


def test_an_outage_is_no_answer() -> None:
    with pytest.raises(redis.ConnectionError):
        asked(redis.ConnectionError("down"))


def test_a_volatile_policy_is_said_to_evict_the_vectors_alone() -> None:
    assert "evicts the vectors, and keeps the offsets" in str(eviction_error("volatile-ttl", "r:1"))
    assert "vectors as well as the offsets" in str(eviction_error("allkeys-lru", "r:1"))


class LateServer(socketserver.ThreadingTCPServer):
    """Holds back its answer to the first MGET until it may go on; each answer has the key that was asked for."""

    daemon_threads = True  # a client may keep its connection

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _LateHandler)
        self.asked = 0
        self.go_on = threading.Event()


class _LateHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = cast("LateServer", self.server)
        while count := self.rfile.readline()[1:]:
            words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(int(count))]
            if words[0] != b"MGET":
                self.wfile.write(b"+OK\r\n")
                continue
            server.asked += 1
            if server.asked == 1:
                server.go_on.wait(30)
            self.wfile.write(b"*1\r\n$%d\r\n%s\r\n" % (len(words[1]), words[1]))


@pytest.fixture
def late() -> Iterator[LateServer]:
    with LateServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def test_an_answer_after_the_deadline_is_not_waited_for_nor_asked_for_again_nor_taken_for_the_next(
    late: LateServer,
) -> None:
    port = late.server_address[1]
    client = connect_redis(RedisSettings(url=f"redis://127.0.0.1:{port}/0"), deadline_s=0.2)
    with pytest.raises(redis.TimeoutError):
        client.mget(["first"])
    late.go_on.set()
    assert client.mget(["second"]) == [b"second"]
    assert late.asked == 2
