"""What the entries of a rollout log say together: the changes, who follows them, and what was effective where. Pure.

Everything here reads the log once and keeps little of it: a log may have hundreds of thousands of markers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from penstock.errors import PenstockError
from scoring.rollout.policy_log import Logged, Marker, PolicyChange, Refusal


class Overview(NamedTuple):
    """A log in short.

    Attributes:
        changes: All changes of the policy, the oldest first.
        markers: The last marker of each partition that has one.
        refusals: The last refusal of the last change's policy by each scorer, by its name.
    """

    changes: list[Logged]
    markers: dict[int, Marker]
    refusals: dict[str, Refusal]


class Effective(NamedTuple):
    """The policy that was effective at an offset.

    Attributes:
        change: The change that published it, and where it is in the log.
        marker: The marker that says so, and where it is.
    """

    change: Logged
    marker: Logged

    @property
    def policy(self) -> PolicyChange:
        """The change itself."""
        assert isinstance(self.change.entry, PolicyChange)
        return self.change.entry


def changes_in(entries: Iterable[Logged]) -> Iterator[PolicyChange]:
    """The changes alone, in the log's order."""
    return (logged.entry for logged in entries if isinstance(logged.entry, PolicyChange))


def last_change(entries: Iterable[Logged]) -> PolicyChange | None:
    """The last change of a log; None if no policy was ever published.

    Raises:
        PenstockError: if it has none, but scorers have followed one.
    """
    last: PolicyChange | None = None
    marker: Logged | None = None
    for logged in entries:
        if isinstance(logged.entry, PolicyChange):
            last = logged.entry
        elif isinstance(logged.entry, Marker):
            marker = logged
    if last is None and marker is not None:
        raise _without_change(marker)
    return last


def overview(entries: Iterable[Logged]) -> Overview:
    """A log in short, from its entries in its order."""
    found = Overview([], {}, {})
    refusals: list[Refusal] = []
    for logged in entries:
        match logged.entry:
            case PolicyChange():
                found.changes.append(logged)
            case Marker() as marker:
                found.markers[marker.partition] = marker
            case Refusal() as refusal:
                refusals.append(refusal)
    last = found.changes[-1].entry if found.changes else None
    if isinstance(last, PolicyChange):
        found.refusals.update({each.instance: each for each in refusals if each.policy == last.policy.hash})
    return found


def effective_at(entries: Iterable[Logged], partition: int, offset: int) -> Effective | None:
    """The policy that was effective at an offset.

    A marker holds from its first offset on, until another says otherwise. Of two that contradict each other, the later
    one in the log holds: after an abort, the offsets are scored again, and the marker is written again, perhaps of a
    newer policy and from an earlier offset.

    Args:
        entries: The log, in its order.
        partition: The partition of the features topic.
        offset: The offset there; where nothing was scored yet, this is the policy that is followed now.

    Returns:
        The policy; None if no policy was followed there.

    Raises:
        PenstockError: if the log lacks the change that published it.
    """
    published: dict[str, Logged] = {}
    found: tuple[Logged | None, Logged] | None = None
    for logged in entries:
        entry = logged.entry
        if isinstance(entry, PolicyChange):
            published[entry.policy.hash] = logged
        elif isinstance(entry, Marker) and entry.partition == partition and entry.first_offset <= offset:
            found = published.get(entry.policy), logged
    if found is None:
        return None
    change, marker = found
    if change is None:
        raise _without_change(marker)
    return Effective(change, marker)


def _without_change(marker: Logged) -> PenstockError:
    assert isinstance(marker.entry, Marker)
    return PenstockError(
        f"the log has a marker of policy {marker.entry.policy[:12]}, and no change that published it",
        where=f"offset {marker.offset} of the log",
        safe="nothing was changed",
        next="penstock rollout history PIPELINE; has the topic of the log been made anew, or lost records?",
    )
