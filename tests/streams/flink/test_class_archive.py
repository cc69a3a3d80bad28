"""The JVM that submits jobs starts from the archive of its classes, and without it where there is none that fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.paths import CLIENT_ARCHIVE, java_home, site_packages
from streams.flink import submit
from streams.flink.submission import Limits, Options
from streams.plan.project import Project
from tests.corpus.pipeline import pipeline

LIMITS = Limits(features=1, dead_letters=(1,), unpublished=1)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> submit.Settings:
    packages = site_packages("jobs")
    assert packages is not None
    assert java_home() is not None
    monkeypatch.setenv("PENSTOCK_FLINK_CONF_DIR", str(packages / "pyflink" / "conf"))
    monkeypatch.setenv("PENSTOCK_FLINK_STATE", str(tmp_path))
    return submit.Settings()


def dry_run(settings: submit.Settings, folder: Path) -> None:
    submit.dry_run_job(Project.of(pipeline, folder), settings, Options(), LIMITS, name="n", group="g")


def test_the_classes_of_flinks_client_come_from_the_archive(
    settings: submit.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "classes.txt"
    monkeypatch.setattr(submit, "_JVM_OPTIONS", f"{submit._JVM_OPTIONS} -Xlog:class+load:file={log}")
    monkeypatch.setattr(submit, "_from_archive", lambda: f" -XX:SharedArchiveFile={CLIENT_ARCHIVE}")
    dry_run(settings, tmp_path)
    loaded = [line for line in log.read_text(encoding="utf-8").splitlines() if "org.apache.flink." in line]
    assert sum("shared objects file" in line for line in loaded) > 0.6 * len(loaded) > 100


def test_an_archive_that_does_not_fit_is_left_aside(
    settings: submit.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = tmp_path / "archive.jsa"
    garbage.write_bytes(b"not an archive" * 1_000)
    monkeypatch.setattr(submit, "CLIENT_ARCHIVE", garbage)
    dry_run(settings, tmp_path)
