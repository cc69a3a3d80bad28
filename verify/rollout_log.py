"""The log of a pipeline's rollouts (``rollout.<pipeline>.log``), and which policy was effective at an offset.

Its records are JSON, as ``docs/concepts/rollout-policy.md`` documents them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pydantic import Field, RootModel, ValidationError

from penstock.kafka.reading import Record
from verify.findings import Findings
from verify.rollout_policies import VERSION_DIGITS, Policy, Strict

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


Entry = Change | Marker | Refusal


class _Record(RootModel[Entry]):
    root: Entry = Field(discriminator="kind")


class Placed(NamedTuple):
    """A marker, and its place in the log for messages."""

    where: str
    marker: Marker


@dataclass(frozen=True)
class RolloutLog:
    """What the log says, in its order. It must not change once it was asked something."""

    changes: list[Change] = field(default_factory=list)
    markers: list[Placed] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    @cached_property
    def policies(self) -> Mapping[str, Policy]:
        """Every policy that was ever published, by the version that predictions name."""
        return {change.policy.version: change.policy for change in self.changes}

    @cached_property
    def holding(self) -> Mapping[int, Sequence[Placed]]:
        """The markers of each partition that hold somewhere, by their first offset.

        A marker holds from its first offset on. Of two that contradict each other, the later one in the log does.
        """
        found: dict[int, list[Placed]] = defaultdict(list)
        for placed in self.markers:
            of_partition = found[placed.marker.partition]
            while of_partition and of_partition[-1].marker.first_offset >= placed.marker.first_offset:
                of_partition.pop()
            of_partition.append(placed)
        return found

    def effective(self, partition: int, offset: int) -> str | None:
        """The version of the policy at an offset of the features topic; None before the first marker.

        It may be none of :attr:`policies`: :func:`read_log` reports that.
        """
        markers = self.holding.get(partition, ())
        place = bisect_right(markers, offset, key=lambda placed: placed.marker.first_offset)
        return markers[place - 1].marker.policy[:VERSION_DIGITS] if place else None


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
                f"{where}: a {entry.kind} names policy {entry.policy[:VERSION_DIGITS]}, which was not published before"
            )
        if isinstance(entry, Marker):
            log.markers.append(Placed(where, entry))
        else:
            log.refusals.append(entry)
    _check_latest(pipeline, latest, log.changes[-1] if log.changes else None, findings)
    return log


def _entry(record: Record, where: str, findings: Findings) -> Entry | None:
    try:
        return _Record.model_validate_json(record.value or b"").root
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
        said, should = (each and each[:VERSION_DIGITS] for each in (change.previous, expected))
        yield f"the policy before is {said}, should be {should}"
    yield from change.policy.wrong(change.step)
    if before is not None:
        yield from before.policy.moved(change.policy)


def _check_latest(pipeline: str, records: Sequence[Record], last: Change | None, findings: Findings) -> None:
    """Check that the compacted topic has the last change of the log, and nothing of another pipeline."""
    latest: Entry | None = None
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
