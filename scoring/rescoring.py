"""Scores feature records again, those that became dead letters, apart from the scorer and with the same parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from penstock.errors import PenstockError
from penstock.kafka.names import dead_letters_of
from penstock.kafka.records import Consumed, Produced
from penstock.settings import Settings
from scoring.batch import FeatureReader
from scoring.history import HistoryUnavailableError, PredictionHistory
from scoring.lineup import LineUp, encode_batch
from scoring.look_back import Ends
from scoring.memory import EventPosition
from scoring.other_views import OtherViews, VectorReader
from scoring.rollout.policy_store import read_policy
from scoring.seating import Seating
from scoring.served import Deadlines, open_versions
from scoring.service import check_topics
from streams.plan.project import Project

_DEADLINES = Deadlines(5.0, 5.0)
# What a replay adds to a prediction: the letter's place, with a topic's name of 249 characters at most, and the count.
_REPLAY_HEADERS_BYTES = 512


class Predicted(Protocol):
    """Which events have predictions; :class:`PublishedPredictions` offers it."""

    def since(self, partition: int, timestamp: int) -> set[EventPosition]:
        """The events of a partition with a prediction that is dated then (epoch ms) or later, and maybe others.

        The caller may add events that it answers.
        """


@dataclass(frozen=True)
class Rescored:
    """What feature records give when they are scored again.

    Args:
        predictions: One for each event that could be scored.
        letters: One for each record that is refused again.
        predicted: How many events have a prediction already.
        timers: How many records are of timers, which are not scored.
    """

    predictions: list[Produced]
    letters: list[Produced]
    predicted: int
    timers: int


class Rescorer:
    """Scores records of one pipeline with the version that is served now.

    Args:
        reader: Decodes them.
        line_up: Scores them.
        other_views: Puts the inputs of other pipelines into their vectors.
        predicted: Tells which events have a prediction.
        now: Wall-clock epoch milliseconds.
    """

    def __init__(
        self,
        reader: FeatureReader,
        line_up: LineUp,
        other_views: OtherViews,
        predicted: Predicted,
        now: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._line_up = line_up
        self._other_views = other_views
        self._predicted = predicted
        self._now = now

    def rescore(self, records: Sequence[Consumed]) -> Rescored:
        """Score the records, all of one partition; an event with a prediction, or that comes twice, gets no other.

        Raises:
            PenstockError: if it cannot be told which events have predictions, or the model fails on any input.
        """
        decoded = self._reader.decode(records, self._now())
        candidates = decoded.candidates
        events = [candidates.position(row) for row in range(len(candidates))]
        known = self._predicted.since(records[0].partition, min(e.timestamp for e in events)) if events else set()
        first = {event: row for row, event in reversed(list(enumerate(events))) if event not in known}
        known.update(first)
        unscored = candidates.take(np.array(sorted(first.values()), np.int64))
        unscored = self._other_views.complete(unscored)
        predictions, letters, _ = encode_batch(self._line_up.score(unscored), self._now())
        return Rescored(predictions, [*decoded.dead_letters, *letters], len(events) - len(unscored), decoded.timers)


class PublishedPredictions:
    """The events that the predictions topic answers; dead letters do not count."""

    def __init__(self, history: PredictionHistory) -> None:
        self._history = history
        self._known: dict[int, tuple[int, set[EventPosition]]] = {}

    def since(self, partition: int, timestamp: int) -> set[EventPosition]:
        """See :class:`Predicted`.

        Raises:
            PenstockError: if the topic cannot be read.
        """
        read_since, events = self._known.get(partition, (None, set()))
        if read_since is not None and read_since <= timestamp:
            return events
        try:
            starts, ends = self._history.starts_at(partition, timestamp), self._history.ends(partition)
            self._history.forget(partition)
            events.update(self._history.read_from(partition, Ends(starts.predictions, ends.dead_letters)))
        except HistoryUnavailableError as error:
            raise PenstockError(
                f"cannot tell which events have predictions: {error}",
                safe="nothing of this batch was written",
                next="penstock status, then run the command again",
            ) from error
        self._known[partition] = timestamp, events
        return events


@contextmanager
def open_rescorer(project: Project, settings: Settings, max_batch: int, vectors: VectorReader) -> Iterator[Rescorer]:
    """A rescorer of the pipeline, connected for the duration of the block; ``vectors`` reads other pipelines' views.

    Raises:
        PenstockError: if a check of the topics or of the model fails, as at a scorer's start.
    """
    kafka, pipeline = settings.kafka.access, project.pipeline
    largest = dict(check_topics(project, kafka))
    largest[pipeline.predictions_topic] -= _REPLAY_HEADERS_BYTES
    history = PredictionHistory(
        kafka,
        pipeline.predictions_topic,
        dead_letters_of(pipeline.predictions_topic),
        pipeline.source.topic,
        clock=time.monotonic,
        stopping=lambda: False,
    )
    with open_versions(project, settings, max_batch) as versions, closing(history):
        seating = Seating(project, versions, _DEADLINES, largest, lambda _reason: None)
        change = read_policy(kafka, pipeline)
        line_up = seating.line_up(None if change is None else change.policy, with_shadows=False)
        reader, predicted = seating.reader(line_up.champion.writer), PublishedPredictions(history)
        model = pipeline.model
        others = OtherViews(project.other_views, model.inputs, pipeline.categories, vectors, clock=time.monotonic)
        yield Rescorer(reader, line_up, others, predicted, lambda: time.time_ns() // 1_000_000)
