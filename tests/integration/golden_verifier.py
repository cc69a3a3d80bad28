"""Verifies golden runs in a separate process: ``python -m tests.integration.golden_verifier CLEAN RUN...``.

Every argument is the file of a pipeline whose job has run over the same input. Views of the source's key entity must
have the clean run's values, bit for bit, in every emission; views of other entities must end as in the clean run; all
views must have the oracle's values in the order that was recorded. Prints what was compared as JSON; exits with 1 if
something differs.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from streams.plan.project import Project, open_project
from tests.published import published
from verify.check_features import check_features
from verify.judged_sources import judged_source
from verify.published import Published

BUDGET = 20_000_000


def main(files: list[str]) -> int:
    """Compare the runs with the clean one; returns the exit status."""
    settings = Settings()
    clean, *others = (open_project(file) for file in files)
    golden = published(read_topic(settings.kafka.access, clean.plan.features_topic), clean.features_decoder())
    report = {run.name: judged(run, clean, golden, settings) for run in (clean, *others)}
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if any(run["wrong"] for run in report.values()) else 0


def judged(run: Project, clean: Project, golden: list[Published], settings: Settings) -> dict[str, Any]:
    """The number of compared values of one run, and its errors."""
    kafka, plan = settings.kafka.access, run.plan
    events = judged_source(run, 0, settings).events
    records = published(read_topic(kafka, plan.features_topic), run.features_decoder())
    oracle = check_features(plan, events, records)
    wrong = list(oracle.examples)
    if oracle.missing or oracle.unexpected or oracle.unverifiable:
        wrong.append(f"{oracle.missing} missing, {oracle.unexpected} unexpected, {oracle.unverifiable} unverifiable")
    views = [view.name for view in clean.plan.views if view.key == clean.plan.source.key]
    # The runs' inputs are equal, including their offsets.
    wanted = {(r.position, view): values(r, view) for r in golden for view in views}
    if {r.position for r in records} != {r.position for r in golden}:
        wrong.append("not the events of the clean run")
    same = 0
    for record in records:
        for view in views:
            found, clean_values = values(record, view), wanted.get((record.position, view))
            if found == clean_values:
                same += 1
            else:
                wrong.append(f"event {record.value['event_id']}: {view} is {found}, was {clean_values}")
    others = [view for view in clean.plan.views if view.key != clean.plan.source.key]
    last_vectors = 0
    for view in others:
        ends, golden_ends = last_parts(records, view.name), last_parts(golden, view.name)
        last_vectors += len(ends)
        wrong += [
            f"{view.name} {entity} ends as {ends.get(entity)}, was {golden_ends.get(entity)}"
            for entity in ends.keys() | golden_ends.keys()
            if not alike(ends.get(entity), golden_ends.get(entity))
        ]
    return {
        "emitted": len(records),
        "last_vectors": last_vectors,
        "attempts": len({record.value["attempt"] for record in records}),
        "same": same,
        "checked": oracle.checked,
        "wrong": wrong[:10],
    }


# Whether the last event is late depends on which one is the last.
_OF_ITS_ORDER = ("epoch", "late")


def last_parts(records: list[Published], view: str) -> dict[str, dict[str, Any]]:
    """The last vector of each entity: it has counted the same events in every run, in whatever order."""
    latest: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}
    for record in records:
        part = record.value[view]
        if part is None:
            continue
        rank = part["seq"], record.value["attempt"]
        if part["entity"] not in latest or rank > latest[part["entity"]][0]:
            latest[part["entity"]] = rank, {name: value for name, value in part.items() if name not in _OF_ITS_ORDER}
    return {entity: part for entity, (_, part) in latest.items()}


def alike(left: dict[str, Any] | None, right: dict[str, Any] | None) -> bool:
    """Whether two vectors are equal, but for the rounding of sums in another order."""
    if left is None or right is None or left.keys() != right.keys():
        return False
    return all(
        math.isclose(value, right[name], rel_tol=1e-9) if isinstance(value, float) else value == right[name]
        for name, value in left.items()
    )


def values(record: Published, view: str) -> str:
    """A view's part of a record as text that shows every bit, without the epoch, which differs between runs."""
    part = record.value[view]
    return repr(None if part is None else {name: value for name, value in part.items() if name != "epoch"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
