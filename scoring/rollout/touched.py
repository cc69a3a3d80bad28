"""Which predictions a bad version has touched: those of its arms, and where they are by the log of the rollout. Pure.

A prediction says itself which arm of which policy scored it. A policy can return with the same hash, so that does not
tell one rollout from an earlier one. The markers do: what a policy has scored on a partition lies between its marker
there and the next one. They are in the log in the order in which the transactions of the partition were committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from penstock.time import readable
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.policy_log import Logged, Marker, PolicyChange

MOST_ENTITIES = 1_000_000
"""So many entities are counted exactly: it takes about 100 MB."""

Pick = Callable[[PublishedPolicy], Iterable[str]]
"""Names arms of a policy."""


@dataclass(frozen=True)
class Choice:
    """Arms whose predictions are looked for.

    Args:
        title: What they are, for people.
        versions: The versions of the model that they are of.
        arms: Their names by the hash of the policy; empty if none of them ever had a weight.
        since: The offset in the log of the first marker that counts.
        until: The offset in the log before which the last one is; None for the end of the log.
    """

    title: str
    versions: frozenset[int]
    arms: Mapping[str, frozenset[str]]
    since: int = 0
    until: int | None = None

    @cached_property
    def by_version(self) -> Mapping[str, frozenset[str]]:
        """The names of the arms by the version of the policy, as predictions name it."""
        return {policy[:12]: names for policy, names in self.arms.items()}

    def marked_by(self, logged: Logged) -> bool:
        """Whether a marker in the log is of one of the policies, and counts."""
        assert isinstance(logged.entry, Marker)
        is_in_time = logged.offset >= self.since and (self.until is None or logged.offset < self.until)
        return is_in_time and logged.entry.policy in self.arms


class Window(NamedTuple):
    """Where on a partition predictions may be.

    Args:
        partition: The partition, of the features topic and of the predictions topic alike.
        first_offset: The first offset of the features topic that was scored under one of the policies.
        since_ms: No prediction of the window is dated before (epoch ms).
        end_offset: The first offset of the features topic that was scored under another policy after them; None if
            there is none yet.
    """

    partition: int
    first_offset: int
    since_ms: int
    end_offset: int | None = None

    def has(self, choice: Choice, prediction: Mapping[str, Any], *, replayed: bool) -> bool:
        """Whether a prediction was scored by one of the arms, in this window.

        Args:
            choice: The arms.
            prediction: A prediction of the partition.
            replayed: Whether a replay of dead letters made it: it has the offset of an earlier time.
        """
        rollout = prediction["rollout"]
        if rollout is None or rollout["arm"] not in choice.by_version.get(rollout["policy"], ()):
            return False
        if replayed:
            return bool(prediction["scored_at"] >= self.since_ms)
        return bool(prediction["features_offset"] >= self.first_offset)

    def is_over(self, choice: Choice, prediction: Mapping[str, Any], *, replayed: bool) -> bool:
        """Whether a prediction comes after all of the window; the arguments are those of :meth:`has`."""
        if self.end_offset is None or replayed or prediction["features_offset"] < self.end_offset:
            return False
        rollout = prediction["rollout"]
        return rollout is None or rollout["policy"] not in choice.by_version


@dataclass
class Summary:
    """Counts of touched predictions.

    Args:
        predictions: By partition.
        decisions: By decision.
        versions: By the version of the model that scored. Where a candidate gave no number, it is the champion's.
        explored: How many have the permissive decision of an exploration slice.
        without_entity: How many have no entity.
        entities_are_all: Whether ``entities`` are all; else there are more of them than are counted.
    """

    predictions: Counter[int] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    explored: int = 0
    without_entity: int = 0
    entities_are_all: bool = True
    _entities: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        """How many predictions there are."""
        return self.predictions.total()

    @property
    def entities(self) -> int:
        """How many entities they are of, at most MOST_ENTITIES."""
        return len(self._entities)

    def add(self, prediction: Mapping[str, Any]) -> None:
        """Count a prediction."""
        self.predictions[prediction["features_partition"]] += 1
        self.decisions[prediction["decision"]] += 1
        self.versions[prediction["model_version"]] += 1
        self.explored += prediction["rollout"]["explored"]
        entity = prediction["entity"]
        if entity is None:
            self.without_entity += 1
        elif len(self._entities) < MOST_ENTITIES:
            self._entities.add(entity)
        elif entity not in self._entities:
            self.entities_are_all = False


def choose(log: Iterable[Logged], pick: Pick, title: str) -> Choice:
    """Those arms of all policies in the log that ``pick`` names and that had a weight."""
    arms: dict[str, frozenset[str]] = {}
    versions: set[int] = set()
    for logged in log:
        if isinstance(logged.entry, PolicyChange):
            published = logged.entry.policy
            if names := _served(published) & frozenset(pick(published)):
                arms[published.hash] = names
                versions |= {arm.version for arm in published.policy.arms if arm.name in names}
    return Choice(title, frozenset(versions), arms)


def of_version(number: int) -> Pick:
    """The arms that a version of the model scores for, as a candidate or as the champion."""
    return lambda published: [arm.name for arm in published.policy.arms if arm.version == number]


def of_arm(name: str) -> Pick:
    """The arm of a name, as a candidate or as the champion."""
    return lambda _published: [name]


def of_policies(hashes: Iterable[str]) -> Pick:
    """The candidates of policies, or the champion of one without candidates.

    Args:
        hashes: The hashes of the policies, or the versions, which are the first twelve digits.
    """
    wanted = tuple(hashes)

    def pick(published: PublishedPolicy) -> list[str]:
        if not published.hash.startswith(wanted):
            return []
        policy = published.policy
        return [arm.name for arm in policy.candidates or policy.arms]

    return pick


def latest_rollback(log: Iterable[Logged]) -> Choice | None:
    """What the latest rollback of the log has taken back; None if there was none.

    A change is a rollback if it ends what was being tried and promotes none of it, or puts an earlier champion in the
    place of the present one. It takes back the candidates, or the champion: their arms, in all policies from the one in
    which they first had a weight, as long as they were not left out in between.
    """
    found: Choice | None = None
    before: PolicyChange | None = None
    champions: set[int] = set()
    stints: dict[int, _Stint] = {}
    for logged in log:
        change = logged.entry
        if not isinstance(change, PolicyChange):
            continue
        if found is not None and found.until is None and change.policy.hash in found.arms:
            found = replace(found, until=logged.offset)  # it is being tried again
        bad = None if before is None else _taken_back(change, before, champions)
        if bad is not None:
            found = _choice(change, bad, [stints[version] for version in bad if version in stints])
        present = {arm.version for arm in change.policy.policy.arms}
        stints = {version: stint for version, stint in stints.items() if version in present}
        for arm in change.policy.policy.arms:
            if arm.name in _served(change.policy):
                stints.setdefault(arm.version, _Stint(logged.offset)).add(change.policy.hash, arm.name)
        champions.add(change.policy.policy.champion.version)
        before = change
    return found


def windows(log: Iterable[Logged], choice: Choice) -> list[Window]:
    """Where the predictions of the arms may be, by partition, and in the order in which they were scored."""
    opened: dict[int, Window] = {}
    closed: list[Window] = []
    for logged in log:
        marker = logged.entry
        if not isinstance(marker, Marker):
            continue
        window = opened.get(marker.partition)
        if choice.marked_by(logged):
            if window is None:
                opened[marker.partition] = Window(marker.partition, marker.first_offset, logged.time_ms)
            elif marker.first_offset < window.first_offset:  # the scorer was set back
                opened[marker.partition] = window._replace(first_offset=marker.first_offset)
        elif window is not None:
            closed.append(window._replace(end_offset=marker.first_offset))
            del opened[marker.partition]
    return sorted([*closed, *opened.values()], key=lambda window: window.partition)


@dataclass
class _Stint:
    """In which policies a version has had a weight, from an offset of the log on: its arms by the policy's hash."""

    since: int
    arms: dict[str, frozenset[str]] = field(default_factory=dict)

    def add(self, policy: str, arm: str) -> None:
        self.arms[policy] = self.arms.get(policy, frozenset()) | {arm}


def _served(published: PublishedPolicy) -> frozenset[str]:
    return frozenset(arm for arm, weight in published.weights.items() if weight)


def _taken_back(change: PolicyChange, before: PolicyChange, champions: set[int]) -> set[int] | None:
    """The versions that a change takes back; None if it is no rollback. ``champions`` are all those before it."""
    champion, was = change.policy.policy.champion.version, before.policy.policy
    candidates = {arm.version for arm in was.candidates}
    is_promotion = champion != was.champion.version and champion in candidates
    if change.status != "ended" or is_promotion:
        return None
    bad = candidates - {champion}
    if champion != was.champion.version and champion in champions:
        bad.add(was.champion.version)
    return bad if bad or before.status != "ended" else None


def _choice(change: PolicyChange, bad: set[int], stints: list[_Stint]) -> Choice:
    arms: dict[str, frozenset[str]] = {}
    for stint in stints:
        for policy, names in stint.arms.items():
            arms[policy] = arms.get(policy, frozenset()) | names
    versions = ", ".join(map(str, sorted(bad))) or "none"
    when = readable(change.time_ms, "seconds", zone=" UTC")
    title = f"version {versions}, rolled back {when} by {change.author}: {change.reason}"
    return Choice(title, frozenset(bad), arms, min((stint.since for stint in stints), default=0))
