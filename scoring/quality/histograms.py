"""Histograms of scores by outcome: additive, and what was added can be taken out again. Pure.

All counts are integers, scores are summed in billionths: so the order in which things were added leaves no trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Self, TypeAlias, get_args

Outcome: TypeAlias = Literal["scored", "positive", "negative", "unknown"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""``scored``: every prediction, as it comes. The others: what is known of it when its label is final."""

UNITS = 1_000_000_000
"""Sums of scores are in billionths."""

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


class Key(NamedTuple):
    """Of which predictions a histogram is.

    Attributes:
        version: The version of the model; ``name:version`` if another model of a cascade has decided.
        policy: The version of the rollout policy; empty without one.
        arm: Its arm; ``shadow`` if nobody was served the prediction; empty without a policy.
        route: ``primary`` or ``fallback``.
        stratum: The probability with which the outcome could be seen, as text: ``1``, or that of an exploration.
            ``hidden`` if it could not be seen, ``other`` if the probability is not known.
        group: A declared group; empty for the histogram of all events.
        value: The event's value of it, as in the vector; ``null`` for none.
        begin_ms: The hour of the events' time, by its beginning; the day, of a group.
    """

    version: str
    policy: str
    arm: str
    route: str
    stratum: str
    group: str
    value: str
    begin_ms: int

    def encode(self) -> bytes:
        """As the key of a record."""
        return json.dumps(list(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """The opposite of :meth:`encode`.

        Raises:
            ValueError: if it is no key.
        """
        try:
            version, policy, arm, route, stratum, group, value, begin_ms = json.loads(content)
            return cls(version, policy, arm, route, stratum, group, value, int(begin_ms))
        except TypeError as error:
            raise ValueError(f"no key of a histogram: {content!r}") from error


class Entry(NamedTuple):
    """One prediction in a histogram: its outcome, the bin and billionths of its score, and whether it was acted on."""

    outcome: Outcome
    bin: int
    units: int
    decided: bool


class Cell(NamedTuple):
    """The predictions of one outcome in one bin: how many, their scores in billionths, how many decided positive."""

    n: int
    units: int
    decided: int


_NONE = Cell(0, 0, 0)


class Histogram:
    """How many predictions there are of each outcome in each bin."""

    def __init__(self) -> None:
        self.cells: dict[tuple[Outcome, int], Cell] = {}

    def add(self, entry: Entry, times: int = 1) -> None:
        """Count a prediction; with ``times=-1``, take it out again."""
        outcome, bin_, units, decided = entry
        self._add((outcome, bin_), Cell(times, times * units, times * decided))

    def merge(self, other: Histogram) -> None:
        """Add all of another histogram."""
        for place, cell in other.cells.items():
            self._add(place, cell)

    def _add(self, place: tuple[Outcome, int], more: Cell) -> None:
        held = self.cells.get(place, _NONE)
        total = Cell(held.n + more.n, held.units + more.units, held.decided + more.decided)
        if total == _NONE:
            self.cells.pop(place, None)
        else:
            self.cells[place] = total

    @classmethod
    def sum(cls, histograms: Iterable[Histogram]) -> Self:
        """All of them together."""
        total = cls()
        for one in histograms:
            total.merge(one)
        return total

    def of(self, outcome: Outcome) -> Iterator[tuple[int, Cell]]:
        """The bins of an outcome, in their order."""
        return ((bin_, self.cells[outcome, bin_]) for of, bin_ in sorted(self.cells) if of == outcome)

    def count(self, outcome: Outcome) -> int:
        """How many predictions have this outcome."""
        return sum(cell.n for _, cell in self.of(outcome))

    def encode(self) -> bytes:
        """As the value of a record: of each outcome a list of ``[bin, n, units, decided]``."""
        content = {name: [[bin_, *cell] for bin_, cell in self.of(name)] for name in OUTCOMES}
        return json.dumps({name: of for name, of in content.items() if of}, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """The opposite of :meth:`encode`.

        Raises:
            ValueError: if it is no histogram.
        """
        found, value = cls(), json.loads(content)
        try:
            for name in OUTCOMES:
                for bin_, n, units, decided in value.get(name, ()):
                    found.cells[name, int(bin_)] = Cell(int(n), int(units), int(decided))
        except (TypeError, AttributeError) as error:
            raise ValueError(f"no histogram: {content[:80]!r}") from error
        return found

    def __bool__(self) -> bool:
        return bool(self.cells)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.cells == other.cells

    __hash__ = None  # type: ignore[assignment]
