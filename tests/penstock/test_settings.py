"""Settings: defaults are the default stack's, the environment overrides, the key is a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.settings import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
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
