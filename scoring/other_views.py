"""The inputs that come from views of other pipelines: read from Redis for a batch, and put into its vectors.

All vectors of a batch are read in one round trip, as they read at the time of each event. A vector that still says
something is served. In the place of another one, and of all while Redis does not answer, the vector has the defaults
that the model declares, and the prediction says so. A breaker keeps an outage from costing every batch the deadline.

This module opens no connection: it is given the reader.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import redis

from schemas.categories import cached_codes, category
from scoring.batch import Candidates
from scoring.breaker import Breaker, State
from scoring.prediction_format import encode_defaulted, encode_emission, with_other_views
from scoring.vectors import FloatArray
from streams.plan.other_views import OtherView

_log = logging.getLogger(__name__)

SERVED = ("PRESENT", "STALE")
"""The states of vectors that are served. What has left a window in the meantime is not in a STALE one any more."""
NO_ENTITY, UNREACHABLE = "NO_ENTITY", "UNREACHABLE"
"""The event names no entity of the view; Redis did not answer."""
STATES = (*SERVED, "EXPIRED", "MISSING", NO_ENTITY, UNREACHABLE)

# How often an outage is told of, at most.
_TELL_S = 30.0


class Vector(Protocol):
    """A vector as it reads at a time; of a MISSING one, the numbers are None."""

    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def values(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def epoch(self) -> int | None: ...  # noqa: D102
    @property
    def seq(self) -> int | None: ...  # noqa: D102
    @property
    def as_of(self) -> int | None: ...  # noqa: D102


class Wanted(NamedTuple):
    """A vector to read: of an entity, as it reads at an event time (epoch ms)."""

    pipeline: str
    view: str
    entity: str
    at_ms: int


class VectorReader(Protocol):
    """Reads vectors of several pipelines; :class:`sinks.feature_reader.PipelinesReader` does."""

    def get_many(self, wanted: Sequence[Wanted]) -> Sequence[Vector]:
        """The vectors, in order, in one round trip.

        Raises:
            redis.RedisError: if Redis does not answer in time.
        """


class OtherViews:
    """The views of other pipelines that one model takes inputs from.

    Args:
        others: The views, in the order of :class:`scoring.entity_keys.Keys`.
        inputs: All inputs of the model.
        categories: Those that are categories.
        reader: Reads vectors.
        clock: Monotonic seconds.
        on_read: Called for each batch with the number of vectors by state.
        on_request: Called with the seconds that each round trip took, also one that failed.
    """

    def __init__(
        self,
        others: Sequence[OtherView],
        inputs: Sequence[str],
        categories: Sequence[str],
        reader: VectorReader,
        *,
        clock: Callable[[], float],
        on_read: Callable[[Mapping[str, int]], None] = lambda _: None,
        on_request: Callable[[float], None] = lambda _: None,
    ) -> None:
        code = cached_codes()
        self._views = [_View(other, inputs, categories, code) for other in others]
        self._reader = reader
        self._clock = clock
        self._on_read = on_read
        self._on_request = on_request
        self._breaker = Breaker()
        self._told_at: float | None = None  # of the present outage

    def complete(self, candidates: Candidates) -> Candidates:
        """The candidates with these inputs in their vectors, and with what was served or not for the predictions."""
        if not (self._views and len(candidates)):
            return candidates
        found = iter(self._read(list(self._wanted(candidates))))
        vectors, parts, states = candidates.vectors.copy(), list(candidates.parts), Counter[str]()
        for row, keys in enumerate(candidates.keys):
            served, defaulted = [], []
            for view, entity in zip(self._views, keys.entities, strict=True):
                vector = None if entity is None else next(found)
                state = NO_ENTITY if entity is None else UNREACHABLE if vector is None else str(vector.state)
                states[state] += 1
                if entity is not None and vector is not None and state in SERVED:
                    vectors[row, view.places] = view.inputs_of(vector.values)
                    served.append(view.emission(entity, vector))
                else:
                    vectors[row, view.places] = view.defaults
                    defaulted.append(encode_defaulted(view.name, state))
            parts[row] = with_other_views(parts[row], served, defaulted)
        self._on_read(states)
        return replace(candidates, vectors=vectors, parts=parts)

    def _wanted(self, candidates: Candidates) -> Iterator[Wanted]:
        for keys in candidates.keys:
            for view, entity in zip(self._views, keys.entities, strict=True):
                if entity is not None:
                    yield Wanted(view.pipeline, view.view, entity, keys.at_ms)

    def _read(self, wanted: Sequence[Wanted]) -> Sequence[Vector | None]:
        """The vectors; None for each while Redis does not answer."""
        begin = self._clock()
        if not wanted:
            return []
        if self._breaker.state(begin) is State.OPEN:
            return [None] * len(wanted)
        try:
            found = self._reader.get_many(wanted)
        except redis.RedisError as error:
            now = self._clock()
            self._on_request(now - begin)
            self._breaker.failed(now, late=isinstance(error, redis.TimeoutError))
            if self._told_at is None or now - self._told_at >= _TELL_S:
                _log.warning("Redis does not answer; the views of other pipelines have their defaults: %s", error)
                self._told_at = now
            return [None] * len(wanted)
        self._on_request(self._clock() - begin)
        self._breaker.succeeded()
        if self._told_at is not None:
            _log.info("Redis answers again")
            self._told_at = None
        return found


def input_values(
    values: Sequence[Any], are_categories: Sequence[bool], code: Callable[[bytes | None], float]
) -> FloatArray:
    """Values as in :class:`scoring.vectors.Vectorizer`: by way of doubles, null as NaN, a category as its code."""
    numbers = [
        np.nan if value is None else code(category(value)) if is_category else value
        for value, is_category in zip(values, are_categories, strict=True)
    ]
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float64).astype(np.float32)


class _View:
    """One view: where its inputs are in the model's vector, and how its features become numbers."""

    def __init__(
        self, other: OtherView, inputs: Sequence[str], categories: Sequence[str], code: Callable[[bytes | None], float]
    ) -> None:
        self.name = other.name
        self.pipeline, self.view = other.plan.pipeline, other.view.name
        self.places = [inputs.index(name) for name in other.defaults]
        self._id = other.id
        self._features = [name.partition(".")[2] for name in other.defaults]
        self._categories = [name in categories for name in other.defaults]
        self._code = code
        self.defaults = input_values([*other.defaults.values()], self._categories, code)

    def inputs_of(self, values: Mapping[str, Any]) -> FloatArray:
        """The inputs of a vector."""
        return input_values([values[feature] for feature in self._features], self._categories, self._code)

    def emission(self, entity: str, vector: Vector) -> bytes:
        """The reference of a vector that is stored."""
        # Of a vector that is stored, none of the numbers is None.
        return encode_emission(self._id, entity, int(vector.epoch or 0), int(vector.seq or 0), int(vector.as_of or 0))
