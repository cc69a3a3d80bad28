"""Judging a version on the record: the gates are asked, earlier reports must agree, and the report is stored."""

from __future__ import annotations

from backfill.model_check import CheckRequest, Tell, check_version
from backfill.parquet import Backfill
from penstock.settings import Settings
from scoring.gates.report import Report
from scoring.gates.stored_reports import differences, does_not_hold, faults, read_report, store, stored_reports
from scoring.repository import ModelRepository
from streams.plan.project import Project


def judge_version(
    project: Project, settings: Settings, backfill: Backfill, request: CheckRequest, now_ms: int, tell: Tell
) -> tuple[Report, str]:
    """The report of the gates, and the hash under which it is stored beside the version; ``tell`` hears each step.

    Raises:
        PenstockError: as :func:`check_version`; or an earlier report of the version was edited, or says otherwise of
            the same events, version and limits.
    """
    report = check_version(project, settings, backfill, request, tell)
    repository = ModelRepository(settings.model_repository)
    for path, stored in stored_reports(repository, report.model, report.version).items():
        wrong = [] if report.basis is None else faults(stored, report.basis.version)
        if not wrong:
            earlier = read_report(stored)
            wrong = differences(earlier, report) if earlier.basis == report.basis else []
        if wrong:
            raise does_not_hold(path, stored, report.version, wrong)
    return report, store(repository, report, now_ms)
