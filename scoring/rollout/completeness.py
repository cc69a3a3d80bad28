"""Up to which feature record all answers have been read: only then is one that is missing a failure.

A scorer's transaction becomes visible in the predictions and in the shadow predictions at slightly different times, and
within it records are in no order. So what was read does not tell what is still to come. What the scorers have committed
does: all answers to feature records before it are in their topics, visible or not. A :class:`Cut` notes it, and then
where the topics end. Whoever has read up to these ends has read all of these answers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import KafkaException

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag, Partition
from penstock.kafka.names import group_of
from scoring.rollout.label_clock import LabelCut
from streams.definitions.pipeline import Pipeline

_log = logging.getLogger(__name__)

# A missing answer is noticed this much later at most. One measurement takes three or four small requests.
_INTERVAL_S = 1.0
_STOP_S = 2.0


class Cut(NamedTuple):
    """What is known of a partition of the features topic at a moment.

    Args:
        answered: The offset before which all its records are answered.
        ends: Where the topics of the answers end, transactions that are still open included.
    """

    answered: int
    ends: Mapping[Partition, int]


class Completeness:
    """Compares what was read with cuts. Pure."""

    def __init__(self) -> None:
        self._cuts: dict[int, Cut] = {}
        self._ends: dict[Partition, int] = {}

    def add(self, cuts: Mapping[int, Cut]) -> None:
        """Take new cuts, of the partitions whose last cut has been reached; those of others come too early."""
        for number, cut in cuts.items():
            self._cuts.setdefault(number, cut)
            self._ends |= cut.ends

    def pending(self, positions: Mapping[Partition, int]) -> int:
        """How many answers of the last cuts are not read yet; markers of transactions count."""
        return sum(max(0, end - positions.get(partition, 0)) for partition, end in self._ends.items())

    def reached(self, positions: Mapping[Partition, int]) -> dict[int, int]:
        """The offset of each partition of features before which all answers have been read; each only once.

        Args:
            positions: The offset of the next record to read, of each partition of the answers' topics.
        """
        found = {
            number: cut.answered
            for number, cut in self._cuts.items()
            if all(positions.get(partition, -1) >= end for partition, end in cut.ends.items())
        }
        for number in found:
            del self._cuts[number]
        return found


class CutWatch:
    """Measures cuts, of answers and of labels, in a thread of its own; as a context manager.

    Args:
        kafka: How to reach Kafka.
        pipeline: The pipeline.
        partitions: The number of partitions of its topics, where it is known.
    """

    def __init__(self, kafka: KafkaAccess, pipeline: Pipeline, partitions: Mapping[str, int] | None = None) -> None:
        self._kafka = kafka
        self._features = pipeline.features_topic
        self._answers = (pipeline.predictions_topic, pipeline.shadow_topic)
        self._labels = () if pipeline.labels is None else pipeline.labels.topics
        self._group = group_of(pipeline.name, "scorer")
        self._partitions = partitions
        self._latest: dict[int, Cut] = {}
        self._label_cut: LabelCut | None = None
        self._labels_ms: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cuts", daemon=True)

    def take(self) -> dict[int, Cut]:
        """The cuts since the last call, by partition."""
        latest, self._latest = self._latest, {}
        return latest

    def take_labels(self, labels_ms: int | None) -> LabelCut | None:
        """The cut of the topics of labels since the last call, if there is one.

        Args:
            labels_ms: The time that labels have reached which were read so far, for the next one.
        """
        cut, self._label_cut = self._label_cut, None
        self._labels_ms = labels_ms
        return cut

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # The thread may be in a call to an unreachable broker; a stopping service does not wait longer for it.
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        known = True
        with Lag(self._kafka, self._partitions) as lag:
            while not self._stop.is_set():
                try:
                    self._latest = measure(lag, self._group, self._features, self._answers)
                    if self._labels:
                        until_ms = self._labels_ms  # before the ends are measured
                        ends = {place: end for topic in self._labels for place, end in _ends(lag, topic).items()}
                        self._label_cut = LabelCut(until_ms, ends)
                    known = True
                except (KafkaException, TimeoutError, KeyError) as error:
                    if known:
                        _log.warning("it is not known what the scorers have answered: %s", error)
                    known = False
                self._stop.wait(_INTERVAL_S)


def measure(lag: Lag, group: str, features: str, answers: Sequence[str]) -> dict[int, Cut]:
    """The cut of each partition of which scorers have committed anything.

    Args:
        lag: Asks Kafka.
        group: The scorers' group.
        features: The topic of feature records.
        answers: The topics of the answers, whose partitions have the numbers of the features'.

    Raises:
        KafkaException: if Kafka does not answer.
    """
    # In this order: the ends must be those after the commits.
    answered = lag.committed_offsets(group, features, pending=False)
    ends = {place: end for topic in answers for place, end in _ends(lag, topic).items()}
    return {
        number: Cut(offset, {(topic, number): ends[topic, number] for topic in answers})
        for number, offset in answered.items()
    }


def _ends(lag: Lag, topic: str) -> dict[Partition, int]:
    return {(topic, number): end for number, end in lag.log_ends(topic).items()}
