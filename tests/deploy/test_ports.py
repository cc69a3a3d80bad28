"""Ports: overrides, free ones, and the process that holds a taken one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from deploy.local.ports import Ports, owner_of, parse_overrides, taken
from deploy.local.services import SERVICES
from penstock.errors import PenstockError


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        yield server.getsockname()[1]


def test_free_ports_are_all_different_and_below_the_ephemeral_range() -> None:
    ports = list(Ports.free().values())
    assert len(set(ports)) == len(ports)
    assert max(ports) < 32_768


def test_the_default_ports_do_not_collide_with_each_other() -> None:
    ports = list(Ports().values())
    assert len(set(ports)) == len(ports)


def test_every_port_belongs_to_exactly_one_service() -> None:
    declared = [name for service in SERVICES.values() for name in service.ports]
    assert sorted(declared) == sorted(Ports())


def test_overrides_are_read_from_options_and_replace_only_what_they_name() -> None:
    ports = Ports().with_overrides(parse_overrides(["kafka=29092, redis=26379", "flink-rest=28081", ""]))
    assert (ports["kafka"], ports["redis"], ports["flink_rest"]) == (29092, 26379, 28081)
    assert ports["cassandra"] == Ports()["cassandra"]


@pytest.mark.parametrize("text", ["kafka", "kafka=", "kafka=x", "kafka=0", "kafka=65536"])
def test_a_malformed_override_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(PenstockError, match="not a port") as error:
        parse_overrides([text])
    assert "kafka=29092" in str(error.value)


def test_an_unknown_port_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PenstockError, match="no such port: kafak") as error:
        Ports().with_overrides({"kafak": 1})
    assert "kafka_controller" in str(error.value)


def test_a_port_that_is_listened_on_is_taken_and_its_owner_is_named(listener: int) -> None:
    assert taken({"redis": listener}) == {"redis": listener}
    assert f"pid {os.getpid()} (" in (owner_of(listener) or "")


def test_a_port_that_nobody_listens_on_is_free_and_has_no_owner() -> None:
    port = Ports.free()["kafka"]
    assert taken({"kafka": port}) == {}
    assert owner_of(port) is None
