"""The files that the stack writes for its servers."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml

from deploy.local.ports import Ports
from deploy.local.services import Layout, Program, cassandra
from deploy.local.services.cassandra import cassandra_yaml
from deploy.local.services.flink import TASK_SLOTS, flink_settings
from deploy.local.services.kafka import server_properties
from deploy.local.services.redis import redis_conf
from deploy.local.services.service import StopPhase
from deploy.local.services.zookeeper import zoo_cfg
from deploy.local.supervision import _MAX_SOCKET_PATH, _socket_path, supervisord_conf


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, Ports(), "abcd1234")


def _properties(text: str, separator: str) -> dict[str, str]:
    return dict(line.split(separator, 1) for line in text.splitlines())


def test_every_address_that_servers_bind_is_the_loopback(layout: Layout) -> None:
    texts = [server_properties(layout), redis_conf(layout), cassandra_yaml(layout), zoo_cfg(layout)]
    texts.append(str(flink_settings(layout)))
    for text in texts:
        assert set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)) == {"127.0.0.1"}
        assert "localhost" not in text


def test_kafka_refuses_unknown_topics_and_keeps_records_of_any_age(layout: Layout) -> None:
    settings = _properties(server_properties(layout), "=")
    assert settings["auto.create.topics.enable"] == "false"
    assert settings["log.retention.ms"] == "-1"
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093"


def test_cassandra_yaml_parses_and_stays_in_its_folder(layout: Layout) -> None:
    config = yaml.safe_load(cassandra_yaml(layout))
    assert config["native_transport_port"] == 19042
    folders = [value for name, value in config.items() if name.endswith("_directory")]
    folders += config["data_file_directories"]
    assert all(Path(folder).is_relative_to(layout.data("cassandra")) for folder in folders)


@pytest.mark.parametrize("takes_it", [True, False])
def test_cassandra_writes_its_log_past_the_page_cache_where_the_file_system_can(
    layout: Layout, takes_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cassandra, "_takes_direct_io", lambda _: takes_it)
    cassandra.prepare(layout)
    config = yaml.safe_load((layout.data("cassandra") / "cassandra.yaml").read_text(encoding="utf-8"))
    assert config["commitlog_disk_access_mode"] == ("direct" if takes_it else "legacy")
    assert config["commitlog_sync"] == "batch"


def test_asking_for_direct_io_leaves_nothing_behind(tmp_path: Path) -> None:
    cassandra._takes_direct_io(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_flink_has_the_slots_and_latency_settings(layout: Layout) -> None:
    settings = flink_settings(layout)
    assert settings["taskmanager.numberOfTaskSlots"] == str(TASK_SLOTS)
    assert settings["execution.buffer-timeout.interval"] == "1 ms"
    assert settings["execution.checkpointing.dir"].startswith("file:///")


def test_zookeeper_permits_the_job_managers_session_timeout(layout: Layout) -> None:
    tick_ms = int(_properties(zoo_cfg(layout), "=")["tickTime"])
    session_ms = int(flink_settings(layout)["high-availability.zookeeper.client.session-timeout"])
    assert 2 * tick_ms <= session_ms <= 20 * tick_ms


def test_supervisord_restarts_programs_that_die_and_starts_none_by_itself(layout: Layout) -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(supervisord_conf(layout, ["kafka", "redis"], layout.run / "s.sock"))
    for name in ("kafka", "redis"):
        assert parser.get(f"program:{name}", "autorestart") == "true"
        assert parser.get(f"program:{name}", "autostart") == "false"
    assert parser.get("unix_http_server", "chmod") == "0700"


def test_a_percent_sign_in_the_folder_is_not_interpolated_by_supervisord(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "50%", Ports(), "abcd1234")
    assert "%" not in supervisord_conf(layout, ["kafka"], layout.run / "s.sock")


def test_a_folder_too_long_for_a_unix_socket_gets_a_socket_in_a_short_folder(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    path, other = _socket_path(long / "a"), _socket_path(long / "b")
    assert len(str(path)) <= _MAX_SOCKET_PATH
    assert path != other
    assert _socket_path(Path("/srv/stack/run")) == Path("/srv/stack/run/supervisor.sock")


def test_a_start_script_quotes_arguments_for_the_shell(layout: Layout) -> None:
    program = Program(
        "x", lambda _: ["run", "a b", "$HOME"], lambda _: "", StopPhase.STORES, lambda _: {"OPTIONS": "one two"}
    )
    assert program.script(layout) == "#!/bin/sh\nexport OPTIONS='one two'\nexec run 'a b' '$HOME'\n"
