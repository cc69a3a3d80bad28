"""What a comparison found: how many values were compared, and the differences by cause, as roots with followers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from backfill.parity.values import Cause, Difference, Place

# Examples of each step, view and cause, and roots of each cause, that are kept; all are counted.
_MOST_EXAMPLES, _MOST_ROOTS = 5, 20


class Tally(NamedTuple):
    """What differences are counted by."""

    step: str
    view: str
    name: str
    cause: Cause


@dataclass
class Root:
    """An event at which the values of an entity began to differ, and how many later ones it explains.

    Attributes:
        first: One of the values that differ there.
        names: All of them.
        followers: How many later events of the entity it explains.
    """

    first: Difference
    names: list[str]
    followers: int = 0


@dataclass
class Findings:
    """Counts of a run.

    Attributes:
        compared: How many values were compared, by step and view.
        differing: How many differ, by step, view, name and cause.
        roots: The roots with the most followers, of each cause.
        root_counts: How many roots each cause has.
        examples: Some differences of each step, view and cause.
        not_compared: What could not be compared, by reason: values, or whole records.
    """

    compared: Counter[tuple[str, str]] = field(default_factory=Counter)
    differing: Counter[Tally] = field(default_factory=Counter)
    roots: dict[Cause, list[Root]] = field(default_factory=dict)
    root_counts: Counter[Cause] = field(default_factory=Counter)
    examples: dict[tuple[str, str, Cause], list[Difference]] = field(default_factory=dict)
    not_compared: Counter[str] = field(default_factory=Counter)

    def add(self, differences: Iterable[Difference]) -> None:
        """Add the differences of one entity in one view, or of one event, in order."""
        roots: dict[tuple[Cause, Place], Root] = {}
        seen: set[Place] = set()
        for one in differences:
            self.differing[Tally(one.step, one.view, one.name, one.cause)] += 1
            examples = self.examples.setdefault((one.step, one.view, one.cause), [])
            if len(examples) < _MOST_EXAMPLES:
                examples.append(one)
            root = roots.setdefault((one.cause, one.root), Root(one, []))
            if one.is_root:
                root.names.append(one.name)
            elif one.place not in seen:
                root.followers += 1
            seen.add(one.place)
        for (cause, _), root in roots.items():
            self.root_counts[cause] += 1
            kept = self.roots.setdefault(cause, [])
            kept.append(root)
            kept.sort(key=lambda each: -each.followers)
            del kept[_MOST_ROOTS:]

    def by_cause(self) -> dict[Cause, int]:
        """How many values differ for each cause; every cause is there."""
        found = dict.fromkeys(Cause, 0)
        for tally, count in self.differing.items():
            found[tally.cause] += count
        return found

    @property
    def values(self) -> int:
        """How many values were compared."""
        return sum(self.compared.values())

    @property
    def unexplained(self) -> int:
        """How many differences have no cause."""
        return self.by_cause()[Cause.UNEXPLAINED]
