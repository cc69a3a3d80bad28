"""What a sink writes to: the protocol that stores keep, and how they say that they cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition

Item = TypeVar("Item")


class StoreUnavailable(PenstockError):  # noqa: N818 - a condition that passes
    """The store did not acknowledge; the same write may be tried again."""


class Reach(NamedTuple):
    """How far a store holds a partition: all records before ``had``, and after a write all before ``has``."""

    had: int
    has: int


NO_REACH: Mapping[Partition, Reach] = MappingProxyType({})


class Store(Protocol[Item]):
    """What a sink writes to."""

    name: str
    topics: tuple[str, ...]

    def open(self) -> None:
        """Connect and make everything ready to write; may be called again after it failed.

        Raises:
            StoreUnavailable: if trying again can help; any other PenstockError if it cannot.
        """

    def read(self, topic: str, value: bytes) -> Item:
        """What a record's value says.

        Raises:
            Undecodable, UnknownSchema: if it cannot be read; the record becomes a dead letter.
        """

    def write(self, items: Sequence[Item], reach: Mapping[Partition, Reach] = NO_REACH) -> Mapping[Partition, int]:
        """Write all items, in order; returns once the store has acknowledged them. Writing one twice changes nothing.

        A store that may lose what it has acknowledged also keeps, as the last thing of the write, how far it holds
        each partition. It returns those of which it holds less than ``had``, with how far that is, and keeps nothing
        new for them: they have to be read again from there. A store that loses nothing returns none.

        Must return within seconds, one way or the other: the group's membership depends on it.

        Raises:
            StoreUnavailable: if not all are acknowledged.
        """

    def close(self) -> None:
        """Disconnect."""
