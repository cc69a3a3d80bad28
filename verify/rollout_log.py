"""The log of a pipeline's rollouts (``rollout.<pipeline>.log``), and which policy was effective at an offset.

Its records are JSON, as ``docs/concepts/rollout-policy.md`` documents them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from penstock.kafka.reading import Record
from verify.findings import Findings
from verify.rollout_policies import Policy, Strict

CONTROLLER = "controller"
"""The author of what the rollout controller publishes."""


class Change(Strict):
    """A policy was published."""

    format: Literal[1]
    kind: Literal["change"]
    policy: Policy
    author: str
    reason: str
    evidence: dict[str, Any]
    previous: str | None
    time_ms: int
    step: int
    status: Literal["running", "paused", "ended"]


class Marker(Strict):
    """A scorer took a policy up on a partition."""

    format: Literal[1]
    kind: Literal["marker"]
    partition: int
    first_offset: int
    policy: str


class Refusal(Strict):
    """A scorer could not."""

    format: Literal[1]
    kind: Literal["refusal"]
    instance: str
    policy: str
    reason: str
    time_ms: int


_ENTRIES: TypeAdapter[Change | Marker | Refusal] = TypeAdapter(
    Annotated[Change | Marker | Refusal, Field(discriminator="kind")]
)


@dataclass
class RolloutLog:
    """What the log says, in its order: each marker has its place in the log, for messages."""

    changes: list[Change] = field(default_factory=list)
    markers: list[tuple[str, Marker]] = field(default_factory=list)
    refusals: int = 0

    @property
    def policies(self) -> dict[str, Policy]:
        """Every policy that was ever published, by the version that predictions name."""
        return {change.policy.version: change.policy for change in self.changes}


class Effective:
    """Which policy was effective where.

    A marker holds from its first offset on. Of two that contradict each other, the later one in the log does.
    """

    def __init__(self, markers: Sequence[tuple[str, Marker]]) -> None:
        found: dict[int, list[tuple[str, Marker]]] = defaultdict(list)
        for place, marker in markers:
            of_partition = found[marker.partition]
            while of_partition and of_partition[-1][1].first_offset >= marker.first_offset:
                of_partition.pop()
            of_partition.append((place, marker))
        self._markers: Mapping[int, Sequence[tuple[str, Marker]]] = found

    def at(self, partition: int, offset: int) -> str | None:
        """The hash of the policy at an offset of the features topic; None before the first marker."""
        markers = self._markers.get(partition, ())
        place = bisect_right(markers, offset, key=lambda one: one[1].first_offset)
        return markers[place - 1][1].policy if place else None

    def __iter__(self) -> Iterator[tuple[str, Marker]]:
        """The markers that hold somewhere, each with its place in the log."""
        for of_partition in self._markers.values():
            yield from of_partition


def read_log(pipeline: str, records: Sequence[Record], latest: Sequence[Record], findings: Findings) -> RolloutLog:
    """Read and check the log by itself.

    Args:
        pipeline: The pipeline's name.
        records: Of the log.
        latest: Of the compacted topic, whose last record is the last change of the log.
        findings: Takes what is wrong.
    """
    log, known = RolloutLog(), set[str]()
    for record in records:
        where = f"rollout.log[{record.partition}]@{record.offset}"
        entry = _entry(record, where, findings)
        if isinstance(entry, Change):
            for wrong in _wrong_change(pipeline, entry, log.changes[-1] if log.changes else None):
                findings.mismatch(f"{where}: {wrong}")
            log.changes.append(entry)
            known.add(entry.policy.hash)
            continue
        if entry is None:
            continue
        if entry.policy not in known:
            findings.mismatch(
                f"{where}: a {entry.kind} names policy {entry.policy[:12]}, which was not published before"
            )
        if isinstance(entry, Marker):
            log.markers.append((where, entry))
        else:
            log.refusals += 1
    _check_latest(pipeline, latest, log.changes[-1] if log.changes else None, findings)
    return log


def _entry(record: Record, where: str, findings: Findings) -> Change | Marker | Refusal | None:
    try:
        return _ENTRIES.validate_json(record.value or b"")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field_ = ".".join(map(str, first["loc"]))
        findings.mismatch(f"{where}: is no entry of a rollout log: {f'{field_}: ' if field_ else ''}{first['msg']}")
        return None


def _wrong_change(pipeline: str, change: Change, before: Change | None) -> Iterator[str]:
    """What is wrong with a change, given the one before it."""
    if change.policy.policy.pipeline != pipeline:
        yield f"the policy is of pipeline {change.policy.policy.pipeline}"
    if not (change.author.strip() and change.reason.strip()):
        yield "nobody says who published the policy, or why"
    if change.author == CONTROLLER and not change.evidence:
        yield "the controller published the policy without evidence"
    expected = None if before is None else before.policy.hash
    if change.previous != expected:
        said, should = (each and each[:12] for each in (change.previous, expected))
        yield f"the policy before is {said}, should be {should}"
    yield from change.policy.wrong(change.step)
    if before is not None:
        yield from before.policy.moved(change.policy)


def _check_latest(pipeline: str, records: Sequence[Record], last: Change | None, findings: Findings) -> None:
    """Check that the compacted topic has the last change of the log, and nothing of another pipeline."""
    latest: Change | Marker | Refusal | None = None
    for record in records:
        where = f"rollout[{record.partition}]@{record.offset}"
        if record.key != pipeline.encode():
            findings.mismatch(f"{where}: its key is not the pipeline's name")
            continue
        latest = _entry(record, where, findings)
    if latest != last:
        said, should = (
            "no change" if each is None else f"a change to policy {each.policy.version}, {each.status}"
            for each in (latest if isinstance(latest, Change) else None, last)
        )
        findings.mismatch(f"rollout: its last record is {said}; that of the log is {should}")
