"""Settings: the defaults are those of the default stack, the environment takes precedence, secrets stay hidden."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.sections import Section
from penstock.settings import Settings, all_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = (setting.variable for setting in all_settings().values())
    for name in (*variables, "PENSTOCK_CONFIG_FILE", "PENSTOCK_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_defaults_are_those_of_the_default_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Settings()
    for name, value in Stack(ports=Ports()).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PENSTOCK_HOME")  # that stack never ran
    assert Settings().model_dump(exclude={"flink": {"home"}}) == defaults.model_dump(exclude={"flink": {"home"}})


def test_a_stacks_environment_sets_every_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports.free()
    for name, value in Stack(tmp_path, ports).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PENSTOCK_HOME")  # that stack never ran
    settings = Settings()
    assert settings.kafka.bootstrap == f"127.0.0.1:{ports['kafka']}"
    assert settings.cassandra.contact_points == ("127.0.0.1",)
    assert settings.model_repository == tmp_path / "models"


def test_penstock_home_gives_defaults_below_the_environment_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(tmp_path / "stack", Ports({"kafka": 1, "redis": 2, "cassandra": 3}))
    saved = {"environment": {name: v for name, v in stack.environment().items() if name != "PENSTOCK_HOME"}}
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "stack.json").write_text(json.dumps(saved), encoding="utf-8")
    (tmp_path / "penstock.toml").write_text("[cassandra]\nport = 7\n", encoding="utf-8")
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "stack"))
    monkeypatch.setenv("PENSTOCK_CONFIG_FILE", str(tmp_path / "penstock.toml"))
    monkeypatch.setenv("PENSTOCK_REDIS_URL", "redis://environment:1/0")
    settings = Settings()
    assert settings.kafka.bootstrap == "127.0.0.1:1"
    assert settings.redis.url == "redis://environment:1/0"
    assert settings.cassandra.port == 7
    assert settings.flink.conf_dir == tmp_path / "stack" / "flink" / "conf"
    assert settings.model_repository == tmp_path / "stack" / "models"


def test_contact_points_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CASSANDRA_CONTACT_POINTS", "a, b,c")
    assert Settings().cassandra.contact_points == ("a", "b", "c")


def test_the_key_comes_from_the_environment_or_a_file_and_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PenstockError, match="no key to hash it with is set"):
        Settings().pii.require_key()
    monkeypatch.setenv("PENSTOCK_PII_KEY_FILE", str(secret_file(tmp_path, "very-secret\n")))
    assert Settings().pii.require_key().get_secret_value() == "very-secret"
    monkeypatch.setenv("PENSTOCK_PII_KEY", "other")
    assert Settings().pii.require_key().get_secret_value() == "other"
    assert "other" not in repr(Settings())


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o444])
def test_a_secret_whose_file_is_open_to_every_user_is_refused_with_the_command_that_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    file = secret_file(tmp_path / "my keys", "very-secret", mode)
    monkeypatch.setenv("PENSTOCK_PII_KEY_FILE", str(file))
    with pytest.raises(PenstockError, match=rf"every user may read or change its file \(mode {mode:04o}\)") as refused:
        Settings().pii.require_key()
    command = (refused.value.next or "").partition(";")[0]
    subprocess.run(command, shell=True, check=True)
    assert Settings().pii.require_key().get_secret_value() == "very-secret"
    assert stat.S_IMODE(file.stat().st_mode) == mode & 0o770


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_secret_may_be_read_by_its_owner_and_group_as_kubernetes_mounts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """Kubernetes' files are links into another folder."""
    (tmp_path / "key").symlink_to(secret_file(tmp_path / "..data", "very-secret", mode))
    monkeypatch.setenv("PENSTOCK_PII_KEY_FILE", str(tmp_path / "key"))
    assert Settings().pii.require_key().get_secret_value() == "very-secret"


def test_without_a_key_the_error_gives_the_commands_that_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PenstockError) as missing:
        Settings().pii.require_key()
    commands = (missing.value.next or "").partition(",")[0]
    subprocess.run(f"{commands}; printf %s $PENSTOCK_PII_KEY_FILE > at", shell=True, check=True, cwd=tmp_path)
    monkeypatch.setenv("PENSTOCK_PII_KEY_FILE", (tmp_path / "at").read_text())
    assert len(Settings().pii.require_key().get_secret_value()) >= 32


def test_a_key_file_that_cannot_be_read_is_an_error_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_PII_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(PenstockError, match="cannot be read"):
        Settings().pii.require_key()


def test_the_environment_takes_precedence_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text('[kafka]\nbootstrap = "file:1"\n[cassandra]\nport = 7\ncontact_points = ["a", "b"]\n')
    monkeypatch.setenv("PENSTOCK_CONFIG_FILE", str(file))
    monkeypatch.setenv("PENSTOCK_KAFKA_BOOTSTRAP", "environment:1")
    settings = Settings()
    assert (settings.kafka.bootstrap, settings.cassandra.port) == ("environment:1", 7)
    assert settings.cassandra.contact_points == ("a", "b")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('kafka.pasword = "hush"', "kafka.pasword: Extra inputs"),
        ('pii_key = "hush"', "pii_key: Extra inputs"),
        ('kafka = "hush"', "kafka: Input should be"),
        ("kafka =", "cannot be read"),
        ('[redis]\npassword = "hush"', "redis.password is a secret and must not be in the configuration file"),
    ],
)
def test_a_file_with_an_unknown_name_or_a_secret_is_refused(
    text: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "penstock.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PENSTOCK_CONFIG_FILE", str(tmp_path / "penstock.toml"))
    with pytest.raises(PenstockError, match=complaint) as refused:
        Settings()
    assert "hush" not in str(refused.value)


def test_a_missing_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CONFIG_FILE", str(tmp_path / "absent"))
    with pytest.raises(PenstockError, match="absent"):
        Settings()


def secret_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    """A file with a secret that has this mode."""
    folder.mkdir(exist_ok=True)
    path = folder / "secret"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


SCRAM = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}
NAME = {"username": "sink", "password": "hush"}


@pytest.mark.parametrize(
    ("section", "values", "complaint"),
    [
        ("kafka", {"security_protocol": "SASL_SSL"}, "kafka.sasl_mechanism is not set"),
        ("kafka", {"sasl_mechanism": "PLAIN", **NAME}, "kafka.security_protocol is PLAINTEXT"),
        ("kafka", SCRAM, "needs kafka.username and kafka.password"),
        ("kafka", {**SCRAM, **NAME, "token_url": "https://id"}, "kafka.token_url would not be used"),
        ("kafka", {**SCRAM, **NAME, "sasl_mechanism": "OAUTHBEARER"}, "needs kafka.token_url and kafka.client_id"),
        ("kafka", NAME, "kafka.username and kafka.password would not be used"),
        ("kafka", {"ca_file": "ca"}, "kafka.ca_file would not be used: the connection is not encrypted"),
        ("redis", {"ca_file": "ca"}, "redis.ca_file would not be used"),
        (
            "triton",
            {"tls": True, "key_file": "key"},
            "one of triton.certificate_file and triton.key_file is set without",
        ),
        ("redis", {"url": "redis://me:hush@host"}, "redis.url contains credentials"),
        ("redis", {"username": "sink"}, "without redis.password"),
        ("cassandra", {"password": "hush"}, "without the other"),
        ("cassandra", {"port": "hush"}, r"cassandra.port \(PENSTOCK_CASSANDRA_PORT\): Input should be a valid integer"),
    ],
)
def test_contradicting_settings_are_refused_and_no_secret_is_shown(
    section: str, values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(PenstockError, match=complaint) as refused:
        Settings(**{section: values})
    assert "hush" not in str(refused.value)


def test_an_error_in_a_section_names_its_variables_and_its_table() -> None:
    with pytest.raises(PenstockError) as refused:
        Settings(redis={"username": "sink"})
    assert refused.value.where is not None
    assert "PENSTOCK_REDIS_..." in refused.value.where
    assert "[redis] in the file" in refused.value.where


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(PenstockError, match=r"kafka\.security_protocol.*; cassandra\.port") as refused:
        Settings(kafka={"security_protocol": "hush"}, cassandra={"port": "hush"})
    assert "hush" not in str(refused.value)


def test_unknown_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Settings()
    for name in ("KAFKA", "KAFKA_PORT", "KAFKA_PASWORD", "CASSANDRA_REPLICATION", "PII", "METRICS_PORT"):
        monkeypatch.setenv(f"PENSTOCK_{name}", "something else")
    assert Settings() == defaults


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("PENSTOCK_KAFKA_BOOTSTRAP", "k:1", "kafka.bootstrap"),
        ("PENSTOCK_REDIS_URL", "redis://r", "redis.url"),
        ("PENSTOCK_TRITON_GRPC", "t:1", "triton.grpc"),
        ("PENSTOCK_FLINK_CONF_DIR", "/conf", "flink.conf_dir"),
        ("PENSTOCK_PII_KEY_FILE", "/key", "pii.key_file"),
        ("PENSTOCK_MODEL_REPOSITORY", "/models", "model_repository"),
        ("PENSTOCK_SCHEMA_REGISTRY_URL", "http://registry", "schema_registry_url"),
    ],
)
def test_a_variable_sets_the_setting_that_it_names(
    variable: str, value: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all_settings()[name].variable == variable
    monkeypatch.setenv(variable, value)
    assert str(attrgetter(name)(Settings())) == value


def test_secrets_come_from_files_too_and_are_never_shown(tmp_path: Path) -> None:
    secret_file(tmp_path, "hush\n")
    settings = Settings(
        kafka={**SCRAM, "username": "sink", "password_file": tmp_path / "secret"}, redis={"password": "hush"}
    )
    assert settings.kafka.access.client()["sasl.password"] == "hush"
    assert "hush" not in f"{settings!r} {settings} {settings.kafka.access!r} {settings.model_dump()}"


def test_every_secret_can_come_from_a_file_and_no_other_setting_is_named_like_one() -> None:
    secrets = {name for name, setting in all_settings().items() if setting.is_secret}
    assert all(f"{name}_file" in all_settings() for name in secrets)
    sounds = re.compile(r"password|secret|pii.key")
    assert {name for name in all_settings() if sounds.search(name) and not name.endswith("_file")} == secrets


def test_each_section_is_named_as_its_field() -> None:
    sections = {name: value for name, value in Settings() if isinstance(value, Section)}
    assert set(sections) == {"kafka", "redis", "cassandra", "triton", "flink", "pii"}
    assert all(section.section == name for name, section in sections.items())


def test_every_backend_with_tls_gets_its_files() -> None:
    settings = Settings(redis={"url": "rediss://h:1/0", "ca_file": "ca"}, cassandra={"tls": True})
    tls = settings.redis.encryption
    assert tls is not None
    assert tls.ca_file == Path("ca")
    assert settings.cassandra.encryption is not None
    assert settings.triton.encryption is None
