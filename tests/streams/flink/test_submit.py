"""Errors of submission before it starts a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.settings import Settings
from streams.flink.submission import Limits, Options
from streams.flink.submit import dry_run_job
from streams.plan.project import Project
from tests.sinks.payments import payments


def test_the_error_for_a_missing_flink_configuration_names_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_PII_KEY", "a key of the tests, long enough to be one")
    settings = Settings()
    elsewhere = settings.flink.model_copy(update={"conf_dir": tmp_path / "conf", "state": tmp_path})
    settings = settings.model_copy(update={"flink": elsewhere})
    with pytest.raises(PenstockError, match="configuration folder is missing") as refused:
        dry_run_job(
            Project.of(payments("pay"), tmp_path),
            settings,
            Options(),
            Limits(features=1, dead_letters=(1,), unpublished=1),
            name="n",
            group="g",
        )
    assert refused.value.where == str(tmp_path / "conf")
    assert "export PENSTOCK_HOME=FOLDER" in str(refused.value.next)
