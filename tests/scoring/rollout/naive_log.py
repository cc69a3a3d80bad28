"""Which policy was effective at an offset, by a scan over all markers: what others are held against."""

from __future__ import annotations

from collections.abc import Sequence

from scoring.rollout.policy_log import Marker


def effective(markers: Sequence[Marker], partition: int, offset: int) -> str | None:
    """The hash of the policy that was effective at an offset; None before the first one.

    A marker holds from its first offset on, until another says otherwise. Of two that contradict each other, the later
    one in the log holds: after an abort, the offsets are scored again, and the marker is written again, perhaps of a
    newer policy and from an earlier offset.

    Args:
        markers: Markers of any partitions, in the order of the log.
        partition: The partition of the features topic.
        offset: The offset there.
    """
    for marker in reversed(markers):
        if marker.partition == partition and marker.first_offset <= offset:
            return marker.policy
    return None
