"""Every way in which a recorded run can go wrong is found by the tool whose task it is; the good run itself passes.

The verifier judges the run and its training sets, ``archive verify --deep`` the archive, and parity what was served.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from shutil import copytree
from typing import Any

import pytest

from backfill.parity.check import Parity, check_parity
from backfill.parity.sources import Range, Sources
from deploy.local.stack import Stack
from penstock.kafka.reading import Record
from penstock.paths import BUILD
from penstock.settings import Settings
from sinks.archive.checking import Checked, check
from sinks.archive.reading import Archive
from sinks.archive.storage import FolderStorage
from sinks.archive.topics import topic_columns
from streams.inprocess.features_of import shared_kernel
from streams.plan.project import Project
from tests.integration.sabotage_offline import Recorded
from tests.integration.sabotage_run import DRIFTED, HISTORY, START_MS, UNSCORED, record_run
from tests.verify import sabotage
from tests.verify.sabotage.archive import ARCHIVE_MUTANTS, ArchiveMutant
from tests.verify.sabotage.catalogue import MUTANTS, Mutant, NothingToChangeError
from tests.verify.sabotage.parity import PARITY_MUTANTS, ParityMutant
from tests.verify.sabotage.rollout import ROLLOUT_MUTANTS
from tests.verify.sabotage.shadows import SHADOW_MUTANTS
from tests.verify.sabotage.training_sets import TRAINING_SET_MUTANTS
from verify.judge import judge
from verify.measured import Measured
from verify.report import PipelineReport
from verify.run_data import RunData

for module in iter_modules(sabotage.__path__):
    import_module(f"{sabotage.__name__}.{module.name}")  # it adds its mutants to the catalogue

ALL_MUTANTS = [*MUTANTS, *ROLLOUT_MUTANTS, *SHADOW_MUTANTS, *TRAINING_SET_MUTANTS]
REPORT = BUILD / "verify" / "mutants.json"


@pytest.fixture(scope="module")
def whole(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**stack.environment(), "PENSTOCK_CASSANDRA_KEYSPACE": "sabotage"}.items():
            patch.setenv(name, value)
        return record_run(stack, tmp_path_factory.mktemp("sabotage"), secrets.token_hex(4))


@pytest.fixture(scope="module")
def recorded(whole: Recorded) -> tuple[Project, RunData]:
    return whole.project, whole.run


@pytest.fixture(scope="module")
def verdicts() -> Iterator[list[dict[str, Any]]]:
    """What each mutant was found by; written to :data:`REPORT` at the end."""
    found: list[dict[str, Any]] = []
    yield found
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps({"mutants": found}, indent=2) + "\n", encoding="utf-8")


def test_the_good_run_passes(recorded: tuple[Project, RunData]) -> None:
    report = judge(*recorded, pii_key=b"")
    assert report.verdict == "passed", (report.failures(), report.unchecked(), report.examples)
    assert report.events_valid == report.predictions == HISTORY + DRIFTED
    of_events = [record for record in recorded[1].features if not record.is_timer]
    assert len(of_events) > report.events_valid, "the kill came too late to make the job repeat itself"
    latest = max(record.value["attempt"] for record in of_events)
    assert sum(record.value["attempt"] == latest for record in of_events) > 200, "the kill came too late"
    assert len(of_events) < report.features_emitted, "there are no timers"
    assert report.features_checked == report.features_total
    assert report.training_sets_checked == 1
    assert report.gate_reports == report.gate_reports_checked == 1
    assert sum(prediction.replayed is not None for prediction in recorded[1].predictions) == UNSCORED
    assert report.letters_replayed > UNSCORED, "no raw event was put back"
    assert sum(b"; not put back: " in (value or b"") for _, value in _headers(recorded[1].dead_letters[0])) == 1
    rollout = report.rollout
    assert rollout is not None
    assert (rollout.changes, rollout.refusals) == (3, 0)
    assert min(rollout.explored, rollout.by_champion, rollout.shadows, rollout.corrections) > 0, rollout
    assert min(report.dead_letters, report.events_duplicate, report.backfill_rows, report.drift_alerts) > 0
    assert report.built_sets == report.built_sets_checked == 2


def _headers(records: Sequence[Record]) -> Iterator[tuple[str, bytes | None]]:
    return (header for record in records for header in record.headers)


def test_a_model_whose_quality_cannot_be_measured_is_reported_as_unchecked(recorded: tuple[Project, RunData]) -> None:
    project, run = recorded
    measured = Measured(events_per_s=1.0, latencies_ms=[1.0], trained_until_ms=START_MS)
    assert judge(project, run, measured, pii_key=b"").model is not None
    report = judge(project, dataclasses.replace(run, labels=[()]), measured, pii_key=b"")
    assert report.verdict != "passed"
    assert any(text.startswith("the model's quality") for text in report.unchecked())


@pytest.mark.parametrize("mutant", ALL_MUTANTS, ids=[mutant.name for mutant in ALL_MUTANTS])
def test_the_verifier_finds(mutant: Mutant, recorded: tuple[Project, RunData], verdicts: list[dict[str, Any]]) -> None:
    project, run = recorded
    try:
        changed = mutant.change(project, run)
    except NothingToChangeError as nothing:
        pytest.fail(f"this mutant cannot be judged: {nothing}", pytrace=False)
    report = judge(project, changed, pii_key=b"")
    by = [name for name in mutant.found_by if _says(report, name)]
    verdicts.append({"name": mutant.name, "killed": report.verdict != "passed" and bool(by), "by": by})
    assert report.verdict != "passed"
    assert by, f"found, but not by {', '.join(mutant.found_by)}: {report.failures()}"


def _says(report: PipelineReport, name: str) -> bool:
    if name == "unchecked":
        return bool(report.unchecked())
    return report.epochs > report.epochs_announced if name == "epochs" else bool(getattr(report, name))


def _check_archive(project: Project, folder: Path) -> Checked:
    return check(FolderStorage(folder), columns=topic_columns(project, Settings()))


def test_the_archive_of_the_good_run_has_every_record_as_kafka_has_it(whole: Recorded) -> None:
    checked, archive = _check_archive(whole.project, whole.archive), Archive(str(whole.archive))
    assert checked.is_right, checked.findings
    assert not any(checked.not_decoded.values())
    pipeline = whole.project.pipeline
    for topic in (*(source.topic for source in pipeline.sources), pipeline.features_topic, pipeline.predictions_topic):
        assert [*archive.records(topic)] == sorted(
            whole.sources.read(topic), key=lambda one: (one.partition, one.offset)
        )
    assert pipeline.labels is not None
    assert checked.rows[pipeline.labels.topic] == len(whole.run.labels[0])


@pytest.mark.parametrize("mutant", ARCHIVE_MUTANTS, ids=[mutant.name for mutant in ARCHIVE_MUTANTS])
def test_archive_verify_finds(
    mutant: ArchiveMutant, whole: Recorded, tmp_path: Path, verdicts: list[dict[str, Any]]
) -> None:
    mutant.change(FolderStorage(copytree(whole.archive, tmp_path / "archive")))
    found = {finding.kind for finding in _check_archive(whole.project, tmp_path / "archive").findings}
    killed = mutant.found_as in found
    verdicts.append({"name": mutant.name, "killed": killed, "by": [mutant.found_as] if killed else []})
    assert killed, found


def _parity(project: Project, sources: Sources) -> Parity:
    return check_parity(project, sources, Range(START_MS, 2**60), shared_kernel())


def test_parity_explains_everything_that_the_good_run_served(whole: Recorded) -> None:
    found = _parity(whole.project, whole.sources)
    assert found.events == HISTORY + DRIFTED
    assert found.unexplained == 0, found.findings.examples
    assert not found.findings.not_compared


@pytest.mark.parametrize("mutant", PARITY_MUTANTS, ids=[mutant.name for mutant in PARITY_MUTANTS])
def test_parity_has_no_cause_for(mutant: ParityMutant, whole: Recorded, verdicts: list[dict[str, Any]]) -> None:
    found = _parity(whole.project, mutant.change(whole.project, whole.sources))
    killed = found.unexplained > 0
    verdicts.append({"name": mutant.name, "killed": killed, "by": ["unexplained"] if killed else []})
    assert killed, found.findings.by_cause()
