"""``penstock job upgrade`` offers to fill new views instead of beginning them empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from penstock.commands import job
from streams.flink.rest import Job
from streams.flink.submission import Options
from streams.flink.submit import description_of
from streams.flink.upgrade import ReplacedJob, UpgradePlan
from streams.plan.project import Project
from tests.sinks.payments import payments

PROJECT = Project.of(payments("pay"), Path("nothing is committed"))
RUNNING = Job("j", "penstock-pay", "RUNNING", 1, 1, 1)
TARGET = description_of(PROJECT, Options())
KEPT, NEW = PROJECT.plan.views[0].id, PROJECT.plan.views[-1].id


@pytest.fixture
def upgrades(monkeypatch: pytest.MonkeyPatch) -> list[Project]:
    """A running job that lacks a view; the upgrades that are done."""
    done: list[Project] = []
    views = {name: of for name, of in TARGET.views.items() if name != NEW} | {"gone@1": "h"}
    plan = UpgradePlan(RUNNING, TARGET.model_copy(update={"views": views}), TARGET)

    def upgrade(project: Project, _settings: Any) -> ReplacedJob:
        done.append(project)
        return ReplacedJob(RUNNING, "file:/savepoint", Options(), plan.added, plan.removed)

    monkeypatch.setattr(job, "open_project", lambda _: PROJECT)
    monkeypatch.setattr(job, "plan_upgrade", lambda *_: plan)
    monkeypatch.setattr(job, "upgrade_job", upgrade)
    return done


def test_a_new_view_is_named_with_the_command_that_fills_it(upgrades: list[Project]) -> None:
    result = CliRunner().invoke(job.job, ["upgrade", "pay"])

    assert result.exit_code == 1
    assert NEW in str(result.exception)
    assert "penstock backfill run pay --into live" in str(result.exception)
    assert upgrades == []


def test_with_empty_a_new_view_begins_empty(upgrades: list[Project]) -> None:
    result = CliRunner().invoke(job.job, ["upgrade", "pay", "--empty"])

    assert result.exit_code == 0, result.output
    assert f"started empty: {NEW}" in result.output
    assert len(upgrades) == 1


def test_a_dry_run_says_what_becomes_of_each_view(upgrades: list[Project]) -> None:
    result = CliRunner().invoke(job.job, ["upgrade", "pay", "--dry-run"])

    assert result.exit_code == 0
    assert f"would begin empty: {NEW}" in result.output
    assert "would be removed, with their state: gone@1" in result.output
    assert f"kept, with their state: {KEPT}" in result.output
    assert "penstock backfill run pay --into live" in result.output
    assert upgrades == []
