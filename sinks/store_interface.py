"""The interface between a sink and its store.

A new sink is one new module in :mod:`sinks.stores`: a :class:`Store`, its :class:`StoreOptions`, and a
:class:`StoreType` named ``STORE`` that declares them. The command line follows from it. This module knows no
particular store and no client library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from penstock.settings import Settings
from schemas.codec import Undecodable, UnknownSchema
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project


class StoreUnavailable(PenstockError):  # noqa: N818 - a condition that passes
    """The store did not acknowledge a write; the same write may be tried again."""


class OffsetMark(NamedTuple):
    """How far a store holds a partition, as the offset of the next record.

    Args:
        expected: What the store must hold before the write: all records before this offset.
        new: What it holds after the write.
    """

    expected: int
    new: int


NO_MARKS: Mapping[Partition, OffsetMark] = MappingProxyType({})

Decoded = TypeVar("Decoded")


class Store(Protocol[Decoded]):
    """The destination of a sink."""

    name: str
    topics: tuple[str, ...]

    def open(self) -> None:
        """Connect and prepare everything for writing; may be called again after it failed.

        Raises:
            StoreUnavailable: if a retry can help; any other PenstockError if none can.
        """

    def decode(self, topic: str, values: Sequence[bytes]) -> list[Decoded | Undecodable | UnknownSchema]:
        """Decode the values of records of one topic, each into what :meth:`write` takes.

        A record that cannot be decoded becomes a dead letter: its place holds the error, see :func:`decode_each`.
        """

    def write(
        self, records: Sequence[Decoded], marks: Mapping[Partition, OffsetMark] = NO_MARKS
    ) -> Future[Mapping[Partition, int]]:
        """Begin to write all records, in order; the future is done once the store has acknowledged them.

        A repeated write changes nothing. Several writes can be on their way at once, and a later one may be
        acknowledged before an earlier one. May block while too many are.

        A store that may lose acknowledged data executes writes in their order. It also keeps ``mark.new`` of each
        partition, as the last step of a write. Where it holds less than ``mark.expected``, it leaves its mark as it is,
        and the future's result has the partition with the offset up to which the store holds it: the sink must read
        again from there. The result of a store that loses nothing is an empty mapping.

        The future must be done within seconds, or the consumer group drops this member.

        Raises:
            StoreUnavailable: here or from the future, if any record was not acknowledged.
        """

    def close(self) -> None:
        """Disconnect."""


def decode_each(
    decode: Callable[[bytes], Decoded], values: Sequence[bytes]
) -> list[Decoded | Undecodable | UnknownSchema]:
    """Decode values one by one; the place of one that cannot be decoded holds the error."""
    decoded: list[Decoded | Undecodable | UnknownSchema] = []
    for value in values:
        try:
            decoded.append(decode(value))
        except (Undecodable, UnknownSchema) as error:
            decoded.append(error)
    return decoded


def acknowledged() -> Future[Mapping[Partition, int]]:
    """What :meth:`Store.write` returns if the records are written already, and nothing was lost."""
    done: Future[Mapping[Partition, int]] = Future()
    done.set_result({})
    return done


class StoreOptions(BaseModel):
    """The options of a store: each field is an option of ``penstock sink run <store>``, its description the help.

    Every field has a default. Fields are durations (:data:`streams.definitions.windows.Duration`), integers, texts, or
    JSON objects (``dict``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class EnvironmentVariable:
    """Annotates a field of :class:`StoreOptions` that an environment variable can set, too."""

    name: str


Options = TypeVar("Options", bound=StoreOptions)


@dataclass(frozen=True)
class StoreType(Generic[Options]):
    """A kind of store, as its module declares it.

    Args:
        name: The name on the command line; the consumer group is ``penstock-<pipeline>-sink-<name>``.
        summary: The help text of ``penstock sink run <name>``.
        options: The model of its options.
        topics: The topics of a pipeline that its sink reads.
        create: Makes the store of a pipeline, not connected yet.
        wait_ms: How long a record may wait in Kafka for others, to be fetched together, if few arrive.
    """

    name: str
    summary: str
    options: type[Options]
    topics: Callable[[Pipeline], tuple[str, ...]]
    create: Callable[[Project, Settings, Options], Store[Any]]
    wait_ms: int = 0
