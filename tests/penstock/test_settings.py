"""Settings: defaults are the default stack's, the environment overrides, the key is a secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.settings import SECRETS, Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*Settings.model_fields, "config_file"):
        monkeypatch.delenv(f"PENSTOCK_{name.upper()}", raising=False)


def test_defaults_are_the_default_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Settings()
    for name, value in Stack(ports=Ports()).environment().items():
        monkeypatch.setenv(name, value)
    assert Settings().model_dump(exclude={"flink_home"}) == defaults.model_dump(exclude={"flink_home"})


def test_a_stacks_environment_sets_every_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports.free()
    for name, value in Stack(tmp_path, ports).environment().items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.kafka_bootstrap == f"127.0.0.1:{ports.kafka}"
    assert settings.cassandra_contact_points == ("127.0.0.1",)
    assert settings.model_repository == tmp_path / "models"


def test_contact_points_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CASSANDRA_CONTACT_POINTS", "a, b,c")
    assert Settings().cassandra_contact_points == ("a", "b", "c")


def test_the_key_comes_from_the_environment_or_a_file_and_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PenstockError, match="no key to hash it with"):
        Settings().require_pii_key()
    (tmp_path / "key").write_text("very-secret\n", encoding="utf-8")
    monkeypatch.setenv("PENSTOCK_PII_KEY_FILE", str(tmp_path / "key"))
    assert Settings().require_pii_key().get_secret_value() == "very-secret"
    monkeypatch.setenv("PENSTOCK_PII_KEY", "other")
    assert Settings().require_pii_key().get_secret_value() == "other"
    assert "other" not in repr(Settings())


def test_a_key_file_that_cannot_be_read_is_an_error_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_PII_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(PenstockError, match="cannot be read"):
        Settings().require_pii_key()


def test_a_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text('kafka_bootstrap = "file:1"\ncassandra_port = 7\ncassandra_contact_points = ["a", "b"]\n')
    monkeypatch.setenv("PENSTOCK_CONFIG_FILE", str(file))
    monkeypatch.setenv("PENSTOCK_KAFKA_BOOTSTRAP", "environment:1")
    settings = Settings()
    assert (settings.kafka_bootstrap, settings.cassandra_port) == ("environment:1", 7)
    assert settings.cassandra_contact_points == ("a", "b")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('kafka_pasword = "x"', "kafka_pasword: Extra inputs"),
        ("kafka_bootstrap =", "cannot be used"),
        ('redis_password = "hush"', "redis_password is a secret and must not be in the configuration file"),
    ],
)
def test_a_file_with_a_typing_error_or_a_secret_is_refused(
    text: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "penstock.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PENSTOCK_CONFIG_FILE", str(tmp_path / "penstock.toml"))
    with pytest.raises(PenstockError, match=complaint) as refused:
        Settings()
    assert "hush" not in str(refused.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CONFIG_FILE", str(tmp_path / "absent"))
    with pytest.raises(PenstockError, match="absent"):
        Settings()


SCRAM = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "SCRAM-SHA-512"}
NAME = {"kafka_username": "sink", "kafka_password": "hush"}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"kafka_security_protocol": "SASL_SSL"}, "kafka_sasl_mechanism is not set"),
        ({"kafka_sasl_mechanism": "PLAIN", **NAME}, "kafka_security_protocol is PLAINTEXT"),
        (SCRAM, "needs kafka_username and kafka_password"),
        ({**SCRAM, **NAME, "kafka_token_url": "https://id"}, "kafka_token_url would not be used"),
        ({**SCRAM, **NAME, "kafka_sasl_mechanism": "OAUTHBEARER"}, "needs kafka_token_url and kafka_client_id"),
        (NAME, "kafka_username and kafka_password would not be used"),
        ({"kafka_ca_file": "ca"}, "kafka_ca_file would not be used: the connection is not encrypted"),
        ({"redis_ca_file": "ca"}, "redis_ca_file would not be used"),
        ({"triton_tls": True, "triton_key_file": "key"}, "set without the other"),
        ({"redis_url": "redis://me:hush@host"}, "redis_url holds credentials"),
        ({"redis_username": "sink"}, "without redis_password"),
        ({"cassandra_password": "hush"}, "without the other"),
        ({"cassandra_port": "hush"}, "cassandra_port"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_and_no_secret_is_shown(
    values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(PenstockError, match=complaint) as refused:
        Settings(**values)
    assert "hush" not in str(refused.value)


def test_secrets_come_from_files_too_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n", encoding="utf-8")
    settings = Settings(**SCRAM, kafka_username="sink", kafka_password_file=tmp_path / "secret", redis_password="hush")
    assert settings.kafka.client()["sasl.password"] == "hush"
    assert "hush" not in f"{settings!r} {settings} {settings.kafka!r} {settings.model_dump()}"


def test_every_secret_can_come_from_a_file_and_no_other_setting_sounds_like_one() -> None:
    assert all(f"{name}_file" in Settings.model_fields for name in SECRETS)
    sounds = re.compile(r"password|secret|pii_key")
    assert {name for name in Settings.model_fields if sounds.search(name) and not name.endswith("_file")} == set(
        SECRETS
    )


def test_with_tls_every_part_gets_its_files() -> None:
    settings = Settings(redis_url="rediss://h:1/0", redis_ca_file=Path("ca"), cassandra_tls=True)
    tls = settings.tls("redis")
    assert tls is not None
    assert tls.ca_file == Path("ca")
    assert settings.tls("cassandra") is not None
    assert settings.tls("triton") is None
