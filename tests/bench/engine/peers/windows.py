"""The windows of the Python peers: the kernel's algorithm, as fast as plain Python allows. Standard library only.

Tiles and partial merges as in the kernel, at a constant cost per event, for events in the order of their times: what
late events need is left out, to the peers' advantage. What every event changes is apart (``hot``) from the closed tiles
(``cold``), which only a new tile touches, so that a framework that serializes state need not serialize all of it.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import MutableMapping
from typing import Any

# Moments of a tile or of merged tiles: count, sum, sum of squares, minimum, maximum.
Moments = tuple[int, float, float, float, float]
# No infinities, because some frameworks keep state in JSON, which has none.
EMPTY: Moments = (0, 0.0, 0.0, sys.float_info.max, -sys.float_info.max)
# Per window: newest, oldest and first tile that is no front one; the open tile; the closed ones behind the front; all
# closed ones.
Hot = list[list[Any]]


def result_format(windows: int, entities: int) -> struct.Struct:
    """The record of an event's results: its number, then six doubles per window and entity."""
    return struct.Struct(f"<q{6 * windows * entities}d")


class Windows:
    """Sliding windows over one entity's amounts: count, sum, mean, min, max and std of each."""

    def __init__(self, spans_ms: list[tuple[int, int]]) -> None:
        self._spans = [(window, hop, size // hop) for window, (size, hop) in enumerate(spans_ms)]

    def new(self) -> Hot:
        """What an entity begins with, beside an empty mapping for its closed tiles."""
        return [[-1, 0, 0, *EMPTY, *EMPTY, *EMPTY] for _ in self._spans]

    def add(self, hot: Hot, cold: MutableMapping[str, Moments], time: int, value: float) -> list[float]:
        """Take an event and return the six results of each window as of it; NaN stands for none."""
        results: list[float] = []
        square = value * value
        for window, hop, tiles in self._spans:
            state = hot[window]
            index = time // hop
            if index != state[0]:
                _roll(state, cold, window, index, tiles)
            # fmt: off
            (_, _, _, count, total, squares, low, high,
             _, _, _, _, _, closed_count, closed_total, closed_squares, closed_low, closed_high) = state
            # fmt: on
            state[3] = count = count + 1
            state[4] = total = total + value
            state[5] = squares = squares + square
            if value < low:
                state[6] = low = value
            if value > high:
                state[7] = high = value
            count += closed_count
            total += closed_total
            squares += closed_squares
            mean = total / count
            results += (
                count,
                total,
                mean,
                min(closed_low, low),
                max(closed_high, high),
                math.sqrt(max(0.0, squares - total * mean) / (count - 1)) if count > 1 else math.nan,
            )
        return results


def _roll(state: list[Any], cold: MutableMapping[str, Moments], window: int, index: int, tiles: int) -> None:
    newest, oldest, split = state[:3]
    behind: Moments = tuple(state[8:13])
    if newest < 0:
        oldest = split = index
    elif index < newest:
        raise ValueError("these windows take events in the order of their times")
    else:
        opened: Moments = tuple(state[3:8])
        cold[f"{window}:{newest}"] = opened
        behind = _merge(behind, opened)
    low = index - tiles + 1
    if low > oldest:
        for gone in range(oldest, min(low, newest + 1)):
            cold.pop(f"{window}:{gone}", None)
        oldest = low
        if low >= split:
            # The front is used up: what is behind it becomes the front, each tile merged with all newer ones.
            merged = EMPTY
            for place in range(newest, low - 1, -1):
                merged = _merge(cold.get(f"{window}:{place}", EMPTY), merged)
                cold[f"{window}:{place}"] = merged
            split, behind = newest + 1, EMPTY
    front = cold.get(f"{window}:{oldest}", EMPTY) if oldest < split else EMPTY
    state[:] = (index, oldest, split, *EMPTY, *behind, *_merge(front, behind))


def _merge(a: Moments, b: Moments) -> Moments:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], min(a[3], b[3]), max(a[4], b[4])
