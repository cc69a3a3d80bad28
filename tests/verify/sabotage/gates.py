"""What can be wrong with the gates' reports, and with what was promoted on them."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import first, mutant
from verify.run_data import RunData


def _model_copied(project: Project, run: RunData) -> tuple[RunData, Path]:
    """The run with a copy of its models, and the folder of the pipeline's model there."""
    name = project.pipeline.model.name
    models = Path(tempfile.mkdtemp(prefix="mutant-", dir=run.models.parent))  # it goes with the run
    shutil.copytree(run.models / name, models / name)
    return replace(run, models=models), models / name


def _reports(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("reports/*/[!.]*.json")))


def _forged(project: Project, run: RunData, change: Callable[[dict[str, Any]], None]) -> RunData:
    """The run with a report that was changed; its hash fits, and the history names it."""
    changed, folder = _model_copied(project, run)
    path = first(_reports(folder), "report of the gates")
    content = json.loads(path.read_text())
    before = content.pop("hash")
    change(content["report"])
    sealed = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path.write_text(json.dumps({**content, "hash": sealed}))
    history = folder / "history.jsonl"
    history.write_text(history.read_text().replace(before, sealed))
    return changed


def _quality(report: dict[str, Any]) -> dict[str, Any]:
    return first((one for one in report["gates"] if one["gate"] == "quality"), "judged quality")


@mutant("gate_mismatches")
def a_report_of_the_gates_with_a_better_loss(project: Project, run: RunData) -> RunData:
    def better(report: dict[str, Any]) -> None:
        one = _quality(report)
        one.update({name: one[name] - 0.01 for name in ("estimate", "low", "high")})

    return _forged(project, run, better)


@mutant("gate_mismatches")
def a_report_of_the_gates_in_which_all_pass(project: Project, run: RunData) -> RunData:
    def pass_all(report: dict[str, Any]) -> None:
        report["verdict"] = "pass"
        for one in report["gates"]:
            one["verdict"] = "pass"

    return _forged(project, run, pass_all)


@mutant("gate_mismatches")
def a_report_of_the_gates_without_the_one_that_did_not_pass(project: Project, run: RunData) -> RunData:
    def drop(report: dict[str, Any]) -> None:
        report["gates"] = [one for one in report["gates"] if one["gate"] != "quality"]

    return _forged(project, run, drop)


@mutant("gate_mismatches")
def a_report_of_the_gates_whose_text_was_edited(project: Project, run: RunData) -> RunData:
    changed, folder = _model_copied(project, run)
    path = first(_reports(folder), "report of the gates")
    path.write_text(path.read_text().replace('"events": ', '"events": 1'))
    return changed


@mutant("gate_mismatches")
def a_promotion_whose_report_was_deleted(project: Project, run: RunData) -> RunData:
    changed, folder = _model_copied(project, run)
    first(_reports(folder), "report of the gates").unlink()
    return changed


@mutant("gate_mismatches")
def a_promotion_that_nobody_says_was_overridden(project: Project, run: RunData) -> RunData:
    changed, folder = _model_copied(project, run)
    history = folder / "history.jsonl"
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    first((line for line in lines if line["override"]), "overridden promotion")
    history.write_text("".join(json.dumps({**line, "override": None}) + "\n" for line in lines))
    return changed
