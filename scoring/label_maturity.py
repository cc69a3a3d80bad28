"""When labels are final, and what no label means then: one rule for training sets, gates and imports. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.time import iso
from streams.definitions.labels import Absent, Labels
from streams.definitions.windows import duration_text

# Below this share, labels do not come for all events, and what no label means must be said.
_LEAST_LABELLED = 0.95


@dataclass(frozen=True, slots=True)
class Maturity:
    """The declaration ``Labels(horizon=, absent=)``; without a horizon every label that is known counts."""

    horizon_ms: int | None = None
    absent: Absent | None = None

    @classmethod
    def of(cls, labels: Labels) -> Maturity:
        """The maturity that a definition declares."""
        return cls(labels.horizon, labels.absent)

    def until(self, until_ms: int | None, reached_ms: int | None) -> int | None:
        """The event time up to which things are known; None for no limit.

        With a horizon this is at most what the labels have reached: nobody knows of later times whether a label comes.

        Raises:
            PenstockError: if there is a horizon and no label at all: an empty topic would make all events negative.
        """
        if self.horizon_ms is None:
            return until_ms
        if reached_ms is None:
            raise PenstockError(
                "no label has come, or none that can be read, so nobody knows which events are old enough to have one",
                safe="nothing was written",
                next="penstock topics show PIPELINE, for the topic of the labels; the log says why labels are left out",
            )
        return reached_ms if until_ms is None else min(until_ms, reached_ms)

    def require_labelled(self, labelled: int, mature: int, until_ms: int | None) -> None:
        """Check that labels come for all events, unless the definition says what no label means.

        Args:
            labelled: How many of the mature events have a label.
            mature: How many events are older than the horizon.
            until_ms: The time at which they are.

        Raises:
            PenstockError: if less than 95 % have one.
        """
        if self.horizon_ms is None or self.absent is not None or labelled >= _LEAST_LABELLED * mature:
            return
        horizon = duration_text(self.horizon_ms)
        raise PenstockError(
            f"only {labelled / mature:.1%} of the mature events have a label, {labelled:,} of "
            f"{counted(mature, 'event')}: the definition must say what no label means",
            where=f"events that were {horizon} old at {'the end' if until_ms is None else iso(until_ms)}",
            safe="nothing was written",
            next='declare Labels(absent="negative") if such an event is one of class 0, or Labels(absent="excluded") '
            f"if nothing is known of it; if labels come later than {horizon}, raise Labels(horizon=...)",
        )


ANY_AGE = Maturity()
"""Without a horizon."""


def reached(times: Iterable[tuple[int, int | None]]) -> int | None:
    """The latest time that labels have reached; None if there is no label.

    Each label counts as of the time at which it became known, or of its Kafka timestamp if that is earlier, so that one
    producer whose clock is ahead does not make all events look old.

    Args:
        times: Of each label when it became known, and its Kafka timestamp (None if it has none), in epoch ms.
    """
    return max((known if received is None else min(known, received) for known, received in times), default=None)
