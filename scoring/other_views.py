"""The inputs that come from views of other pipelines: read from Redis for a batch, and put into its vectors.

All vectors of a batch are read in one round trip, as they read at the time of each event. A vector that still says
something is served. In the place of another one, and of all while Redis does not answer, the vector has the defaults
that the model declares, and the prediction says so. A breaker keeps an outage from costing every batch the deadline.

This module opens no connection: it is given the reader.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import redis

from schemas.categories import cached_codes, category
from schemas.columns import Integers, Numbers
from scoring.batch import Candidates
from scoring.breaker import Breaker, State
from scoring.entity_keys import Keys
from scoring.prediction_format import encode_defaulted, encode_emission, with_other_views
from scoring.vectors import FloatArray
from streams.definitions.other_inputs import Default
from streams.plan.other_views import OtherView

_log = logging.getLogger(__name__)

SERVED = ("PRESENT", "STALE")
"""The states of vectors that are served. What has left a window in the meantime is not in a STALE one any more."""
NO_ENTITY, UNREACHABLE = "NO_ENTITY", "UNREACHABLE"
"""The event names no entity of the view; Redis did not answer."""
STATES = (*SERVED, "EXPIRED", "MISSING", NO_ENTITY, UNREACHABLE)

# How often an outage is told of, at most.
_TELL_S = 30.0


class Vectors(Protocol):
    """The vectors of n entities of one view, each as it reads at a time."""

    @property
    def states(self) -> npt.NDArray[np.str_]:
        """(n,) The state of each."""

    def numbers(self, feature: str) -> Numbers:
        """(n,) The values of a number or boolean; null is NaN."""

    def values(self, feature: str) -> Sequence[str | int | None]:
        """The values of a text or integer."""

    def emission(self, row: int) -> tuple[int, int, int]:
        """Epoch, seq and ``as_of`` of a vector that is stored."""


class Wanted(NamedTuple):
    """The vectors to read of a view: of n entities, each as it reads at an event time (epoch ms)."""

    pipeline: str
    view: str
    entities: list[str]
    at_ms: Integers


class VectorReader(Protocol):
    """Reads vectors of several pipelines; :class:`sinks.feature_reader.PipelinesReader` does."""

    def read(self, wanted: Sequence[Wanted]) -> Sequence[Vectors]:
        """The vectors of each view, in order, in one round trip.

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
        size = len(candidates)
        if not (self._views and size):
            return candidates
        rows = [
            [row for row, keys in enumerate(candidates.keys) if keys.entities[n] is not None]
            for n in range(len(self._views))
        ]
        found = self._read([self._wanted(n, candidates.keys, some) for n, some in enumerate(rows)])
        vectors, counts = candidates.vectors.copy(), Counter[str]()
        served: list[list[bytes]] = [[] for _ in range(size)]
        defaulted: list[list[bytes]] = [[] for _ in range(size)]
        for n, (view, some) in enumerate(zip(self._views, rows, strict=True)):
            states = np.full(size, NO_ENTITY, object)
            states[some] = UNREACHABLE if found is None else found[n].states
            is_served = np.isin(states.astype(str), SERVED)
            vectors[:, view.places] = view.defaults
            if found is not None and is_served.any():
                of_view = np.flatnonzero(is_served[some])
                vectors[np.flatnonzero(is_served)[:, np.newaxis], view.places] = view.inputs_of(found[n])[of_view]
                for place in of_view.tolist():
                    entity = candidates.keys[some[place]].entities[n]
                    served[some[place]].append(encode_emission(view.id, entity or "", *found[n].emission(place)))
            for row in np.flatnonzero(~is_served).tolist():
                defaulted[row].append(encode_defaulted(view.name, states[row]))
            counts.update(states.tolist())
        self._on_read(counts)
        parts = list(map(with_other_views, candidates.parts, served, defaulted))
        return replace(candidates, vectors=vectors, parts=parts)

    def _wanted(self, n: int, keys: Sequence[Keys], rows: Sequence[int]) -> Wanted:
        """What the rows want of the n-th view."""
        view = self._views[n]
        entities = [entity for row in rows if (entity := keys[row].entities[n]) is not None]
        return Wanted(view.pipeline, view.view, entities, np.array([keys[row].at_ms for row in rows], np.int64))

    def _read(self, wanted: Sequence[Wanted]) -> Sequence[Vectors] | None:
        """The vectors of each view; None while Redis does not answer."""
        begin = self._clock()
        if self._breaker.state(begin) is State.OPEN:
            return None
        try:
            found = self._reader.read(wanted)
        except redis.RedisError as error:
            now = self._clock()
            self._on_request(now - begin)
            self._breaker.failed(now, late=isinstance(error, redis.TimeoutError))
            if self._told_at is None or now - self._told_at >= _TELL_S:
                _log.warning("Redis does not answer; the views of other pipelines have their defaults: %s", error)
                self._told_at = now
            return None
        self._on_request(self._clock() - begin)
        self._breaker.succeeded()
        if self._told_at is not None:
            _log.info("Redis answers again")
            self._told_at = None
        return found


class _View:
    """One view: where its inputs are in the model's vector, and how its features become numbers."""

    def __init__(
        self, other: OtherView, inputs: Sequence[str], categories: Sequence[str], code: Callable[[bytes | None], float]
    ) -> None:
        self.name, self.id = other.name, other.id
        self.pipeline, self.view = other.plan.pipeline, other.view.name
        self.places = [inputs.index(name) for name in other.defaults]
        self.defaults = default_inputs(other.defaults, categories, code)
        self._features = [(name.partition(".")[2], name in categories) for name in other.defaults]
        self._code = code

    def inputs_of(self, vectors: Vectors) -> FloatArray:
        """(n, inputs) The inputs of vectors, as of :class:`scoring.vectors.Vectorizer`: by way of doubles."""
        columns = [
            [self._code(None if value is None else category(value)) for value in vectors.values(feature)]
            if is_category
            else vectors.numbers(feature)
            for feature, is_category in self._features
        ]
        with np.errstate(over="ignore"):
            return np.stack([np.asarray(column, np.float64) for column in columns], axis=1).astype(np.float32)


def default_inputs(
    defaults: Mapping[str, Default], categories: Collection[str], code: Callable[[bytes | None], float]
) -> FloatArray:
    """The defaults of inputs, as a vector has them."""
    numbers = [
        np.nan
        if value is None
        else code(category(value if isinstance(value, str) else int(value)))
        if name in categories
        else value
        for name, value in defaults.items()
    ]
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float64).astype(np.float32)
