"""Reports of the gates beside the versions that they judge, each tied by a hash to all that it rests on.

A report is evidence, no permission: a version is promoted on what the gates say then. The evidence must hold all the
same, so :func:`faults` and :func:`differences` find one that was edited.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError
from penstock.time import readable
from scoring.gates.gates import Result, Verdict
from scoring.gates.report import Basis, Bin, Report, report_content
from scoring.gates.statistics import Interval
from scoring.repository import ModelRepository
from scoring.version_files import content_hash

_TOLERANCE = 1e-6
# What a second run on the same events measures anew.
_MEASURED_ANEW = frozenset({"latency", "drift"})


def store(repository: ModelRepository, report: Report, made_ms: int) -> str:
    """Write a report beside its version, and return its hash."""
    content: dict[str, Any] = {"made_ms": made_ms, "report": report_content(report)}
    own = content_hash(content)
    folder = _folder(repository, report.model, report.version)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{made_ms}-{own[:16]}.json"
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(json.dumps({**content, "hash": own}, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return own


def stored_reports(repository: ModelRepository, model: str, version: int) -> dict[Path, Mapping[str, Any]]:
    """The contents of all reports of a version by their file, the oldest first.

    Raises:
        PenstockError: if one is no JSON.
    """
    found = {}
    for path in _folder(repository, model, version).glob("[!.]*.json"):
        try:
            found[path] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise PenstockError(
                "a stored report of the gates cannot be read",
                where=str(path),
                safe="nothing was changed",
                next=f"delete the file, and: penstock model check PIPELINE --version {version} --backfill FOLDER",
            ) from error
    return dict(sorted(found.items(), key=lambda one: int(one[1].get("made_ms", 0))))


def does_not_hold(path: Path, stored: Mapping[str, Any], version: int, wrong: Sequence[str]) -> PenstockError:
    """The error for a stored report that was edited: which one, what is wrong with it, and the way out."""
    made = readable(int(stored.get("made_ms", 0)), "seconds", zone=" UTC")
    return PenstockError(
        f"a stored report of version {version} does not hold: {'; '.join(wrong)}",
        where=str(path),
        safe="nothing was stored or loaded",
        next=f"find out who changed the report of {made}, delete its file, and: "
        f"penstock model check PIPELINE --version {version} --backfill FOLDER",
    )


def faults(stored: Mapping[str, Any], identity: str) -> list[str]:
    """What shows that a stored report was edited, or is of other bytes; empty for one that holds. Pure.

    An edited report with a hash to match is found by :func:`differences` from a second run, or by the hash that the
    history of aliases has.

    Args:
        stored: The content of its file.
        identity: The identity of the version as it is.
    """
    found = []
    if stored.get("hash") != content_hash({name: value for name, value in stored.items() if name != "hash"}):
        found.append("its hash is not that of its content")
    try:
        report = read_report(stored)
    except (KeyError, TypeError, ValueError) as error:
        return [*found, f"it is no report: {error!r}"]
    said = stored["report"]["verdict"]
    if said != report.verdict.value:
        found.append(f"it says {said}, its gates say {report.verdict.value}")
    if report.basis is None or report.basis.version != identity:
        found.append("it is of other bytes than the version has")
    return found


def differences(stored: Report, again: Report) -> list[str]:
    """What a second run on the same basis found otherwise than a stored report says. Pure.

    Latency and drift are left out: they are measured anew.
    """
    found = []
    before, now = (_by_place(report) for report in (stored, again))
    for place in sorted({*before, *now}):
        gate, where, measured = place
        one, other = before.get(place), now.get(place)
        if one is None or other is None:
            found.append(f"{gate}, {where}: {measured} is in one of both only")
        elif one.verdict is not other.verdict:
            found.append(f"{gate}, {where}: {measured} is a {one.verdict.value} there, and a {other.verdict.value} now")
        elif not all(_alike(*pair) for pair in zip(one.interval, other.interval, strict=True)):
            numbers = f"{one.interval.estimate:.6g} there, and {other.interval.estimate:.6g} now"
            found.append(f"{gate}, {where}: {measured} is {numbers}")
    return found


def read_report(stored: Mapping[str, Any]) -> Report:
    """The report in the content of a file.

    Raises:
        KeyError, TypeError, ValueError: if it is none.
    """
    content = stored["report"]
    results = [
        Result(
            one["gate"],
            one["where"],
            Verdict(one["verdict"]),
            one["n"],
            one["measured"],
            Interval(*(_or_nan(one[name]) for name in Interval._fields)),
            one["limit"],
        )
        for one in content["gates"]
    ]
    basis = content["basis"]
    return Report(
        content["model"],
        content["version"],
        content["against"],
        content["events"],
        results,
        [Bin(**one) for one in content["calibration"]],
        None if basis is None else Basis(**basis),
        content["why_against"],
    )


def _folder(repository: ModelRepository, model: str, version: int) -> Path:
    return repository.root / model / "reports" / str(version)


def _by_place(report: Report) -> dict[tuple[str, str, str], Result]:
    return {(one.gate, one.where, one.measured): one for one in report.results if one.gate not in _MEASURED_ANEW}


def _alike(one: float, other: float) -> bool:
    if math.isfinite(one) and math.isfinite(other):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return not math.isfinite(one) and not math.isfinite(other)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
