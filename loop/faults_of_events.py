"""What alarms of data quality say of the cause: they saw the raw events themselves. Pure.

Some say by themselves that a producer is at fault, such as a null where there was none. Others may also be a world that
has changed, such as new values of a category: these count only where predictions and labels explain nothing.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from loop.causes import ACTIONS, Cause
from loop.entries import Diagnosed, Signal

_FAULTS = frozenset({"null", "invalid", "malformed", "duplicate", "late", "silence"})
_HINTS = frozenset({"category", "distinct", "volume"})
# A world that changes by itself moves few records out of their range at first.
_LEAST_OUT_OF_RANGE = 0.1
_TOPICS = frozenset({"malformed", "duplicate", "late", "silence", "volume"})
"""What is about records as a whole, and not a column."""


@dataclass(frozen=True)
class EventFault:
    """A fault of raw events.

    Args:
        cause: ``upstream-fault``, or ``label-fault`` if they are labels.
        column: The column at fault; None if records as a whole are.
        signals: The alarms that say so, the first one first.
    """

    cause: Cause
    column: str | None
    signals: Sequence[Signal]

    def diagnosed(self, incident: str, now_ms: int) -> Diagnosed:
        """The diagnosis of an incident, at a time (epoch ms)."""
        return Diagnosed(
            incident=incident,
            time_ms=now_ms,
            cause=self.cause,
            action=ACTIONS[self.cause],
            why=tuple(f"{signal.text}, since {signal.place}" for signal in self.signals),
            column=self.column,
            first=self.signals[0].place,
            producer=_producer_of(self.signals[0]),
        )


def fault_of(signals: Sequence[Signal], label_topics: Container[str], *, hints: bool = False) -> EventFault | None:
    """The fault that alarms of data quality tell; None if there is none.

    Args:
        signals: The alarms of an incident, in the order of their event times.
        label_topics: The topics of labels.
        hints: Whether alarms count that say little by themselves.
    """
    counted = [signal for signal in signals if _is_fault(signal) or (hints and _is_hint(signal))]
    if not counted:
        return None
    # The first one tells the cause. What else is unusual of its topic or column is told with it.
    first = counted[0]
    of_labels = first.detector in _TOPICS and first.what in label_topics
    same = [signal for signal in counted if signal.what == first.what]
    column = None if first.detector in _TOPICS else first.what
    return EventFault("label-fault" if of_labels else "upstream-fault", column, same)


def _producer_of(signal: Signal) -> str | None:
    """The version of the only producer that an alarm of data quality is about: the end of its id."""
    return signal.id.partition(f":{signal.what}:{signal.detector}:")[2] or None


def _is_fault(signal: Signal) -> bool:
    return signal.detector in _FAULTS or (signal.detector == "range" and signal.current >= _LEAST_OUT_OF_RANGE)


def _is_hint(signal: Signal) -> bool:
    return signal.detector in _HINTS or signal.detector == "range"
