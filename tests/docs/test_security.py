"""The page on security says what the code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from deploy.local.paths import ROOT
from deploy.security.kafka_acls import RULES
from penstock.settings import Settings
from tests.security.servers import PARTS

PAGE = (ROOT / "docs" / "guides" / "security.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")


def shown(default: Any) -> str:
    """A default as the page gives it: folders as they are in the repository, nothing for nothing."""
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
    for name, setting in Settings.model_fields.items():
        rows.append(f"| `PENSTOCK_{name.upper()}` | {shown(setting.default)} | {setting.description} |")
    return "\n".join(rows)


def test_the_page_lists_every_setting_as_it_is() -> None:
    assert settings_table() in SETTINGS, f"put this into docs/reference/settings.md:\n{settings_table()}"


def test_the_page_names_every_part_that_has_rights() -> None:
    assert all(f"[{part}]" in RULES.read_text(encoding="utf-8") for part in PARTS)
    assert all(f"`{part}`" in PAGE for part in PARTS)
