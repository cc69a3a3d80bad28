"""The container files say the same as the local stack, are pinned, and run unprivileged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.bootstrap import UV_VERSION
from deploy.local.paths import ROOT
from deploy.local.ports import Ports
from deploy.local.services import Layout
from deploy.local.services.flink import flink_settings
from deploy.local.services.kafka import server_properties
from penstock.settings import Settings

_DOCKERFILES = sorted((ROOT / "deploy" / "images").glob("*.Dockerfile"))

# What must differ between processes on a loopback and containers in a network.
_PLACES = {
    "process.roles",
    "node.id",
    "controller.quorum.voters",
    "listeners",
    "advertised.listeners",
    "controller.listener.names",
    "listener.security.protocol.map",
    "log.dirs",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


def test_every_server_has_a_health_check_and_a_pinned_image(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.search(r":\d", service["image"]), name
        assert name == "penstock" or service["healthcheck"]["test"][0] == "CMD", name


def test_published_ports_are_the_local_stacks_and_on_the_loopback(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert {int(port.split(":")[1]) for port in published} <= set(Ports().as_dict().values())


def test_every_volume_is_named(compose: dict[str, Any]) -> None:
    used = {volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])}
    assert used == set(compose["volumes"])


def test_triton_has_a_profile_with_a_gpu_and_one_without(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["triton-gpu"]["profiles"] == ["gpu"]
    assert services["triton-cpu"]["profiles"] == ["cpu"]
    devices = services["triton-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]


def test_the_broker_in_a_container_is_configured_as_the_local_one(compose: dict[str, Any]) -> None:
    environment = compose["services"]["kafka"]["environment"]
    local = dict(line.split("=", 1) for line in server_properties(Layout(Path("/x"), Ports(), "x")).splitlines())
    for name, value in local.items():
        if name not in _PLACES:
            assert str(environment[f"KAFKA_{name.upper().replace('.', '_')}"]) == value, name


def test_flink_in_containers_is_configured_as_the_local_one() -> None:
    container = yaml.safe_load((ROOT / "deploy" / "images" / "flink-config.yaml").read_text(encoding="utf-8"))
    local = flink_settings(Layout(Path("/data"), Ports(), "x"))
    places = ("address", "host", "reporter.prom.factory", ".port", "quorum", "executable", "tmp.dirs", "tmpdir")
    for name, value in local.items():
        if not any(place in name for place in places):
            assert container[name] == value, name


def test_the_command_line_in_a_container_knows_every_address_it_needs(compose: dict[str, Any]) -> None:
    given = {name.removeprefix("PENSTOCK_").lower() for name in compose["services"]["penstock"]["environment"]}
    assert given <= set(Settings.model_fields)
    local = {name for name, field in Settings.model_fields.items() if "127.0.0.1" in str(field.default)}
    assert local <= given


@pytest.mark.parametrize("path", _DOCKERFILES, ids=lambda path: path.stem)
def test_images_are_pinned_and_do_not_run_as_root(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert all(re.search(r":\d", base) for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    if path.stem != "triton":
        assert re.search(r"^USER penstock$", text, re.MULTILINE)
        assert "--require-hashes" in text
        assert f"uv=={UV_VERSION}" in text
