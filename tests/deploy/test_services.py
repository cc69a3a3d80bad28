"""The list of services: unique names, ports, environment, and the order of starting and stopping."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from deploy.local.ports import Ports
from deploy.local.services import PROGRAMS, SERVICES, Layout, Program, Service
from deploy.local.services.flink import flink_settings
from deploy.local.services.service import StopPhase
from deploy.local.services.triton import TRITON
from deploy.local.stack import Stack, select_services
from deploy.local.versions import server_versions

_ALL = list(SERVICES.values())


def test_names_of_programs_and_ports_are_unique_in_the_stack() -> None:
    assert len(PROGRAMS) == sum(len(service.programs) for service in _ALL)
    assert len(Ports()) == sum(len(service.ports) for service in _ALL)


def test_the_ports_that_prometheus_scrapes_are_ports_of_services() -> None:
    for service in _ALL:
        assert set(service.metrics) <= set(service.ports), service.name


def test_a_program_starts_after_programs_that_are_listed_and_stops_before_them() -> None:
    for program in PROGRAMS.values():
        for first in program.after:
            assert program.stops < PROGRAMS[first].stops, f"{program.name} after {first}"


def test_writers_stop_before_stores_and_stores_before_logs() -> None:
    phases = [{name for name, program in PROGRAMS.items() if program.stops == phase} for phase in StopPhase]
    assert phases == [{"taskmanager", "triton"}, {"jobmanager", "cassandra", "redis"}, {"kafka", "zookeeper"}]


def test_no_two_services_set_the_same_variable(tmp_path: Path) -> None:
    layout = Layout(tmp_path, Ports(), "x")
    for one, other in itertools.combinations(_ALL, 2):
        assert not set(one.client_environment(layout)) & set(other.client_environment(layout))


def test_a_service_in_the_list_has_its_ports_and_variables_in_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = Service(
        name="added",
        ports={"added": 19999},
        programs=(Program("added", lambda _: ["true"], lambda _: "", StopPhase.STORES),),
        prepare=lambda _: None,
        client_environment=lambda layout: {"PENSTOCK_ADDED": f"127.0.0.1:{layout.ports['added']}"},
    )
    monkeypatch.setitem(SERVICES, "added", added)
    stack = Stack(tmp_path, Ports({"added": 29999}))
    assert stack.ports["added"] == 29999
    assert stack.environment()["PENSTOCK_ADDED"] == "127.0.0.1:29999"


def test_shared_memory_of_another_stack_is_not_removed() -> None:
    mine, other = (Path(f"/dev/shm/penstock_{name}_test") for name in ("mine0000", "other000"))
    try:
        for file in (mine, other):
            file.touch()
        TRITON.clean_up(Layout(Path("/x"), Ports(), "mine0000"))
        assert not mine.exists()
        assert other.exists()
    finally:
        for file in (mine, other):
            file.unlink(missing_ok=True)


def test_a_version_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("deploy.local.services.service.JARS", tmp_path)
    monkeypatch.setattr("deploy.local.services.service.site_packages", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it is not installed"))
    assert server_versions() == {}


def test_versions_come_from_the_names_of_jars_and_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("deploy.local.services.service.JARS", tmp_path)
    monkeypatch.setattr("deploy.local.services.service.site_packages", lambda name: tmp_path / name)
    monkeypatch.setattr("shutil.which", lambda _: None)
    for file in (
        "kafka/kafka_2.13-4.1.2.jar",
        "kafka/kafka-clients-4.1.1.jar",
        "cassandra/cassandra-all-5.0.9.jar",
        "flink/flink-sql-connector-kafka-5.0.0-2.2.jar",
        "jobs/apache_flink-2.2.1.dist-info",
        "jobs/apache_flink_libraries-2.2.0.dist-info",
        "triton/nvidia_pytriton-0.7.0.dist-info",
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert server_versions() == {
        "kafka": "4.1.2",
        "cassandra": "5.0.9",
        "flink-connector-kafka": "5.0.0-2.2",
        "apache-flink": "2.2.1",
        "nvidia-pytriton": "0.7.0",
    }


def test_a_service_is_selected_with_its_direct_and_indirect_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    ui = Program(name="ui", command=lambda _: [], ready=lambda _: "", stops=StopPhase.WRITERS, after=("jobmanager",))
    service = Service(name="ui", ports={}, programs=(ui,), prepare=lambda _: None)
    monkeypatch.setitem(SERVICES, "ui", service)
    assert [one.name for one in select_services(["ui"])] == ["zookeeper", "flink", "ui"]


@pytest.mark.parametrize("brief", [False, True])
def test_only_the_servers_of_a_brief_stack_do_without_the_optimising_compiler(tmp_path: Path, brief: bool) -> None:
    layout, option = Layout(tmp_path, Ports(), "x", brief), "-XX:TieredStopAtLevel=1"
    for name in ("kafka", "cassandra"):
        assert (option in PROGRAMS[name].command(layout)) is brief
    settings = flink_settings(layout)
    assert (settings.get("env.java.opts.jobmanager") == option) is brief
    assert option not in settings["env.java.opts.taskmanager"]  # its windows are what a run spends its time on
