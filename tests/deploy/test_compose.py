"""docker-compose.yml is valid, agrees with the local stack, and gives no container more rights than it needs."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml

from deploy.local.ports import Ports
from deploy.local.services import Layout, triton
from deploy.local.services.cassandra import cassandra_yaml
from deploy.local.services.kafka import server_properties
from deploy.local.services.redis import redis_conf
from deploy.local.services.zookeeper import zoo_cfg
from penstock.commands.gateway import run as gateway_run
from penstock.paths import ROOT
from penstock.settings import all_settings
from tests.deploy.commands import JOBS_COMMANDS, parse, secrets_in, unknown

_LAYOUT = Layout(Path("/x"), Ports(), "x")

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
# How long a client waits at its end until Kafka has every event (penstock/client/client.py).
_CLOSE_S = 30
# Official images that run as another user than root by themselves.
_UNPRIVILEGED = ("apache/kafka", "prom/prometheus", "grafana/grafana", "penstock-")

Service = dict[str, Any]


def _compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


_SERVICES: dict[str, Service] = _compose()["services"]
_OURS = {name: service for name, service in _SERVICES.items() if service["image"].startswith("penstock-")}


def _command_line(service: Service) -> list[str] | None:
    """The arguments of `penstock` in a container, or None if it runs something else."""
    if service.get("entrypoint", ["penstock"]) != ["penstock"]:
        return None
    if service["image"].startswith(("penstock-services", "penstock-parity")):
        return list(service.get("command", ["--help"]))
    return list(service["command"]) if "entrypoint" in service else None


def _once(service: Service) -> bool:
    return bool(service["restart"] == "no")


def _pairs(lines: str, separator: str) -> dict[str, str]:
    return dict(line.split(separator, 1) for line in lines.splitlines())


def test_the_file_is_valid_by_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests" / "deploy" / "schemas" / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validate(_compose(), schema)


@pytest.mark.parametrize("name", _SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert re.search(r":v?\d+\.\d+(\.\d+)?(-|$)", _SERVICES[name]["image"])


@pytest.mark.parametrize("name", _SERVICES)
def test_no_container_runs_as_root_or_may_become_it(name: str) -> None:
    service = _SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    user = service.get("user", "")
    assert service["image"].startswith(_UNPRIVILEGED) or (user and not user.startswith("0"))


@pytest.mark.parametrize("name", _OURS)
def test_our_containers_write_nowhere_but_to_volumes_and_tmp(name: str) -> None:
    assert _OURS[name]["read_only"] is True
    assert _OURS[name]["tmpfs"][0].startswith("/tmp:")


@pytest.mark.parametrize("name", _SERVICES)
def test_services_have_a_health_check_and_one_off_commands_have_none(name: str) -> None:
    service = _SERVICES[name]
    check = service["healthcheck"]
    if _once(service):
        assert check == {"disable": True}
        return
    assert service["restart"] == "unless-stopped"
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(check)
    if check["test"][1:3] == ["python", "-c"]:
        ast.parse(check["test"][3])


@pytest.mark.parametrize("name", _SERVICES)
def test_dependencies_exist_and_can_be_fulfilled(name: str) -> None:
    for other, dependency in _SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if _once(_SERVICES[other]) else "service_healthy"
        assert dependency["condition"] == wanted, other
        # Without `required: false`, the other service must run whenever this one does.
        profiles = set(_SERVICES[other].get("profiles", []))
        assert not profiles or profiles & set(_SERVICES[name]["profiles"]) or not dependency.get("required", True)


@pytest.mark.parametrize("name", [name for name, service in _SERVICES.items() if _command_line(service)])
def test_each_command_can_run_in_its_image(name: str) -> None:
    arguments = _command_line(_SERVICES[name])
    assert arguments is not None
    if arguments == ["--help"]:
        return
    command = parse(arguments)
    in_jobs = _SERVICES[name]["image"].startswith("penstock-jobs")
    assert command.split()[0] not in JOBS_COMMANDS - {"topics"} or in_jobs
    assert (command == "parity") == _SERVICES[name]["image"].startswith("penstock-parity")
    if not _once(_SERVICES[name]):
        assert "run" in command.split() or (command in ("parity", "incidents watch") and "--every" in arguments)
        assert "PENSTOCK_METRICS_PORT" in _SERVICES[name]["environment"]


@pytest.mark.parametrize("name", _SERVICES)
def test_every_variable_is_read_by_some_code_and_contains_no_secret(name: str) -> None:
    environment = _SERVICES[name].get("environment", {})
    assert unknown(environment) == set()
    assert secrets_in(environment) == set()


def test_the_command_line_in_a_container_knows_every_address_it_needs() -> None:
    local = {setting.variable for setting in all_settings().values() if "127.0.0.1" in str(setting.field.default)}
    for name in ("penstock", "penstock-jobs"):
        assert local <= set(_SERVICES[name]["environment"])


def test_published_ports_are_the_local_stacks_and_on_the_loopback() -> None:
    published = [port for service in _SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    monitoring = {int(port.split(":")[1]) for name in ("prometheus", "grafana") for port in _SERVICES[name]["ports"]}
    servers = {int(port.split(":")[1]) for port in published} - monitoring
    assert servers - {_gateway_port()} <= set(Ports().values())
    assert not monitoring & set(Ports().values())


def test_the_gateway_is_published_where_the_command_listens_and_has_time_to_answer_those_who_wait() -> None:
    service = _SERVICES["fraud-gateway"]
    assert service["ports"] == [f"127.0.0.1:{_gateway_port()}:{_gateway_port()}"]
    longest_s = next(one.default for one in gateway_run.params if one.name == "most_deadline_ms") / 1000
    assert int(service["stop_grace_period"].removesuffix("s")) >= longest_s + _CLOSE_S


def _gateway_port() -> int:
    return int(next(one.default for one in gateway_run.params if one.name == "port"))


def test_every_volume_and_secret_is_declared_and_every_file_that_is_mounted_exists() -> None:
    mounted = [volume.split(":")[0] for service in _SERVICES.values() for volume in service.get("volumes", [])]
    assert {name for name in mounted if not name.startswith(".")} == set(_compose()["volumes"])
    assert all((ROOT / name).is_file() for name in mounted if name.startswith("."))
    secrets = {name for service in _SERVICES.values() for name in service.get("secrets", [])}
    assert secrets == set(_compose()["secrets"])


def test_prometheus_scrapes_what_runs_here_at_the_ports_where_it_listens() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "monitoring" / "targets.yml").read_text(encoding="utf-8"))
    targets = {target for group in groups for target in group["targets"]}
    ours = {name for name, service in _OURS.items() if not _once(service)}
    services = {
        f"{name}:{_OURS[name]['environment']['PENSTOCK_METRICS_PORT']}" for name in ours if _command_line(_OURS[name])
    }
    assert targets == services | {"jobmanager:9249", "taskmanager:9249", "triton:8002"}


def test_only_the_services_that_need_the_key_of_personal_data_have_it() -> None:
    assert {name for name, service in _SERVICES.items() if service.get("secrets")} == {
        "penstock",
        "penstock-jobs",
        "fraud-job",
        "fraud-archive",
        "fraud-parity",
    }


def test_every_image_of_ours_is_a_target_of_its_file() -> None:
    for service in _OURS.values():
        text = (ROOT / service["build"]["dockerfile"]).read_text(encoding="utf-8")
        assert "target" not in service["build"] or f" AS {service['build']['target']}\n" in text


def test_triton_has_a_profile_with_gpu_and_one_without() -> None:
    assert _SERVICES["triton-gpu"]["profiles"] == ["gpu"]
    assert _SERVICES["triton-cpu"]["profiles"] == ["cpu"]
    devices = _SERVICES["triton-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]


def test_triton_is_started_with_the_options_of_the_local_stack() -> None:
    flags = _SERVICES["triton-cpu"]["command"][1:]
    source = Path(triton.__file__).read_text(encoding="utf-8")
    assert all(flag in source for flag in flags if not flag.startswith("--model-repository"))


def test_kafka_in_a_container_is_configured_as_in_the_local_stack() -> None:
    environment = _SERVICES["kafka"]["environment"]
    for name, value in _pairs(server_properties(_LAYOUT), "=").items():
        if name not in _PLACES:
            assert str(environment[f"KAFKA_{name.upper().replace('.', '_')}"]) == value, name


def test_redis_in_a_container_is_configured_as_in_the_local_stack() -> None:
    command = shlex.join(_SERVICES["redis"]["command"])
    local = _pairs(redis_conf(_LAYOUT), " ")
    for name in ("save", "appendonly", "maxmemory", "maxmemory-policy"):
        assert f"--{name} {local[name]}".replace('"', "'") in command


def test_cassandra_in_a_container_acknowledges_writes_once_on_disk_as_in_the_local_stack() -> None:
    local = yaml.safe_load(cassandra_yaml(_LAYOUT))
    options = _SERVICES["cassandra"]["environment"]["JVM_EXTRA_OPTS"].split()
    assert f"-Dcassandra.settings.commitlog_sync={local['commitlog_sync']}" in options
    assert "-Dcassandra.settings.commitlog_disk_access_mode=auto" in options
    assert "commitlog_sync_period" not in local  # which batch refuses; the image's file has it


def test_zookeeper_in_a_container_is_configured_as_in_the_local_stack() -> None:
    environment, local = _SERVICES["zookeeper"]["environment"], _pairs(zoo_cfg(_LAYOUT), "=")
    for name, variable in {
        "tickTime": "ZOO_TICK_TIME",
        "admin.enableServer": "ZOO_ADMINSERVER_ENABLED",
        "4lw.commands.whitelist": "ZOO_4LW_COMMANDS_WHITELIST",
        "autopurge.purgeInterval": "ZOO_AUTOPURGE_PURGEINTERVAL",
    }.items():
        assert str(environment[variable]) == local[name]


def test_kafka_and_cassandra_have_the_versions_of_the_local_stack() -> None:
    pom = ET.parse(ROOT / "deploy" / "java" / "pom.xml")
    versions = {
        element.tag.rpartition("}")[2]: element.text
        for element in pom.iterfind("{http://maven.apache.org/POM/4.0.0}properties/*")
    }
    assert _SERVICES["kafka"]["image"] == f"apache/kafka:{versions['kafka.version']}"
    assert _SERVICES["cassandra"]["image"] == f"cassandra:{versions['cassandra.version']}"
