"""The pages on settings and on security say what the code does."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from deploy.security.kafka_acls import RULES
from penstock.paths import ROOT
from penstock.settings import Settings, all_settings
from tests.docs.pages import blocks, page
from tests.security.servers import PARTS

SETTINGS = page("reference/settings.md").read_text(encoding="utf-8")
SECURITY = page("guides/security.md").read_text(encoding="utf-8")


def shown(default: Any) -> str:
    """A default as the page gives it: folders relative to the repository, nothing for None."""
    if default is None or default is PydanticUndefined:
        return ""
    if isinstance(default, tuple):
        default = ",".join(default)
    if isinstance(default, bool):
        default = str(default).lower()
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        default = default.relative_to(ROOT)
    return f"`{default}`"


def settings_table() -> str:
    """The table of all settings."""
    rows = ["| variable | default | what |", "|---|---|---|"]
    rows += [
        f"| `{setting.variable}` | {shown(setting.field.default)} | {setting.field.description} |"
        for setting in all_settings().values()
    ]
    return "\n".join(rows)


def test_the_page_lists_every_setting_as_it_is() -> None:
    assert settings_table() in SETTINGS, f"put this into docs/reference/settings.md:\n{settings_table()}"


def test_the_settings_file_on_the_page_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks(page("reference/settings.md"), "toml")
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    (tmp_path / "penstock.toml").write_text(example.text, encoding="utf-8")
    monkeypatch.setenv("PENSTOCK_CONFIG_FILE", str(tmp_path / "penstock.toml"))
    settings = Settings()
    assert settings.kafka.username == "penstock-fraud-scorer"
    assert settings.kafka.encrypts
    assert settings.triton.encrypts


@pytest.mark.parametrize("name", ["guides/security.md", "guides/deployment.md"])
def test_the_documented_key_is_closed_to_others_and_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``sudo chgrp`` needs rights that a test lacks; it changes no mode."""
    lines = [line for block in blocks(page(name), "bash") for line in block.text.splitlines() if "pii.key" in line]
    script = "\n".join(["sudo() { :; }", *lines])
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, umask=0o022)
    (key,) = tmp_path.rglob("pii.key")
    assert stat.S_IMODE(key.stat().st_mode) in (0o600, 0o640)
    monkeypatch.setenv("PENSTOCK_PII_KEY_FILE", str(key))
    assert len(Settings().pii.require_key().get_secret_value()) >= 32


def test_the_page_names_every_part_that_has_rights() -> None:
    assert all(f"[{part}]" in RULES.read_text(encoding="utf-8") for part in PARTS)
    assert all(f"`{part}`" in SECURITY for part in PARTS)
