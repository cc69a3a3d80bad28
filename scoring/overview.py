"""What the repository knows of each version of a model: how it was made, what it is called, what its gates found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.alias_history import CHAMPION, Change, aliases, read_history
from scoring.gates.report import Report, report_content
from scoring.gates.stored_reports import faults, read_report, stored_reports
from scoring.repository import ModelRepository
from scoring.trained_model import ImportManifest, ModelManifest
from scoring.version_files import identity

CANDIDATE = "candidate"


@dataclass(frozen=True)
class Overview:
    """One version.

    Args:
        version: Its number.
        identity: The SHA-256 of all that it is.
        manifest: Its manifest.
        aliases: ``champion``, ``previous``, or ``candidate`` for the newest version if it is newer than the champion.
        report: What the gates found at last; None if they were not asked, or the report does not hold.
        report_hash: The hash of that report.
        faulty: The file of the latest report and its content, if it does not hold.
        faults: Why it does not.
        changes: How it came to be served, and ceased to be, the oldest first.
    """

    version: int
    identity: str
    manifest: ModelManifest | ImportManifest
    aliases: tuple[str, ...]
    report: Report | None
    report_hash: str | None
    faulty: tuple[Path, Mapping[str, Any]] | None
    faults: Sequence[str]
    changes: Sequence[Change]

    @property
    def override(self) -> str | None:
        """The reason for which it was served at last although the gates did not say pass."""
        served = [change for change in self.changes if change.alias == CHAMPION and change.after == self.version]
        return served[-1].override if served else None


def overviews(repository: ModelRepository, model: str) -> list[Overview]:
    """All versions of a model, ascending.

    Raises:
        PenstockError: if a file of them cannot be read.
    """
    named, changes = aliases(repository, model), read_history(repository, model)
    versions = repository.versions(model)
    if versions and versions[-1] > named.get(CHAMPION, 0):
        named = {**named, CANDIDATE: versions[-1]}
    found = []
    for version in versions:
        own = identity(repository.folder(model, version))
        latest = next(reversed(stored_reports(repository, model, version).items()), None)
        wrong = [] if latest is None else faults(latest[1], own)
        held = None if latest is None or wrong else latest[1]
        found.append(
            Overview(
                version=version,
                identity=own,
                manifest=repository.manifest(model, version),
                aliases=tuple(alias for alias, of in named.items() if of == version),
                report=None if held is None else read_report(held),
                report_hash=None if held is None else str(held["hash"]),
                faulty=latest if wrong else None,
                faults=wrong,
                changes=[change for change in changes if version in (change.before, change.after)],
            )
        )
    return found


def as_content(overview: Overview) -> dict[str, Any]:
    """An overview as the content of a JSON object."""
    return {
        "version": overview.version,
        "identity": overview.identity,
        "aliases": list(overview.aliases),
        "manifest": overview.manifest.model_dump(mode="json"),
        "report": None if overview.report is None else report_content(overview.report),
        "report_hash": overview.report_hash,
        "report_faults": list(overview.faults),
        "override": overview.override,
        "changes": [change.model_dump(mode="json", by_alias=True) for change in overview.changes],
    }
