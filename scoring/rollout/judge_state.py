"""What the judge of a rollout has seen: immutable, of bounded size, and how it is saved. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from penstock.errors import PenstockError
from scoring.rollout.label_table import LabelTable
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.sample import SHARDS, Sample

_FORMAT = 2
_MOST_LABELS = 50_000
_FOR_EVER = np.iinfo(np.int64).max


class Call(IntEnum):
    """The columns of an event as a call of a version; after them, the time that each shadow version took, in ms."""

    ARM = 0
    MOMENT = 1
    IS_FAILED = 2
    IS_LETTER = 3
    INFER_MS = 4


class Column(IntEnum):
    """The columns of an entity's event; after them its groups, and the score of each shadow version."""

    POLICY = 0
    ARM = 1
    SCORE = 2
    UNSEEN = 3


HIDDEN, TOO_LATE = 1.0, 2.0
"""In the column ``UNSEEN``: the decision that was served hides the outcome; or labels of the event may have been
forgotten before it came. NaN otherwise."""


@dataclass(frozen=True, eq=False)
class JudgeState:
    """What the judge has seen under a policy.

    Attributes:
        published: The policy.
        versions: The versions of policies whose events count: the policy's own, last, and for a bandit those before.
        groups: How many groups an event has.
        calls: A sample of events, for how versions work: errors, latency.
        entities: A sample of entities, for what they score: one event of each.
        labels: The labels of entities' events, and the newest of others.
        horizon_ms: How long after its event a label counts; None: for ever.
        sources: The topics of labels in their order, if there are several.
        labels_ms: The time up to which all labels have been handed over; None if that is not known.
        served_ms: The time that predictions have reached; None before the first.
        complete: For each partition, the offset below which all predictions have been handed over.
        markers: For each partition, the offset from which on the policy is effective.
        refusal: Why a scorer cannot follow the policy; None if none has said so.
    """

    published: PublishedPolicy
    versions: tuple[str, ...]
    groups: int
    calls: Sample
    entities: Sample
    labels: LabelTable
    horizon_ms: int | None = None
    sources: tuple[str, ...] = ()
    labels_ms: int | None = None
    served_ms: int | None = None
    complete: Mapping[int, int] = field(default_factory=dict)
    markers: Mapping[int, int] = field(default_factory=dict)
    refusal: str | None = None

    @classmethod
    def empty(
        cls,
        published: PublishedPolicy,
        groups: int,
        most: int,
        horizon_ms: int | None = None,
        sources: tuple[str, ...] = (),
    ) -> Self:
        """The state in which nothing has been seen.

        Args:
            published: The policy.
            groups: How many groups an event has.
            most: How many entities, and how many calls, are remembered.
            horizon_ms: How long after its event a label counts; None: for ever.
            sources: The topics of labels in their order, if there are several.
        """
        shadows = len(published.shadows)
        # A bandit's arms change, and no arm is small: there is one pool for all.
        pools = 1 if published.policy.mode == "bandit" else len(published.policy.arms)
        with_weight = sum(weight > 0 for weight in published.weights.values())
        room = most // min(pools, with_weight)
        calls = Sample.empty(len(Call) + shadows, pools, room)
        entities = Sample.empty(len(Column) + groups + shadows, pools, room)
        labels = LabelTable.empty(_MOST_LABELS, max(1, len(sources)))
        return cls(published, (published.version,), groups, calls, entities, labels, horizon_ms, sources)

    @property
    def policy(self) -> str:
        """The hash of the published policy."""
        return self.published.hash

    @property
    def clock_ms(self) -> int | None:
        """The event time that labels and predictions have both reached; None if that is not known.

        Labels alone do not tell: one with a wrong clock would make all events look old. Nor do predictions: where
        labels come late or are read late, events would look as if they had none.
        """
        if self.labels_ms is None or self.served_ms is None:
            return None
        return min(self.labels_ms, self.served_ms)

    @property
    def finals(self) -> NDArray[np.int64]:
        """Until when a label of each entity's event counts, epoch ms, [N]."""
        times = self.entities.rows["first"]
        if self.horizon_ms is None:
            return np.full(len(times), _FOR_EVER)
        return np.asarray(np.minimum(times, _FOR_EVER - self.horizon_ms) + self.horizon_ms, np.int64)

    def is_like(self, other: JudgeState) -> bool:
        """Whether both remember the same of their events."""
        same = self.calls.is_of(other.calls) and self.entities.is_of(other.entities)
        ours, theirs = ((one.groups, one.horizon_ms, one.sources) for one in (self, other))
        return same and ours == theirs

    def records(self) -> dict[str, bytes]:
        """The state as records with names, each below 500 kB.

        The names are always the same. Write those whose bytes have changed, together with the offsets.
        """
        head = {
            "format": _FORMAT,
            "versions": self.versions,
            "groups": self.groups,
            "calls": [self.calls.most, self.calls.halvings],
            "entities": [self.entities.most, self.entities.halvings],
            "labels": [self.labels.most, self.labels.forgotten_ms],
            "horizon": self.horizon_ms,
            "reached": [self.labels_ms, self.served_ms],
            "complete": {str(partition): offset for partition, offset in sorted(self.complete.items())},
            "markers": {str(partition): offset for partition, offset in sorted(self.markers.items())},
            "refusal": self.refusal,
            **({"sources": self.sources} if self.sources else {}),
        }
        records = {
            "head": json.dumps(head).encode(),
            # It may have thousands of ranges.
            "policy": zlib.compress(self.published.model_dump_json().encode()),
        }
        for name, shards in (
            ("calls", self.calls.shards()),
            ("entities", self.entities.shards()),
            ("labels", self.labels.shards()),
        ):
            records |= {f"{name}/{number:02x}": rows for number, rows in enumerate(shards)}
        return records

    @classmethod
    def load(cls, records: Mapping[str, bytes]) -> Self:
        """The state that was saved.

        Raises:
            PenstockError: if a record is missing, or they are of another release.
        """

        def shards(name: str) -> list[bytes]:
            return [records[f"{name}/{number:02x}"] for number in range(SHARDS)]

        def filled(sample: Sample, name: str) -> Sample:
            most, halvings = head[name]
            return replace(sample, most=most, halvings=tuple(halvings)).filled(shards(name))

        try:
            head = json.loads(records["head"])
            if head["format"] != _FORMAT:
                raise ValueError(f"its format is {head['format']}, this release has {_FORMAT}")  # noqa: TRY301
            published = PublishedPolicy.model_validate_json(zlib.decompress(records["policy"]))
            empty = cls.empty(published, head["groups"], most=0, sources=tuple(head.get("sources", ())))
            most, forgotten_ms = head["labels"]
            labels_ms, served_ms = head["reached"]
            return replace(
                empty,
                versions=tuple(head["versions"]),
                calls=filled(empty.calls, "calls"),
                entities=filled(empty.entities, "entities"),
                labels=replace(empty.labels, most=most, forgotten_ms=forgotten_ms).filled(shards("labels")),
                horizon_ms=head["horizon"],
                labels_ms=labels_ms,
                served_ms=served_ms,
                complete={int(partition): offset for partition, offset in head["complete"].items()},
                markers={int(partition): offset for partition, offset in head["markers"].items()},
                refusal=head["refusal"],
            )
        except (KeyError, ValueError, zlib.error) as error:
            raise PenstockError(
                f"what a rollout's controller has seen cannot be read: {error}",
                safe="the policy was not changed, and the predictions are still there",
                next="start the controller with the release that wrote it, or let it begin anew at the present step",
            ) from error
