"""Where a partition goes on: by its latest commit record, and by what Kafka still has. Pure."""

from __future__ import annotations

from penstock.errors import PenstockError
from penstock.kafka.gaps import Gap
from penstock.kafka.lag import Partition
from sinks.archive.layout import CommitRecord


def place(
    partition: Partition, latest: CommitRecord | None, earliest: int, end: int, topic_id: str | None
) -> tuple[int, Gap | None]:
    """The first offset to archive next, and the gap before it if Kafka has deleted records that were not archived.

    Args:
        partition: The partition.
        latest: Its latest commit record.
        earliest: The first offset that Kafka still has.
        end: The offset after the last one.
        topic_id: Kafka's id of the topic, if it is known.

    Raises:
        PenstockError: if the topic was made anew: its offsets mean other records than those in the archive.
    """
    if latest is None:
        return earliest, None
    is_other = topic_id is not None and latest.topic_id is not None and topic_id != latest.topic_id
    if is_other or latest.end > end:
        why = "it has another id" if is_other else f"it ends at {end}"
        where = f"{partition[0]}[{partition[1]}]@{latest.end}"
        raise made_anew(where, f"since it was archived up to offset {latest.end}: {why}")
    if latest.end < earliest:
        return earliest, Gap(*partition, latest.end, earliest, end)
    return latest.end, None


def made_anew(where: str, when: str) -> PenstockError:
    """The error of a topic that is another one than the archived one of its name."""
    return PenstockError(
        f"the topic was made anew {when}",
        where=where,
        safe="everything in the archive; nothing of the new topic was written there",
        next="penstock archive run PIPELINE --out ANOTHER: the new topic needs an archive of its own",
    )
