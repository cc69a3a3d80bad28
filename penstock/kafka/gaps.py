"""Records that Kafka deleted before they were read; :mod:`penstock.kafka.retention` says what a consumer does then."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition

SKIP_FLAG = "--skip-deleted"
NO_RESET = {"auto.offset.reset": "error"}
"""The setting of librdkafka's consumers; those of Java and of faust call it ``none``."""


@dataclass(frozen=True)
class Gap:
    """A partition that no longer has the record to read next.

    Args:
        topic: The topic.
        partition: The partition.
        expected: The offset of the record to read next.
        earliest: The earliest offset that the topic has now.
        end: The offset after its last record.
    """

    topic: str
    partition: int
    expected: int
    earliest: int
    end: int

    @classmethod
    def find(cls, partition: Partition, expected: int, earliest: int, end: int) -> Gap | None:
        """The gap of a partition with these offsets; None if it has the record, or will have it next."""
        return None if earliest <= expected <= end else cls(*partition, expected, earliest, end)

    @property
    def lost(self) -> int:
        """How many records were deleted unread (transaction markers count); 0 if the topic was made anew."""
        return max(0, self.earliest - self.expected)

    def error(self, meaning: str, command: str) -> PenstockError:
        """The error of a consumer that stops here.

        Args:
            meaning: What the loss means for the consumer's results.
            command: The command that started the consumer.
        """
        if self.lost:
            what = (
                f"Kafka deleted {self.lost:,} records before they were read: {self} is the next to read, "
                f"and the topic now begins at {self.earliest}"
            )
        else:
            what = f"{self} is the next to read, and the topic ends at {self.end}: it was made anew"
        return PenstockError(
            f"{what}. {meaning}",
            where=str(self),
            safe="everything that was done before; nothing was skipped",
            next=f"longer retention of the topic avoids this; to go on at {self.earliest}: {command} {SKIP_FLAG}",
        )

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.expected}"
