"""The engines' input: payments that fill every tile of every window before the measurement begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streams.definitions.windows import duration_ms

START_MS = 1_700_000_000_000
WINDOWS = ("1m", "5m", "1h", "24h", "7d")
ENTITIES = ("card", "merchant", "terminal")
OPERATIONS = ("count", "sum", "mean", "min", "max", "std")
# Events of one entity per second of event time, once the windows are full.
RATE_PER_S = 2.0
# If windows need not be full: how long before the start each entity has an event.
_GLIMPSES_MS = tuple(duration_ms(text) for text in ("30h", "3h", "3m", "10s"))


@dataclass(frozen=True)
class Workload:
    """A stream of payments and the windows over it.

    Args:
        events: The number of events after those that fill the windows.
        entities: Number of cards, and of merchants and terminals.
        chain: Whether windows are kept for all three of :data:`ENTITIES`, or for the card alone.
        windows: The lengths of the windows.
        tiles: Tiles per window; the hop is the length divided by it.
        full: Whether every tile of every window gets an event before the measured ones.
        keys: ``uniform``, or ``zipf``: one card with half of the traffic, a long tail for the rest.
        late: Share of events that arrive up to an hour after their time.
        ids: Whether events have an id, by which Penstock drops duplicates within an hour.
        column: How a derived column of each record is computed.
        seed: Seed of all random values.
    """

    events: int
    entities: int = 100
    chain: bool = False
    windows: tuple[str, ...] = WINDOWS
    tiles: int = 60
    full: bool = True
    keys: Literal["uniform", "zipf"] = "uniform"
    late: float = 0.0
    ids: bool = False
    column: Literal["none", "sql", "python"] = "none"
    seed: int = 1

    @property
    def keyed_by(self) -> tuple[str, ...]:
        """The entities that have windows."""
        return ENTITIES if self.chain else ENTITIES[:1]

    @property
    def spans_ms(self) -> list[tuple[int, int]]:
        """Length and hop of each window."""
        return [(duration_ms(text), duration_ms(text) // self.tiles) for text in self.windows]

    @property
    def steps(self) -> list[int]:
        """Times before :data:`START_MS`, ascending, at each of which every entity has one event."""
        if not self.full:
            return [START_MS - before for before in _GLIMPSES_MS]
        return sorted({START_MS - k * hop for _, hop in self.spans_ms for k in range(1, self.tiles + 1)})

    @property
    def warm_up_events(self) -> int:
        """The number of events before the measured ones."""
        return len(self.steps) * self.entities

    @property
    def total(self) -> int:
        """The number of all events."""
        return self.warm_up_events + self.events


@dataclass(frozen=True)
class Payments:
    """The events of a workload by column; an event's number is its index."""

    times: NDArray[np.int64]
    card: NDArray[np.int32]
    merchant: NDArray[np.int32]
    terminal: NDArray[np.int32]
    amounts: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times)

    def entity_column(self, entity: str) -> NDArray[np.int32]:
        """The column of an entity."""
        column: NDArray[np.int32] = getattr(self, entity)
        return column

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and JSON value of each event."""
        columns = (self.times, self.card, self.merchant, self.terminal, self.amounts)
        for number, (time, card, merchant, terminal, amount) in enumerate(
            zip(*(c.tolist() for c in columns), strict=True)
        ):
            value = (
                f'{{"event_id":"{number}","event_time":{time},"card":"c{card}","merchant":"m{merchant}",'
                f'"terminal":"t{terminal}","amount":{amount}}}'
            )
            yield b"c%d" % card, value.encode()


def payments(work: Workload) -> Payments:
    """The events of the workload: the same for the same workload."""
    chance = np.random.default_rng(work.seed)
    steps, everyone = len(work.steps), np.arange(work.entities, dtype=np.int32)
    spacing_ms = 1_000 / (RATE_PER_S * work.entities)
    times = START_MS + (np.arange(work.events) * spacing_ms).astype(np.int64)
    if work.late:
        is_late = chance.random(work.events) < work.late
        times = np.where(is_late, times - chance.integers(1, 3_600_000, work.events), times)
    before = np.repeat(np.array(work.steps, dtype=np.int64), work.entities)
    return Payments(
        times=np.concatenate([before, times]),
        card=np.concatenate([np.tile(everyone, steps), _keys(work, chance)]),
        merchant=np.concatenate([np.tile(np.roll(everyone, 1), steps), _uniform(work, chance)]),
        terminal=np.concatenate([np.tile(np.roll(everyone, 2), steps), _uniform(work, chance)]),
        amounts=np.round(chance.uniform(1, 1_000, work.total), 2),
    )


def _keys(work: Workload, chance: np.random.Generator) -> NDArray[np.int32]:
    if work.keys == "uniform":
        return _uniform(work, chance)
    tail = (chance.zipf(1.2, work.events) % work.entities).astype(np.int32)
    return np.where(chance.random(work.events) < 0.5, np.int32(0), tail)


def _uniform(work: Workload, chance: np.random.Generator) -> NDArray[np.int32]:
    return chance.integers(0, work.entities, work.events, dtype=np.int32)
